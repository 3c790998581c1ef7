"""Opening beside looking alone: a scan of a folder by threads (os.scandir and stat), or of the heads of tars."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import streamload as sl
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink

THREADS = 8


def scan(folder: str) -> tuple[int, list[str]]:
    """The files in a folder, each looked at, and the folders in it."""
    count, below = 0, []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                below.append(entry.path)
            else:
                entry.stat()
                count += 1
    return count, below


def scan_tree(root: str, pool: ThreadPoolExecutor) -> int:
    """All files below a folder, level after level."""
    total, level = 0, [root]
    while level:
        found = list(pool.map(scan, level))
        total += sum(count for count, _ in found)
        level = [folder for _, below in found for folder in below]
    return total


def read_heads(path: str) -> int:
    """The members of an archive, by their heads alone."""
    fd, at, count = os.open(path, os.O_RDONLY), 0, 0
    while len(head := os.pread(fd, 512, at)) == 512 and head[0]:
        at += 512 + -(-int(head[124:135], 8) // 512) * 512
        count += head[156:157] == b"0"
    os.close(fd)
    return count


def scan_tars(root: str, pool: ThreadPoolExecutor) -> int:
    """All records of the archives in a folder, two members each."""
    paths: Iterable[str] = sorted(os.path.join(root, name) for name in os.listdir(root))
    return sum(pool.map(read_heads, paths)) // 2


def make(config: Config) -> Any:
    """Passes that look, or that open: `how` is "bare", "anew" or "again"."""
    bare: Callable[[str, ThreadPoolExecutor], int] = scan_tars if config["tars"] else scan_tree
    pool, sink = ThreadPoolExecutor(THREADS), Sink(1, 1)

    def one_pass(request: Config) -> dict[str, Any]:
        if config["how"] == "anew":
            shutil.rmtree(os.path.join(os.environ["STREAMLOAD_CACHE_DIR"], "index"), ignore_errors=True)
        clock = Clock(sink, request)
        if config["how"] == "bare":
            count = bare(config["path"], pool)
        else:
            with sl.open(config["path"], decode=False) as source:
                count = len(source)
        sink.records = count
        return clock.stop()

    one_pass({})
    return one_pass
