"""Whole epochs, the consumer copying every batch into one buffer, beside a plain copy or a bare decoder on one core."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import h5py
import imagecodecs
import numpy as np
import pytest

import streamload as sl
from bench.conftest import Measure
from bench.data import Made

BATCH = 256


def copied_epoch(loader: sl.Loader, out: np.ndarray[Any, Any]) -> int:
    """Copy every batch of the next epoch; the records there were."""
    records = 0
    for batch in loader:
        images = batch["image"]
        out[: len(images)] = images
        records += len(images)
    return records


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("record_nbytes", [3_072, 150_528])
def test_raw(measured: Measure, raw_file: Callable[[int], Made], record_nbytes: int, workers: int):
    """Contiguous records in exact order, beside a copy of the same bytes by one core."""
    made = raw_file(record_nbytes)
    data = sl.open(made.path)
    whole = np.asarray(data[:]["image"])
    with sl.Loader(data, batch_size=BATCH, shuffle=sl.Exact(), num_workers=workers) as loader:
        out = np.empty((BATCH, *made.shape), np.uint8)

        def copy() -> None:
            for start in range(0, len(whole), BATCH):
                piece = whole[start : start + BATCH]
                out[: len(piece)] = piece

        got = measured(
            lambda: copied_epoch(loader, out), records=made.records, nbytes=made.nbytes, limit="a copy by one core", limited=copy
        )
    assert got == made.records


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("codec", "decode"), [("gzip", imagecodecs.deflate_decode), ("lzf", imagecodecs.lzf_decode)], ids=["gzip", "lzf"])
@pytest.mark.filterwarnings("ignore:A window mixes only")
def test_compressed(measured: Measure, compressed_file: Callable[[str, int], Made], codec: str, decode: Callable[..., Any], workers: int):
    """Chunks of 64 records in block order, beside one core that decodes the chunks and does nothing else."""
    made = compressed_file(codec, 64)
    places: list[tuple[int, int]] = []
    with h5py.File(made.path) as file:
        file["image"].id.chunk_iter(lambda chunk: places.append((chunk.byte_offset, chunk.size)))
    chunk, fd = np.empty(64 * made.record_nbytes, np.uint8), os.open(made.path, os.O_RDONLY)

    def bare() -> None:
        for offset, stored in places:
            decode(os.pread(fd, stored, offset), out=chunk)

    try:
        with sl.Loader(sl.open(made.path), batch_size=BATCH, shuffle=sl.Block(window="8 MB"), num_workers=workers) as loader:
            out = np.empty((BATCH, *made.shape), np.uint8)
            got = measured(
                lambda: copied_epoch(loader, out), records=made.records, nbytes=made.nbytes, limit="one bare decoder", limited=bare
            )
    finally:
        os.close(fd)
    assert got == made.records
