"""Cold reads of records that differ in length, of padded images and of joined files, beside as many bytes of fixed records."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pyarrow as pa

import streamload as sl
from bench.command import Report, arguments
from streamload.tools.benchmark.comparison import Comparison, Run, in_turns
from streamload.tools.benchmark.peers.ours import wait_until_quiet
from streamload.tools.files.page_cache import make_cold

AIM = 0.9
PIXELS = (16, 16, 3)
"""Of the images in padded records: so small that decoding one costs nothing beside reading its record."""

Files = dict[str, Path]
"""By field, the file that it lies in."""


def fixed(folder: Path, records: int, nbytes: int) -> Files:
    """Rows of bytes in one array."""
    path = folder / f"fixed-{records}-{nbytes}.npy"
    if not path.exists():
        rows, rng = np.lib.format.open_memmap(path, "w+", np.uint8, (records, nbytes)), np.random.default_rng(0)
        for row in rows:
            row[:] = rng.integers(0, 256, nbytes, dtype=np.uint8)
        rows.flush()
    return {"data": path}


def ragged(folder: Path, records: int, nbytes: int) -> Files:
    """Bytes of half to one and a half times the length, in record batches of an Arrow file."""
    path, rng = folder / f"ragged-{records}-{nbytes}.arrow", np.random.default_rng(1)
    if not path.exists():
        lengths = rng.integers(nbytes // 2, nbytes + nbytes // 2, records)
        schema = pa.schema([("data", pa.large_binary())])
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for start in range(0, records, 256):
                batch = [rng.integers(0, 256, length, dtype=np.uint8).tobytes() for length in lengths[start : start + 256].tolist()]
                writer.write_batch(pa.record_batch([pa.array(batch, pa.large_binary())], schema))
    return {"data": path}


def padded(folder: Path, records: int, nbytes: int) -> Files:
    """Encoded images, filled up to the length of a row."""
    path = folder / f"padded-{records}-{nbytes}.npy"
    if not path.exists():
        rows, rng = np.lib.format.open_memmap(path, "w+", np.uint8, (records, nbytes)), np.random.default_rng(2)
        for row in rows:
            image = imagecodecs.jpeg8_encode(rng.integers(0, 256, PIXELS, dtype=np.uint8))
            row[: len(image)], row[len(image) :] = np.frombuffer(image, np.uint8), 1
        rows.flush()
    return {"data": path}


def joined(folder: Path, records: int, nbytes: int) -> Files:
    """Half of each record in an array, the other half in an Arrow file."""
    return {"left": fixed(folder, records, nbytes // 2)["data"], "right": ragged(folder, records, nbytes // 2)["data"]}


CASES: dict[str, Callable[[Path, int, int], Files]] = {"ragged Arrow": ragged, "images in a padded array": padded, "joined files": joined}


def cold_epoch(files: Files, options: argparse.Namespace, states: list[str]) -> Run:
    """One epoch after the page cache was emptied of the files; its workers are up before. Bytes are those in the files."""
    paths = list(files.values())
    make_cold(paths)
    data = sl.open(files if len(files) > 1 else paths[0])
    with sl.Loader(data, batch_size=options.batch, shuffle=sl.Exact(), num_workers=options.workers, io=options.io) as loader:
        begin = loader.state_dict()
        next(iter(loader))
        loader.load_state_dict(begin)
        wait_until_quiet(loader)
        states.append(make_cold(paths))
        began, used = time.perf_counter(), time.process_time()
        records = sum(len(batch.records) for batch in loader)
        seconds, used = time.perf_counter() - began, time.process_time() - used
    data.close()
    return Run(seconds=seconds, records=records, nbytes=sum(path.stat().st_size for path in paths), cpu_seconds=used)


def main(given: list[str] | None = None) -> None:
    """The command."""
    parser = arguments("wrapped", __doc__ or "", pairs=5)
    parser.add_argument("--record", type=int, default=150_528, help="bytes of a record (default 150,528)")
    parser.add_argument("--io", default="read", choices=("read", "direct"), help="streamload's io= (default read)")
    parser.add_argument("--only", choices=tuple(CASES), help="one of the cases")
    options = parser.parse_args(given)
    warnings.simplefilter("ignore")
    report = Report("wrapped", options)
    records = max(1, options.nbytes // options.record)
    for name, write in CASES.items():
        if options.only in (None, name):
            files, states = write(report.folder, records, options.record), list[str]()
            # As many reads of as many bytes.
            beside = fixed(report.folder, records * len(files), options.record // len(files))

            def ours(files: Files = files, states: list[str] = states) -> Run:
                return cold_epoch(files, options, states)

            def theirs(beside: Files = beside, states: list[str] = states) -> Run:
                return cold_epoch(beside, options, states)

            pairs: list[Any] = in_turns(ours, theirs, options.pairs)
            what = f"cold Exact, io={options.io}, {options.record:,} B x {records:,}"
            report.compare(Comparison(what=what, ours=name, theirs="fixed records", pairs=pairs, cache=states[-1], target=AIM))
    report.end()


if __name__ == "__main__":
    main()
