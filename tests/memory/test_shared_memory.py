"""Shared memory is closed once, wherever an interrupt comes."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from streamload.memory.shared_memory import AnonymousFile, SharedBlock
from streamload.storage.files import OpenFiles, fingerprint


def make_and_close(path: Path) -> None:
    """Memory, made and closed, and memory that is dropped."""
    block = SharedBlock.create(1 << 16, purpose="a test")
    block.bytes[:] = 1
    block.close()
    SharedBlock.create(1 << 16, purpose="a test")


def note_and_close(path: Path) -> None:
    """Last words of a process."""
    AnonymousFile().close()
    AnonymousFile()


def open_and_close(path: Path) -> None:
    """Data files, read and closed."""
    files = OpenFiles([fingerprint(path)] * 3)
    try:
        for number in range(3):
            files.descriptor(number)
    finally:
        files.close()


def descriptors() -> dict[str, str]:
    """What is open, by number."""
    return {name: os.readlink(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{name}")}


def interrupt_behind(call: int) -> Callable[[FrameType, str, Any], None]:
    """A watcher that interrupts behind a call of a function of C, as Python does: of those that matter here, the one of this number."""
    left = [call]

    def watch(frame: FrameType, event: str, function: Any) -> None:
        dropped = frame.f_back is not None and "__del__" in (frame.f_code.co_name, frame.f_back.f_code.co_name)  # Python goes on there.
        if event == "c_return" and function in (os.close, os.ftruncate, os.posix_fallocate) and not dropped:
            left[0] -= 1
            if left[0] < 0:
                sys.setprofile(None)
                raise KeyboardInterrupt

    return watch


@pytest.mark.parametrize("work", [make_and_close, note_and_close, open_and_close])
def test_a_descriptor_is_closed_once_wherever_an_interrupt_comes(work: Callable[[Path], None], tmp_path: Path) -> None:
    """Behind each call in turn. One that was closed twice would be that of another file by then."""
    np.save(tmp_path / "a.npy", np.arange(100))
    before = descriptors()
    for call in range(100):
        interrupted = False
        sys.setprofile(interrupt_behind(call))
        try:
            work(tmp_path / "a.npy")
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.setprofile(None)
        others = [os.open(tmp_path / "a.npy", os.O_RDONLY) for _ in range(4)]
        gc.collect()
        for fd in others:
            os.close(fd)
        if not interrupted:
            break
    else:
        raise AssertionError("it never ends")
    assert call >= 1
    assert descriptors() == before
