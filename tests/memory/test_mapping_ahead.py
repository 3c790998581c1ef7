"""Memory beyond its first pages is zeroed and mapped by a thread, which ends with the work or with the memory."""

from __future__ import annotations

import errno
import os
import resource
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streamload.errors import ResourceError
from streamload.memory.shared_memory import SharedBlock

MB = 1 << 20


def threads() -> list[str]:
    """The names of those that map memory."""
    return [thread.name for thread in threading.enumerate() if thread.name == "streamload memory"]


def resident_nbytes(block: SharedBlock) -> int:
    """Bytes of the block that this process has mapped."""
    with open("/proc/self/smaps") as file:
        lines = iter(file)
        for line in lines:
            if line.startswith(f"{block.address:x}-"):
                return next(int(one.split()[1]) << 10 for one in lines if one.startswith("Rss:"))
    return 0


def wait_before_taking(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """The thread waits before it takes memory: when it does so, and when it goes on."""
    reached, goes_on = threading.Event(), threading.Event()
    take = os.posix_fallocate

    def take_late(fd: int, start: int, nbytes: int) -> None:
        if threading.current_thread().name == "streamload memory":
            reached.set()
            goes_on.wait()
        take(fd, start, nbytes)

    monkeypatch.setattr(os, "posix_fallocate", take_late)
    return reached, goes_on


def test_a_large_block_is_mapped_without_being_touched() -> None:
    """All of it in the end; every byte is zero, and no thread is left."""
    block = SharedBlock.create(40 * MB + 123, purpose="a test")
    try:
        assert resident_nbytes(block) >= 16 * MB
        while threads():
            time.sleep(0.01)
        if resident_nbytes(block) < 40 * MB:
            pytest.skip("a kernel that maps pages only as they are touched")
        assert not np.count_nonzero(block.bytes)
    finally:
        block.close()


@pytest.mark.parametrize("touched", [False, True])
def test_closing_ends_it_and_arrays_stay_valid(touched: bool) -> None:
    """However far it has come."""
    block = SharedBlock.create(64 * MB, purpose="a test")
    held = block.bytes
    if touched:
        held[:] = 7
    block.close()
    assert threads() == []
    assert (held == 7 * touched).all()


def test_a_small_block_needs_no_thread() -> None:
    """It is mapped when it is made."""
    block = SharedBlock.create(MB, purpose="a test")
    assert threads() == []
    assert not np.count_nonzero(block.bytes)
    block.close()


def test_a_block_that_is_let_go_of_ends_it() -> None:
    """Nobody closed it."""
    SharedBlock.create(64 * MB, purpose="a test")
    while threads():
        time.sleep(0.01)


def test_a_file_opened_after_a_block_was_let_go_of_is_not_its(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The thread may be about to take memory by a number that would belong to whoever opens a file next."""
    reached, goes_on = wait_before_taking(monkeypatch)
    block = SharedBlock.create(64 * MB, purpose="a test", at_once=MB)
    fd = block.fd
    reached.wait()
    del block
    try:
        with open(tmp_path / "another", "w+b") as file:
            goes_on.set()
            while threads():
                time.sleep(0.01)
            assert os.fstat(file.fileno()).st_size == 0
    finally:
        goes_on.set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)


def test_what_is_not_taken_at_once_is_there_when_it_was_waited_for() -> None:
    """Whoever waits for a part has it; single pages can be had before."""
    block = SharedBlock.create(64 * MB, purpose="a test", at_once=MB)
    try:
        block.take([63 * MB])
        block.bytes[63 * MB] = 7
        block.await_present(32 * MB)
        assert os.fstat(block.fd).st_blocks * 512 >= 33 * MB
        block.await_present()
        assert os.fstat(block.fd).st_blocks * 512 == 64 * MB
        assert np.flatnonzero(block.bytes).tolist() == [63 * MB]
    finally:
        block.close()


def test_memory_that_is_not_given_later_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same error as when all is taken at once, for whoever waits for it, again and again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    goes_on = wait_before_taking(monkeypatch)[1]
    block = SharedBlock.create(64 * MB, purpose="a test", at_once=MB)
    said = "^a test needs 64 MB of memory, and the system does not give it: .*File too large.* Lower `memory=`"
    try:
        os.ftruncate(block.fd, MB)  # Files may grow no longer, from here on.
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * MB, hard))
        goes_on.set()
        for _ in range(2):
            with pytest.raises(ResourceError, match=said) as later:
                block.await_present()
            assert later.value.errno == errno.EFBIG
        block.await_present(5 * MB)
        with pytest.raises(ResourceError, match=said):
            block.take([16 * MB])
        with pytest.raises(ResourceError, match=said):
            SharedBlock.create(64 * MB, purpose="a test")
    finally:
        goes_on.set()
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        block.close()
