"""Filtered chunks as columns: where each chunk lies, and a reader that decodes each as few times as the order allows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streamload.codecs import FilterPipeline
from streamload.column_defaults import ColumnDefaults, ReaderDefaults
from streamload.errors import CorruptDataError, damaged
from streamload.formats.columns.chunk_cache import ChunkCache, most_nbytes
from streamload.formats.columns.chunk_grid import ChunkSelection, Grid
from streamload.formats.columns.chunk_reader import READ_NBYTES, ChunkedFile, ChunkReader
from streamload.formats.columns.read_ahead import ring_nbytes
from streamload.kernels import gather_kernels
from streamload.schema import Field
from streamload.source import Reader, ReadStats
from streamload.storage.files import OpenFiles, recheck, short_read


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkedColumn(ColumnDefaults):
    """One field in chunks that are read by offset and decoded here, without libhdf5."""

    field: Field
    """As it is delivered, in native byte order."""
    parts: tuple[ChunkedFile, ...]
    """The files that hold it, in the order of their records."""
    label: str
    """How it is stored, for people."""

    @property
    def addressable(self) -> bool:
        """Whether no chunk holds more than one record."""
        return all(part.chunk_shape[0] == 1 for part in self.parts)

    @property
    def cuts(self) -> NDArray[np.int64] | None:
        """Where chunks begin; None where every record does."""
        if self.addressable:
            return None
        starts: list[NDArray[np.int64]] = []
        first = 0
        for part in self.parts:
            starts.append(np.arange(first, first + part.records, part.chunk_shape[0], dtype=np.int64))
            first += part.records
        return np.concatenate([*starts, np.array([first], np.int64)])

    @property
    def amplification(self) -> float:
        """Records decoded for each record that is wanted, if the order is exact: the mean over the files."""
        records = sum(part.records for part in self.parts)
        return sum(part.records * part.chunk_shape[0] for part in self.parts) / records if records else 1.0

    @property
    def scratch_nbytes(self) -> int:
        """Stored bytes of a read, decoded chunks that are kept, and what the codecs use on the way."""
        return max((_scratch_nbytes(part, self.field.shape) for part in self.parts), default=0)

    @property
    def direct_nbytes(self) -> int:
        """The memory of one reader that reads past the page cache; 0 where chunks are too small for that."""
        return ring_nbytes(part.nbytes[part.offsets >= 0] for part in self.parts)

    @property
    def file_nbytes(self) -> int:
        """As stored, of all files."""
        return sum(int(part.nbytes.sum()) for part in self.parts)

    def reader(self, files: OpenFiles, meter: ReadStats) -> Reader:
        """A reader by offset, without libhdf5."""
        return ChunkedReader(self, files, meter)

    def describe(self) -> str:
        """How it is stored."""
        return self.label


class ChunkedReader(ReaderDefaults):
    """Decodes chunks, each once a call, straight into rows where a whole chunk is wanted; else it copies records out."""

    def __init__(self, column: ChunkedColumn, files: OpenFiles, meter: ReadStats) -> None:
        self._column = column
        self._files = files
        self._meter = meter
        self._starts = np.cumsum([0, *(part.records for part in column.parts)])
        self._grids: dict[int, Grid] = {}
        self._pipelines: dict[tuple[object, ...], FilterPipeline] = {}
        self._kept = ChunkCache()
        self._stored = ChunkReader(column.parts, column.field.name, files, meter, column.direct_nbytes)

    def gather(self, records: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put record `records[k]` into `out[rows[k]]`. Raises CorruptDataError or ChecksumError, with file and records."""
        if not len(records) or self._column.field.nbytes == 0:
            return
        began, read_before = time.perf_counter_ns(), self._meter.read_ns
        for index, local, chosen in self._by_part(records):
            self._fill(index, local, out, rows if chosen is None else rows[chosen])
            if not self._column.parts[index].stored.isnative:
                flat = out.reshape(len(out), -1)
                these = rows if chosen is None else rows[chosen]
                flat[these] = flat[these].byteswap()
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - read_before)

    def advise(self, records: NDArray[np.int64]) -> None:
        """Ask the kernel to begin reading the chunks of these records, unless it seems to hold them already."""
        if not len(records) or self._column.field.nbytes == 0 or self._stored.leaves_out():
            return
        for index, local, _ in self._by_part(records):
            grid = self._grid(index)
            bands = _once_each(local // grid.band_records)
            chunks = (bands[:, None] * grid.boxes + np.arange(grid.boxes)).reshape(-1)
            self._stored.advise(index, chunks)

    def expect(self, records: NDArray[np.int64]) -> None:
        """Begin to read the chunks of these records, which this reader will be asked for next, in their order."""
        if not self._stored.ahead or not len(records) or self._column.field.nbytes == 0:
            self.advise(records)
            return
        for index, local, _ in self._by_part(records):
            grid = self._grid(index)
            bands = local // grid.band_records
            bands = bands[np.flatnonzero(np.diff(bands, prepend=-1))]
            self._stored.expect(index, (bands[:, None] * grid.boxes + np.arange(grid.boxes)).reshape(-1))

    def close(self) -> None:
        """Let go of the buffers and of the decoded chunks."""
        self._kept.clear()
        self._pipelines.clear()
        self._grids.clear()
        self._stored.close()

    def _by_part(self, records: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.intp] | None]]:
        """For each file that holds some of the records: its place in `parts`, their numbers in it, and which they are."""
        if len(self._column.parts) == 1:
            yield 0, records, None
            return
        indexes = np.searchsorted(self._starts, records, side="right") - 1
        first = int(indexes[0])
        if (indexes == first).all():
            yield first, records - self._starts[first], None
            return
        for index in np.unique(indexes).tolist():
            chosen = np.flatnonzero(indexes == index)
            yield index, records[chosen] - self._starts[index], chosen

    def _grid(self, index: int) -> Grid:
        """How the records of a file are cut into chunks; checks that all of them lie within the file."""
        grid = self._grids.get(index)
        if grid is None:
            part = self._column.parts[index]
            ends = part.offsets + part.nbytes
            written = np.flatnonzero(part.offsets >= 0)
            for number, chosen in part.by_file(written):
                was, here = self._files.fingerprints[number], written[chosen]
                worst = int(here[ends[here].argmax()]) if len(here) else -1
                if worst >= 0 and int(ends[worst]) > was.nbytes:
                    raise short_read(was, int(part.offsets[worst]), int(part.nbytes[worst]))
            grid = self._grids[index] = _grid_of(part, self._column.field.shape)
        return grid

    def _pipeline(self, part: ChunkedFile, grid: Grid) -> FilterPipeline:
        """The way back from stored bytes; only that of the file at hand has buffers."""
        key = (part.filters, part.stored.itemsize, grid.chunk_nbytes)
        if key not in self._pipelines:
            self._pipelines.clear()
            self._pipelines[key] = FilterPipeline(part.filters, part.stored.itemsize, grid.chunk_nbytes)
        return self._pipelines[key]

    def _fill(self, index: int, local: NDArray[np.int64], out: NDArray[np.generic], rows: NDArray[np.int64]) -> None:
        """Put records of one file into rows."""
        part, grid = self._column.parts[index], self._grid(index)
        wanted = grid.wanted(local, rows)
        chunks, places, runs = wanted.chunks, wanted.places, wanted.runs
        ready = part.offsets[chunks] < 0
        if ready.any():
            self._fill_unwritten(part, grid, wanted, np.flatnonzero(ready), out)
        if self._kept:
            ready |= self._copy_kept(index, grid, wanted, out)
        if ready.any():
            left = np.flatnonzero(~ready)
            chunks, places, runs = chunks[left], places[left], runs[left]
        if len(chunks):
            self._decode(index, wanted, chunks, places.tolist(), runs.tolist(), out)

    def _decode(
        self,
        index: int,
        wanted: ChunkSelection,
        chunks: NDArray[np.int64],
        places: list[int],
        runs: list[int],
        out: NDArray[np.generic],
    ) -> None:
        """Read and decode chunks of one part: where they belong, or aside, from where their records are copied."""
        part, grid = self._column.parts[index], self._grid(index)
        masks, numbers = part.masks[chunks].tolist(), chunks.tolist()
        decode, chunk_nbytes = self._pipeline(part, grid).decode, grid.chunk_nbytes
        target = out.reshape(-1).view(np.uint8)
        k = 0
        try:
            for k, data in self._stored.read_chunks(index, chunks):
                place = places[k]
                if place >= 0:
                    decode(data, masks[k], target[place : place + chunk_nbytes])
                    continue
                chunk, run = numbers[k], runs[k]
                room = self._kept.room(chunk_nbytes)
                decode(data, masks[k], room)
                _copy_out(grid, wanted, run, chunk, room, out)
                if wanted.edges[run + 1] - wanted.edges[run] < grid.records_in(chunk):
                    self._kept.keep(index, chunk, room)
                else:
                    self._kept.let_go(room)
        except CorruptDataError as error:
            if error.path is not None:
                raise
            recheck(self._files.fingerprints[part.file_of(numbers[k])])
            raise self._located(error, part, grid, numbers[k]) from error

    def _copy_kept(self, index: int, grid: Grid, wanted: ChunkSelection, out: NDArray[np.generic]) -> NDArray[np.bool_]:
        """Copy records from chunks that are kept; for each wanted chunk, whether it was one."""
        ready = np.isin(wanted.chunks, self._kept.of(index))
        for k in np.flatnonzero(ready).tolist():
            chunk = int(wanted.chunks[k])
            _copy_out(grid, wanted, int(wanted.runs[k]), chunk, self._kept.use(index, chunk), out)
            self._stored.done(index, chunk)
        return ready

    def _fill_unwritten(
        self, part: ChunkedFile, grid: Grid, wanted: ChunkSelection, lines: NDArray[np.intp], out: NDArray[np.generic]
    ) -> None:
        """Put the fill value where chunks were never written, and still are not."""
        value = np.frombuffer(part.fill or bytes(part.stored.itemsize), grid.element)
        table = grid.table(out)
        for k in lines.tolist():
            run, chunk = int(wanted.runs[k]), int(wanted.chunks[k])
            part.refuse_added(chunk, self._files)
            inside, _ = grid.cutouts(chunk % grid.boxes)
            table[(wanted.rows[wanted.edges[run] : wanted.edges[run + 1]], *inside)] = value[0]

    def _located(self, error: CorruptDataError, part: ChunkedFile, grid: Grid, chunk: int) -> CorruptDataError:
        """The error of a codec, with the file, the field and the records that it concerns."""
        was, name = self._files.fingerprints[part.file_of(chunk)], self._column.field.name
        start = chunk // grid.boxes * grid.band_records
        stop = start + grid.records_in(chunk)
        place = f"the chunk of records {start}:{stop} of '{name}', at byte {int(part.offsets[chunk]):,},"
        return damaged(
            f"{was.path}: {place} does not decode: {error.message}",
            kind=type(error),
            path=was.path,
            dataset=name,
            records=(start, stop),
        )


def _once_each(bands: NDArray[np.int64]) -> NDArray[np.int64]:
    """These numbers, rising, each once; mostly many of one stand side by side."""
    runs = bands[np.flatnonzero(np.diff(bands, prepend=-1))]
    return runs if (runs[1:] > runs[:-1]).all() else np.unique(runs)


def _grid_of(part: ChunkedFile, shape: tuple[int, ...]) -> Grid:
    return Grid.of(chunk_shape=part.chunk_shape, shape=shape, total=part.records, itemsize=part.stored.itemsize, axis=part.axis)


def _scratch_nbytes(part: ChunkedFile, shape: tuple[int, ...]) -> int:
    grid = _grid_of(part, shape)
    pipeline = FilterPipeline(part.filters, part.stored.itemsize, grid.chunk_nbytes)
    largest = int(part.nbytes.max()) if len(part.nbytes) else 0
    aside = grid.chunk_nbytes if part.chunk_shape[0] == 1 else most_nbytes(grid.chunk_nbytes)
    return largest + READ_NBYTES + pipeline.scratch_nbytes + aside


def _copy_out(grid: Grid, wanted: ChunkSelection, run: int, chunk: int, data: NDArray[np.uint8], out: NDArray[np.generic]) -> None:
    """Copy the records of a run from a decoded chunk into their rows."""
    first, stop = int(wanted.edges[run]), int(wanted.edges[run + 1])
    rows = wanted.rows[first:stop]
    within = wanted.local[first:stop] - chunk // grid.boxes * grid.band_records
    if grid.whole:
        nbytes = grid.record_nbytes
        gather_kernels().copy_rows(data.ctypes.data, within, nbytes, nbytes, out.ctypes.data, rows)
        return
    inside, cut = grid.cutouts(chunk % grid.boxes)
    values, table = grid.seen(data), grid.table(out)
    if grid.band_records == 1:
        for row in rows.tolist():
            table[(row, *inside)] = values[(0, *cut)]
    else:
        table[(rows, *inside)] = values[(within, *cut)]
