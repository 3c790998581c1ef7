"""Pages, chunks, batches and shards of every kind side by side: in one file, and over several files of one source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kinds import values
from kinds.arrow_kinds import packed
from kinds.hdf5_kinds import WRITTEN
from streamload.ragged import Ragged

RECORDS = 240
Records = dict[str, Any]


def records(count: int = RECORDS) -> Records:
    """Images, few of which are different, and scores, all of which are; names; text and tokens of any length."""
    rng = np.random.default_rng(count)
    few = rng.integers(0, 256, (9, 300), dtype=np.uint8)
    lengths = rng.integers(0, 12, count)
    return {
        "image": few[rng.integers(0, 9, count)],
        "score": values.fixed("f4", (25,), records=count),
        "name": values.fixed("S70", records=count).view("u1").reshape(count, 70),
        "text": Ragged.of(["aé€"[: length % 4] * length for length in lengths.tolist()]),
        "tokens": Ragged.of([rng.integers(0, 99, length).astype("i4") for length in lengths.tolist()]),
    }


def part(held: Records, start: int, stop: int) -> Records:
    """Some neighbouring records."""
    return {name: one[start:stop] for name, one in held.items()}


def table(held: Records, *, nullable: bool = True) -> pa.Table:
    """Records as Arrow has them."""
    columns = {name: packed(held[name]) for name in ("image", "name")}
    columns["score"] = packed(held["score"])
    columns["text"] = pa.array(held["text"].to_list(), pa.string())
    columns["tokens"] = pa.array([one.tolist() for one in held["tokens"]], pa.list_(pa.int32()))
    said = {"score": {"shape": "[25]", "dtype": "<f4"}}
    schema = [pa.field(name, one.type, nullable=nullable, metadata=said.get(name)) for name, one in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(schema))


SMALL = {"data_page_size": 3000, "write_batch_size": 5, "dictionary_pagesize_limit": 6000}
"""Pages of a few records, and dictionaries that are given up after some twenty different ones."""
FIXED = ("image", "score", "name")
BORDERS = (0, 40, 47, 48, 110, 111, 160, 200, RECORDS)
"""Where row groups, batches and shards begin: they differ in size, and some hold one record."""


def _parquet_file(path: Path, held: Records, **options: Any) -> None:
    found = table(held)
    with pq.ParquetWriter(path, found.schema, **options) as writer:
        for start, stop in pairwise(BORDERS):
            writer.write_table(found.slice(start, stop - start))


def parquet_columns(folder: Path, held: Records) -> None:
    """One file: columns of several codecs, with and without dictionaries, in row groups of all sizes."""
    codecs = {"image": "snappy", "score": "zstd", "name": "none", "text": "gzip", "tokens.list.element": "brotli"}
    _parquet_file(folder / "a.parquet", held, compression=codecs, **SMALL)


def parquet_columns_2(folder: Path, held: Records) -> None:
    """The same in pages of version 2, whose checksums are verified, and with other codecs."""
    codecs = {"image": "lz4", "score": "none", "name": "gzip", "text": "zstd", "tokens.list.element": "none"}
    options = SMALL | {"use_dictionary": ["image", "text"], "data_page_version": "2.0", "write_page_checksum": True}
    _parquet_file(folder / "a.parquet", held, compression=codecs, **options)


CODECS = ("none", "snappy", "gzip", "brotli", "zstd", "lz4")


def _shards(folder: Path, held: Records, options: Sequence[dict[str, Any]], *, nullable: bool) -> None:
    for number, ((start, stop), one) in enumerate(zip(pairwise(BORDERS), options, strict=True)):
        pq.write_table(table(part(held, start, stop), nullable=nullable), folder / f"{number}.parquet", **one)


def parquet_shards(folder: Path, held: Records, *, nullable: bool = True) -> None:
    """Each codec, both versions, with and without dictionaries, in pages and row groups of several sizes."""
    options: list[dict[str, Any]] = [{"compression": codec, "use_dictionary": number % 2 == 0} for number, codec in enumerate(CODECS)]
    options += [{"compression": "zstd", "data_page_version": "2.0", **SMALL}, {"compression": "none", "row_group_size": 11}]
    options[2] |= SMALL
    options[4] |= {"row_group_size": 9, "data_page_version": "2.0"}
    _shards(folder, held, options, nullable=nullable)


def parquet_raw_shards(folder: Path, held: Records) -> None:
    """Pages that are read by offset, some of them with checksums."""
    options = [
        {"compression": "none", "use_dictionary": False, "write_page_checksum": number % 2 == 0, **(SMALL if number % 3 else {})}
        for number in range(8)
    ]
    _shards(folder, held, options, nullable=False)


def parquet_foreign_shards(folder: Path, held: Records) -> None:
    """One of them is encoded as only pyarrow reads it."""
    options: list[dict[str, Any]] = [{"compression": codec} for codec in (*CODECS, "snappy", "none")]
    options[3] = {"use_dictionary": False, "column_encoding": dict.fromkeys(("image", "score", "name"), "DELTA_BYTE_ARRAY")}
    _shards(folder, held, options, nullable=True)


def _arrow(path: Path, held: Records, borders: Sequence[int], *, stream: bool = False, compression: str | None = None) -> None:
    found = table(held)
    opened = (pa.ipc.new_stream if stream else pa.ipc.new_file)(
        str(path), found.schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    )
    with opened as writer:
        for start, stop in pairwise(borders):
            for batch in found.slice(start, stop - start).to_batches():
                writer.write_batch(batch)


def arrow_batches(folder: Path, held: Records) -> None:
    """One file of raw batches of all sizes."""
    _arrow(folder / "a.arrow", held, BORDERS)


def arrow_shards(folder: Path, held: Records) -> None:
    """Files and streams, raw and of both codecs."""
    kinds: list[dict[str, Any]] = [{}, {"compression": "zstd"}, {"stream": True}, {"compression": "lz4", "stream": True}]
    for number, (start, stop) in enumerate(pairwise(BORDERS)):
        middle = (stop - start + 1) // 2
        borders = sorted({0, middle, stop - start})
        _arrow(folder / f"{number}.arrow", part(held, start, stop), borders, **kinds[number % 4])


HDF5_LAYOUTS: list[dict[str, Any]] = [
    {},
    {"chunks": 7},
    {"chunks": 16, "compression": "gzip", "shuffle": True},
    {"chunks": 5, "compression": "lzf", "fletcher32": True},
    {"chunks": 1, "compression": "gzip"},
    {"chunks": 64, "compression": "gzip", "maxshape": True},
    {"chunks": 9, "boxes": True, "compression": "lzf"},
    {"chunks": 9, "boxes": True},
]


SPARSE: dict[str, tuple[Any, Any]] = {
    ">i4": (-5, 7),
    "<f2": (np.nan, 1.5),
    ">f8": (2.5, -0.0),
    "<c8": (1 + 2j, 3j),
    "?": (True, False),
    "S7": (b"ab", b"abcdefg"),
    "S20": (b"", b"a\0b"),
}
"""By dtype, what stands in chunks that were never written, and what was written to some."""


def _dataset(file: h5py.File, name: str, data: np.ndarray, layout: dict[str, Any]) -> None:
    options = dict(layout)
    boxes, resizable = options.pop("boxes", False), options.pop("maxshape", False)
    if "chunks" in options:
        count = options["chunks"] if resizable else min(options["chunks"], len(data))
        options["chunks"] = (count, *((side + 1) // 2 if boxes else side for side in data.shape[1:]))
    dataset = file.create_dataset(name, data=data, maxshape=(None, *data.shape[1:]) if resizable else None, **options)
    if options.get("compression") == "gzip" and "shuffle" not in options and len(data) >= options["chunks"][0]:
        # Whoever writes chunks may leave filters out of some: the first one is stored as it is.
        dataset.id.write_direct_chunk((0,) * data.ndim, np.ascontiguousarray(data[: options["chunks"][0]]).tobytes(), 1)


def hdf5_columns(folder: Path, held: Records) -> None:
    """One file: datasets in every layout, side by side; one that only libhdf5 decodes; some of which little was written."""
    with h5py.File(folder / "a.h5", "w", **WRITTEN) as file:
        for number, layout in enumerate(HDF5_LAYOUTS):
            name = ("image", "score", "name")[number % 3]
            _dataset(file, f"{name} {number}", held[name], layout)
        _dataset(file, "image scale-offset", held["image"], {"chunks": 16, "scaleoffset": 8})
        for number, (dtype, (fill, _)) in enumerate(SPARSE.items()):
            options = {"compression": "gzip"} if number % 2 else {}
            dataset = file.create_dataset(f"sparse {dtype}", (RECORDS, 10), dtype, chunks=(16, 10), fillvalue=fill, **options)
            dataset[32:60] = SPARSE[dtype][1]


def hdf5_shards(folder: Path, held: Records) -> None:
    """The same datasets in another layout, and another byte order, in each file; text of variable length beside them."""
    for number, (start, stop) in enumerate(pairwise(BORDERS)):
        some = part(held, start, stop)
        with h5py.File(folder / f"{number}.h5", "w", **WRITTEN) as file:
            for shift, name in enumerate(("image", "score", "name")):
                stored = some[name].astype(">f4") if name == "score" and number % 2 else some[name]
                _dataset(file, name, stored, HDF5_LAYOUTS[(number + 3 * shift) % len(HDF5_LAYOUTS)])
            text = file.create_dataset("text", (stop - start,), h5py.string_dtype())
            text[:] = some["text"].to_list()


def npy_shards(folder: Path, held: Records) -> None:
    """C and Fortran order, and both byte orders."""
    for number, (start, stop) in enumerate(pairwise(BORDERS)):
        some = held["score"].reshape(RECORDS, 5, 5)[start:stop]
        stored = some.astype(">f4") if number % 3 == 0 else some
        (folder / str(number)).mkdir()
        np.save(folder / str(number) / "score.npy", np.asfortranarray(stored) if number % 2 else stored)


def npz_shards(folder: Path, held: Records) -> None:
    """Members in C and Fortran order."""
    for number, (start, stop) in enumerate(pairwise(BORDERS)):
        some = part(held, start, stop)
        image = np.asfortranarray(some["image"]) if number % 2 else some["image"]
        np.savez(folder / f"{number}.npz", image=image, score=some["score"], name=np.asfortranarray(some["name"]))


MIXTURES: dict[str, Callable[[Path, Records], None]] = {
    "parquet columns": parquet_columns,
    "parquet columns, version 2": parquet_columns_2,
    "parquet shards": parquet_shards,
    "parquet shards, required": lambda folder, held: parquet_shards(folder, held, nullable=False),
    "parquet raw shards": parquet_raw_shards,
    "parquet shards, one for pyarrow": parquet_foreign_shards,
    "arrow batches": arrow_batches,
    "arrow shards": arrow_shards,
    "hdf5 columns": hdf5_columns,
    "hdf5 shards": hdf5_shards,
    "npy shards": npy_shards,
    "npz shards": npz_shards,
}


def expected(mixture: str, held: Records) -> Records:
    """By field, what a mixture holds."""
    if mixture == "hdf5 columns":
        named = {f"{name} {number}": held[name] for number, name in zip(range(len(HDF5_LAYOUTS)), FIXED * 3, strict=False)}
        for dtype, (fill, written) in SPARSE.items():
            sparse = named[f"sparse {dtype}"] = np.full((RECORDS, 10), fill, np.dtype(dtype).newbyteorder("="))
            sparse[32:60] = written
        return named | {"image scale-offset": held["image"]}
    if mixture == "npy shards":
        return {"score": held["score"].reshape(RECORDS, 5, 5)}
    names = {"hdf5 shards": (*FIXED, "text"), "npz shards": FIXED}.get(mixture, tuple(held))
    return {name: held[name] for name in names}


def options(mixture: str) -> dict[str, Any]:
    """How it must be opened: lists of a shard of one record are taken to be arrays where nothing else is said."""
    return {"shapes": {"tokens": (None,)}} if "shards" in mixture and mixture.startswith(("parquet", "arrow")) else {}
