"""The contract of a Source, to be run on one of your own: schema, access, every order, resume, pickling."""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.loader.loader import Loader
from streamload.order import Block, Exact, Sequential
from streamload.ragged import Ragged
from streamload.reuse.scratch import overwrite_all
from streamload.schema import BYTES
from streamload.source import Column, ReadStats, Source, read_records
from streamload.storage.files import OpenFiles

Arrays = Mapping[str, Any]
"""By field, an array, or a Ragged of a field whose records differ in length."""


def check_source(
    source: Source,
    expected: Arrays | None = None,
    *,
    num_workers: Sequence[int] = (0, 2),
    batch_size: int = 7,
    memory: int | str = "256 MB",
) -> None:
    """Check that a source keeps its promises; raises AssertionError that says which it does not.

    `expected` is what it must deliver: {field: array of shape (records, *field.shape), or a Ragged}; without it, what `source[:]` gives
    is held to be right, and everything else must agree with it. All of it is held in memory twice. With workers the source
    travels to other processes, so its columns must be importable there.
    """
    arrays = dict(expected) if expected is not None else source[:]
    check_schema(source, arrays)
    check_access(source, arrays)
    check_columns(source, arrays)
    check_memory(source, arrays)
    check_promises(source, arrays)
    check_travel(source, arrays)
    check_orders(source, arrays, num_workers=num_workers, batch_size=batch_size, memory=memory)
    check_resume(source, arrays, num_workers=max(num_workers), batch_size=batch_size, memory=memory)


def check_schema(source: Source, arrays: Arrays) -> None:
    """Fields have names of their own, native dtypes and the shapes of their arrays; length and repr agree with them."""
    schema = source.schema
    assert len(schema) > 0, "the schema has no field"
    assert set(schema.names) == set(arrays), f"the fields are {schema.names}, where {tuple(arrays)} are expected"
    assert len(set(schema.names)) == len(schema.names), f"two fields share a name: {schema.names}"
    for field in schema:
        array = arrays[field.name]
        assert field.dtype.isnative, f"'{field.name}' has the dtype {field.dtype.str}, which is not native"
        assert field.dtype == array.dtype, f"'{field.name}' has the dtype {field.dtype}, and its array {array.dtype}"
        kind, elements = (array.kind, array.values) if isinstance(array, Ragged) else ("", array)
        assert field.ragged == kind, f"'{field.name}' is ragged as {field.ragged!r}, and its array as {kind!r}"
        assert field.shape == elements.shape[1:], f"'{field.name}' has the shape {field.shape}, and its array {elements.shape[1:]}"
        assert len(source) == len(array), f"the source has {len(source):,} records, and the array of '{field.name}' {len(array):,}"
        assert field.name in repr(source), f"repr does not name '{field.name}'"
    starts = source.file_starts
    assert starts[0] == 0 and (np.diff(starts) >= 0).all(), f"file_starts must rise from 0, and are {starts.tolist()}"  # noqa: PT018


def check_access(source: Source, arrays: Arrays) -> None:
    """Integers, slices, lists and masks give what they give of an array; beyond the end stands an IndexError."""
    records = len(source)
    choices: list[Any] = [slice(None), slice(None, None, -1), slice(1, None, 3), slice(5, 2), [], np.arange(records) % 3 == 0]
    choices += [[records - 1, 0, -1, 0], np.arange(records)[::2]] if records else []
    for choice in choices:
        taken = source[choice]
        for name, array in arrays.items():
            there = array[np.asarray(choice, np.int64)] if isinstance(choice, list) else array[choice]
            _same(taken[name], there, f"source[{choice!r}]['{name}']")
    for number in sorted({0, records // 2, records - 1, -1, -records}) if records else []:
        for name, array in arrays.items():
            _same_record(source[number][name], array[number], f"source[{number}]['{name}']")
    for number in (records, -records - 1):
        try:
            source[number]
        except IndexError:
            continue
        raise AssertionError(f"source[{number}] is beyond {records:,} records, and raises no IndexError")


def check_columns(source: Source, arrays: Arrays) -> None:
    """Cuts lie where blocks may begin; readers fill the rows they are asked for, in any order, and no others."""
    records, rng = len(source), np.random.default_rng(0)
    for column in source.columns:
        name, cuts = column.field.name, column.cuts
        assert column.describe(), f"'{name}' does not say how it is stored"
        assert column.scratch_nbytes >= 0, f"'{name}' needs {column.scratch_nbytes} bytes of scratch"
        if cuts is not None:
            rising = len(cuts) > 0 and cuts[0] == 0 and cuts[-1] == records and bool((np.diff(cuts) > 0).all())
            assert rising, f"the cuts of '{name}' must rise from 0 to {records:,}, and are {cuts[:5].tolist()} ... {cuts[-3:].tolist()}"
        if not records:
            continue
        files = OpenFiles(source.fingerprints)
        reader = column.reader(files, ReadStats())
        try:
            chosen = rng.integers(0, records, min(records, 50))
            if column.field.ragged:
                _check_ragged(column, reader, chosen, arrays[name])
                continue
            rows = rng.permutation(len(chosen) + 5)[: len(chosen)]
            out = np.zeros((len(chosen) + 5, *column.field.shape), column.field.dtype)
            untouched = np.setdiff1d(np.arange(len(out)), rows)
            reader.advise(chosen)
            reader.gather(chosen, out, rows)
            _same(out[rows], arrays[name][chosen], f"a gather of '{name}'")
            assert not out[untouched].any(), f"a gather of '{name}' wrote into rows that it was not asked for"
            reader.gather(chosen[:0], out, rows[:0])
        finally:
            reader.close()
            files.close()


def _check_ragged(column: Column, reader: Any, chosen: NDArray[np.int64], expected: Ragged) -> None:
    """Lengths are those of the records; their elements go where they are wanted, and nothing else is written."""
    name, there = column.field.name, expected[chosen]
    reader.advise(chosen)
    lengths = reader.lengths(chosen)
    assert np.array_equal(lengths, there.lengths), (
        f"the lengths of '{name}' are {lengths.tolist()}, where {there.lengths.tolist()} are expected"
    )
    # With a gap behind each record, and the last record first.
    starts = np.concatenate([[0], np.cumsum(lengths[::-1] + 1)[:-1]])[::-1].astype(np.int64)
    room = np.zeros((int(lengths.sum()) + len(lengths) + 1, *column.field.shape), column.field.dtype)
    untouched = np.ones(len(room), np.bool_)
    reader.gather_ragged(chosen, room, np.ascontiguousarray(starts))
    for start, length, one in zip(starts.tolist(), lengths.tolist(), Ragged(there.values, there.offsets), strict=True):
        _same(room[start : start + length], one, f"a gather of '{name}'")
        untouched[start : start + length] = False
    assert not room[untouched].any(), f"a gather of '{name}' wrote where it was not asked to"
    assert not len(reader.lengths(chosen[:0])), f"'{name}' has lengths of no records"


MOST_BORDERS = 8
"""Storage blocks, spread over the records, between whose borders `check_memory` goes back and forth."""


def check_memory(source: Source, arrays: Arrays) -> None:
    """Whatever is read between, a reader gives the same records again, and what it gave before stays as it was.

    A record of each block is followed by all of another block, and by all of the first again: read, from mappings, and past the
    page cache. After each call, all memory that is declared as `reuse.scratch` has it is overwritten with a pattern.
    """
    for column in source.columns if len(source) else ():
        stretches = _stretches(column, len(source))
        for how in ("read", "mapped", "direct"):
            files = OpenFiles(source.fingerprints, direct=how == "direct")
            if how == "mapped":
                for number in range(len(source.fingerprints)):
                    while not files.map(number).populated and files.map(number).populate():
                        pass
            try:
                for kept in stretches:
                    _back_and_forth(column, files, kept, stretches, arrays[column.field.name], how)
            finally:
                files.close()


def _back_and_forth(
    column: Column, files: OpenFiles, kept: NDArray[np.int64], others: list[NDArray[np.int64]], expected: Any, how: str
) -> None:
    """A reader that begins with one block, and comes back to it from each of the others."""
    name, reader = column.field.name, column.reader(files, ReadStats())
    try:
        for other in others:
            given = [(records, _delivered(column, reader, records)) for records in (kept[:1], other, kept[::-1], kept)]
            for records, values in given:
                _same(values, expected[records], f"{how}, a gather of '{name}' between others")
    finally:
        reader.close()


def _stretches(column: Column, records: int) -> list[NDArray[np.int64]]:
    """The records of some blocks, or of some pages where a column has them: of all where there are few."""
    cuts = column.page_starts if column.page_starts is not None else column.cuts
    borders = np.unique(np.linspace(0, records, MOST_BORDERS + 1).astype(np.int64) if cuts is None else np.append(cuts, records))
    chosen = np.unique(np.linspace(0, len(borders) - 2, min(MOST_BORDERS, len(borders) - 1)).astype(np.int64))
    return [np.arange(start, stop) for start, stop in zip(borders[chosen].tolist(), borders[chosen + 1].tolist(), strict=True)]


def _delivered(column: Column, reader: Any, records: NDArray[np.int64]) -> Any:
    """Records as a reader gives them, its scratch memory overwritten after each call."""
    field = column.field
    if not field.ragged:
        out = np.full((len(records), *field.shape), 0, field.dtype)
        reader.gather(records, out, np.arange(len(records), dtype=np.int64))
        overwrite_all()
        return out
    offsets = np.append(0, np.cumsum(reader.lengths(records))).astype(np.int64)
    overwrite_all()
    values = np.zeros((int(offsets[-1]), *field.shape), field.dtype)
    reader.gather_ragged(records, values, offsets[:-1])
    overwrite_all()
    return Ragged(values, offsets, field.ragged)


SAID = ("direct_nbytes", "mappable", "amplification", "file_nbytes", "single_threaded")
COLUMN_MEMBERS = (*SAID, "forward_starts", "encoded", "decode_options", "held", "value_range", "byte_runs")
FORWARDED = {member: attrgetter(member) for member in ("addressable", *SAID)}
READER_MEMBERS = ("advise", "expect", "collect_faults", "close")
WITH_DEFAULTS = "let its class inherit from streamload.column_defaults."


class WatchedFiles(OpenFiles):
    """Files that note how they are read."""

    used_mapping = False
    """Whether bytes were taken from where a file is mapped."""
    asked_direct = False
    """Whether a descriptor was asked for whose reads pass the page cache by, where that is wanted."""

    def address(self, number: int) -> int | None:
        """As `OpenFiles.address`."""
        address = super().address(number)
        self.used_mapping |= address is not None
        return address

    def bytes_at(self, number: int, offset: int, nbytes: int) -> NDArray[np.uint8] | None:
        """As `OpenFiles.bytes_at`."""
        found = super().bytes_at(number, offset, nbytes)
        self.used_mapping |= found is not None
        return found

    def direct(self, number: int) -> int | None:
        """As `OpenFiles.direct`."""
        self.asked_direct |= self.past_cache
        return super().direct(number)


def check_promises(source: Source, arrays: Arrays) -> None:
    """What columns say of themselves is what their readers do: a column that wraps another must say what that one says."""
    for column in source.columns:
        name, lacking = column.field.name, [member for member in COLUMN_MEMBERS if member not in dir(column)]
        assert not lacking, f"the column of '{name}' lacks {', '.join(lacking)}: {WITH_DEFAULTS}ColumnDefaults"
        encoded, held = column.encoded, column.held
        assert column.amplification >= 1, f"'{name}' claims to decode {column.amplification} records for each one delivered"
        assert column.file_nbytes is None or column.file_nbytes >= 0, f"'{name}' claims to take {column.file_nbytes} bytes in its files"
        if held is not None:
            _same(held if column.field.ragged else np.asarray(held), arrays[name], f"what '{name}' holds in memory")
        _check_stored(source, column, arrays[name])
        assert encoded is not None or column.decode_options is None, f"'{name}' decodes images, and its column has no stored bytes of them"
        if encoded is not None:
            assert encoded.field.ragged == BYTES, f"the stored bytes of '{name}' are {encoded.field}, where ragged bytes are expected"
            for member, said_by in FORWARDED.items():
                ours, theirs = said_by(column), said_by(encoded)
                assert ours == theirs, f"'{name}' says {member} = {ours}, and its stored bytes {theirs}"
            alike = np.array_equal(column.forward_starts, encoded.forward_starts)  # pyright: ignore[reportArgumentType]  (None too)
            assert alike, f"'{name}' says another forward_starts than its stored bytes"
            _check_reading(source, encoded)
        _check_reading(source, column)


def _check_stored(source: Source, column: Column, array: Any) -> None:
    """Bytes and values that files are said to hold are those of the records."""
    name, runs = column.field.name, column.byte_runs(0, len(source))
    if runs is not None:
        parts = [np.fromfile(source.fingerprints[at].path, np.uint8, end - start, offset=start) for at, start, end in runs.tolist()]
        found = b"".join(part.tobytes() for part in parts)
        wanted = array.values if column.field.ragged else array
        assert found == np.ascontiguousarray(wanted).tobytes(), f"'{name}' does not lie in its files where byte_runs() says"
    with closing(OpenFiles(source.fingerprints)) as files:
        said = column.value_range(files)
    if said is not None:
        assert array.min() <= said[0] <= said[1] <= array.max(), f"values of '{name}' are not within what value_range() says: {said}"


def _check_reading(source: Source, column: Column) -> None:
    """A column says that it reads from mapped files, and past the page cache, exactly where its readers do."""
    records = np.arange(min(len(source), 20), dtype=np.int64)
    name = column.field.name
    for direct in (False, True):
        files = WatchedFiles(source.fingerprints, direct=direct)
        reader = column.reader(files, ReadStats())
        lacking = [member for member in READER_MEMBERS if member not in dir(reader)]
        assert not lacking, f"the reader of '{name}' lacks {', '.join(lacking)}: {WITH_DEFAULTS}ReaderDefaults"
        try:
            for number, was in enumerate(source.fingerprints if not direct else ()):
                while was.nbytes and not files.map(number).populated and files.map(number).populate():
                    pass
            reader.expect(records)
            delivered = read_records(column, reader, records)
        finally:
            reader.close()
            files.close()
        used, says = (files.asked_direct, column.direct_nbytes > 0) if direct else (files.used_mapping, column.mappable)
        how, member = ("past the page cache", "direct_nbytes") if direct else ("from a mapped file", "mappable")
        assert says or not used, f"'{name}' is read {how}, and its column does not say so ({member})"
        assert used or not says or not delivered.nbytes, f"the column of '{name}' says that it is read {how} ({member}), and it is not"


def check_travel(source: Source, arrays: Arrays) -> None:
    """A source that was read from pickles, and reads on where it arrives; a closed one opens again."""
    some = slice(0, 3)
    copy: Source = pickle.loads(pickle.dumps(source))
    for name, array in arrays.items():
        _same(copy[some][name], array[some], f"'{name}' of a pickled copy")
    copy.close()
    source.close()
    for name, array in arrays.items():
        _same(source[some][name], array[some], f"'{name}' after close()")


def check_orders(source: Source, arrays: Arrays, *, num_workers: Sequence[int], batch_size: int, memory: int | str) -> None:
    """In every order, each record comes once an epoch with its own bytes, alike for every number of workers."""
    for order in (Sequential(),) if source.forward_only else (Sequential(), Exact(), Block()):
        first: list[NDArray[np.int64]] | None = None
        for workers in num_workers:
            where = f"{order!r} with num_workers={workers}"
            with _loader(source, order, workers, batch_size, memory) as loader:
                epochs = [list(_read(epoch, arrays, where)) for epoch in loader.epochs(2)]
            for epoch in epochs:
                numbers = np.concatenate([*epoch, np.zeros(0, np.int64)])
                complete = np.array_equal(np.sort(numbers), np.arange(len(source)))
                assert complete, f"{where}: an epoch does not deliver each record once"
            joined = [one for epoch in epochs for one in epoch]
            if first is None:
                first = joined
            alike = len(first) == len(joined) and all(map(np.array_equal, first, joined))
            assert alike, f"{where} delivers another order than with num_workers={num_workers[0]}"


def check_resume(source: Source, arrays: Arrays, *, num_workers: int, batch_size: int, memory: int | str) -> None:
    """A saved state, as JSON, goes on with the very next batch."""
    with _loader(source, not source.forward_only, num_workers, batch_size, memory) as loader:
        whole = list(_read(iter(loader), arrays, "a whole epoch"))
    if not whole:
        return
    stop = (len(whole) + 1) // 2
    with _loader(source, not source.forward_only, num_workers, batch_size, memory) as loader:
        epoch = _read(iter(loader), arrays, "the first half of an epoch")
        for _ in range(stop):
            next(epoch)
        state = json.loads(json.dumps(loader.state_dict()))
    with _loader(source, not source.forward_only, num_workers, batch_size, memory) as loader:
        loader.load_state_dict(state)
        rest = list(_read(iter(loader), arrays, "the rest of an epoch"))
    alike = len(rest) == len(whole) - stop and all(map(np.array_equal, rest, whole[stop:]))
    assert alike, f"resumed after step {stop}, an epoch goes on with other records"


@contextmanager
def _loader(source: Source, order: object, workers: int, batch_size: int, memory: int | str) -> Generator[Loader, None, None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on how well small data mixes is not what is checked here
        loader = Loader(source, batch_size=batch_size, shuffle=order, seed=1, num_workers=workers, memory=memory)
    with loader:
        yield loader


def _read(epoch: Any, arrays: Arrays, where: str) -> Iterator[NDArray[np.int64]]:
    """The record numbers of each batch of an epoch, whose bytes are checked."""
    for batch in epoch:
        records = np.array(batch.records)
        for name, array in arrays.items():
            _same(batch[name], array[records], f"{where}: '{name}' of step {batch.step}")
        yield records


def _same_record(found: Any, there: Any, what: str) -> None:
    if isinstance(there, (str, bytes)):
        assert type(found) is type(there), f"{what} is {type(found).__name__}, where {type(there).__name__} is expected"
        assert found == there, f"{what} is another text than expected"
        return
    _same(np.asarray(found), np.asarray(there), what)


def _same(found: Any, there: Any, what: str) -> None:
    if isinstance(there, Ragged):
        assert isinstance(found, Ragged), f"{what} is no Ragged"
        assert found.kind == there.kind, f"{what} is ragged as {found.kind!r}, where {there.kind!r} is expected"
        assert np.array_equal(found.lengths, there.lengths), f"{what} has records of other lengths than expected"
        found, there = found.values, there.values
    assert found.shape == there.shape, f"{what} has the shape {found.shape}, where {there.shape} is expected"
    assert found.dtype == there.dtype, f"{what} has the dtype {found.dtype}, where {there.dtype} is expected"
    assert _equal(found, there), f"{what} has other values than expected"


def _equal(found: NDArray[Any], there: NDArray[Any]) -> bool:
    """To the byte, zeros at the end of strings included; but that one NaN is as good as another."""
    if found.tobytes() == there.tobytes():
        return True
    if there.dtype.kind not in "fcmM" or not np.array_equal(found, there, equal_nan=True):
        return False
    if there.dtype.kind in "mM":
        return True
    parts = [(np.real(found), np.real(there)), (np.imag(found), np.imag(there))] if there.dtype.kind == "c" else [(found, there)]
    return all(bool((np.isnan(ours) | (np.signbit(ours) == np.signbit(theirs))).all()) for ours, theirs in parts)
