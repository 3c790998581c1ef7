"""What holds for tests that train: of what is left behind, that which is this library's counts; frameworks keep threads and caches."""

from __future__ import annotations

import gc
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

GRACE_SECONDS = 3.0

# Before any framework is imported: none looks for a GPU, asks a network, or writes to the terminal more than it must.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TQDM_DISABLE", "1")


@pytest.fixture(autouse=True, scope="session")
def shared_memory_of_mpi() -> None:
    """What Open MPI shares between ranks lies in the folder of this run: Lightning starts it, and a killed process leaves it behind."""
    os.environ.setdefault("OMPI_MCA_btl_sm_backing_directory", tempfile.gettempdir())


def slots_and_workers() -> set[str]:
    """Shared memory of loaders that is mapped here, and worker processes of theirs."""
    mapped = {line for line in Path("/proc/self/maps").read_text().splitlines() if "memfd:streamload" in line}
    return mapped


@pytest.fixture(autouse=True)
def leakcheck() -> Iterator[None]:
    """No test leaves shared memory of a loader behind."""
    before = slots_and_workers()
    yield
    deadline = time.monotonic() + GRACE_SECONDS
    gc.collect()
    while found := slots_and_workers() - before:
        if time.monotonic() > deadline:
            pytest.fail("left behind:\n" + "\n".join(sorted(found)), pytrace=False)
        gc.collect()
        time.sleep(0.05)
