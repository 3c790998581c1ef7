"""Memory beyond its first pages is zeroed and mapped by a thread, which ends with the work or with the memory."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

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
