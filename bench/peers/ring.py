"""A ring of slots in shared memory and nothing more: no errors, no checks, no budget. The floor that a loader stands on.

The parent sends (epoch, step, slot) to worker processes through pipes; each gathers the step's records into the slot, by
pread or from a mapping, in one thread or several; the parent copies every batch to one buffer. Or, in the mode "convert", each
turns the first `elements` bytes of every record into as many floats: the least that augmentation has to do.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from streamload.tools.benchmark.peers.serving import Clock, Config, Sink

SLOTS = 6
_libc = ctypes.CDLL(None)
_pread = _libc.pread
_pread.argtypes, _pread.restype = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64], ctypes.c_ssize_t
_memcpy = _libc.memcpy
_memcpy.argtypes, _memcpy.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t], ctypes.c_void_p


@numba.njit(nogil=True)
def read_records(fd, base, nbytes, records, out, start, stop):
    """Read records[start:stop], of `nbytes` each from `base` on, to the address `out` and on."""
    for k in range(start, stop):
        _pread(fd, out + k * nbytes, nbytes, base + records[k] * nbytes)


@numba.njit(nogil=True)
def copy_records(source, nbytes, records, out, start, stop):
    """Copy records[start:stop], of `nbytes` each, from the address `source` to the address `out` and on."""
    for k in range(start, stop):
        _memcpy(out + k * nbytes, source + records[k] * nbytes, nbytes)


@intrinsic
def _pointer(typing_context, address):
    return types.voidptr(types.int64), lambda c, b, s, a: b.inttoptr(a[0], cgutils.voidptr_t)


@numba.njit(nogil=True)
def convert_records(source, nbytes, records, out, elements, start, stop):
    """Turn the first `elements` bytes of records[start:stop] into floats, at the address `out` and on."""
    for k in range(start, stop):
        levels = numba.carray(_pointer(source + records[k] * nbytes), elements, np.uint8)
        values = numba.carray(_pointer(out + k * elements * 4), elements, np.float32)
        for i in range(np.uint64(elements)):
            values[i] = np.float32(levels[i])


def work(config: Config, placed: tuple[int, int, int], ring: int, connection: Any) -> None:
    """A worker: fill slots for ever, until told None."""
    base, count, nbytes = placed
    batch, threads = config["batch"], config["threads"]
    fd = os.open(config["path"], os.O_RDONLY)
    images = np.memmap(config["path"], np.uint8, "r", offset=base, shape=(count, nbytes))
    mapped, elements = config["mode"] in ("map", "convert"), config.get("elements", 0)
    width = 4 * elements or nbytes
    if mapped and config.get("populate"):
        images._mmap.madvise(getattr(mmap, "MADV_POPULATE_READ", 22))
    source = images.ctypes.data
    pool = ThreadPoolExecutor(threads)
    order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
    while (task := connection.recv()) is not None:
        epoch, step, slot = task
        if order[0] != epoch:
            order = (epoch, np.random.default_rng(epoch).permutation(count))
        records = order[1][step * batch : (step + 1) * batch]
        out = ring + slot * batch * width
        cuts = [len(records) * t // threads for t in range(threads + 1)]

        def fill(t: int, records: NDArray[np.int64] = records, out: int = out, cuts: list[int] = cuts) -> None:
            if elements:
                convert_records(source, nbytes, records, out, elements, cuts[t], cuts[t + 1])
            elif mapped:
                copy_records(source, nbytes, records, out, cuts[t], cuts[t + 1])
            else:
                read_records(fd, base, nbytes, records, out, cuts[t], cuts[t + 1])

        if threads == 1:
            fill(0)
        else:
            list(pool.map(fill, range(threads)))
        connection.send((step, slot, len(records)))
    os._exit(0)


def ring_passes(work: Callable[..., None], given: Any, *, config: Config, count: int, width: int, settle: int = 1) -> Any:
    """What makes one pass over `count` records that become `width` bytes each: the parent's side of the ring.

    Each process runs `work(config, given, ring, connection)`: it is told (epoch, step, slot), fills the slot of the ring at the
    address `ring`, and answers (step, slot, records), until it is told None.
    """
    batch = config["batch"]
    slots = np.frombuffer(mmap.mmap(-1, SLOTS * batch * width), np.uint8).reshape(SLOTS, batch, width)
    slots[:] = 1
    context = get_context("fork")
    connections = []
    for _ in range(config["workers"]):
        ours, theirs = context.Pipe()
        context.Process(target=work, args=(config, given, slots.ctypes.data, theirs), daemon=True).start()
        connections.append(ours)
    sink, epochs, steps = Sink(batch, width), itertools.count(), -(-count // batch)

    def one_pass(request: Config) -> dict[str, Any]:
        epoch, asked, free = next(epochs), 0, list(range(SLOTS))
        clock = Clock(sink, request)
        for step in range(steps):
            while free and asked < steps:
                connections[asked % len(connections)].send((epoch, asked, free.pop()))
                asked += 1
            done, slot, filled = connections[step % len(connections)].recv()
            assert done == step
            sink.take(slots[slot, :filled])
            free.append(slot)
        return clock.stop(steps=steps)

    for _ in range(settle):
        one_pass({})
    return one_pass


def make(config: Config) -> Any:
    """Workers forked and waiting, the kernels compiled before."""
    import h5py

    with h5py.File(config["path"]) as file:
        images = file["image"]
        placed = (images.id.get_offset(), images.shape[0], int(np.prod(images.shape[1:])))
    base, count, nbytes = placed
    elements = config.get("elements", 0)
    few, fd = np.arange(1), os.open(config["path"], os.O_RDONLY)
    scratch, out = np.ones(nbytes, np.uint8), np.ones(4 * elements, np.uint8)
    read_records(fd, base, nbytes, few, scratch.ctypes.data, 0, 1)
    copy_records(scratch.ctypes.data, nbytes, few, scratch.ctypes.data, 0, 1)
    convert_records(scratch.ctypes.data, nbytes, few, out.ctypes.data, elements, 0, 1)
    return ring_passes(work, placed, config=config, count=count, width=4 * elements or nbytes, settle=config.get("settle", 1))
