"""The stages of the first pass: encoded fields are decoded, fixed ones read, ragged ones collated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.fault_points import reach
from streamload.fetch.bad_records import RAISE
from streamload.fetch.draft import BatchDraft
from streamload.fetch.ragged_collate import RaggedCollator, offsets_of
from streamload.fetch.streams import OpenStreams
from streamload.fetch.windows import WindowDecoder
from streamload.source import Fault, Reader, RecordDecoder


class EncodedField(NamedTuple):
    """A field of one stream that is decoded from stored bytes."""

    name: str
    reader: RecordDecoder
    in_arena: bool
    """Whether its stored bytes are in the arena."""


class DecodedBesides(Protocol):
    """Whoever decodes other fields of the same batch, whose faults are settled together with these."""

    def decode(self, draft: BatchDraft, faults: list[Fault] | None) -> None:
        """Write every row of its fields. A record that cannot be decoded raises, or is noted in `faults`."""
        ...

    def settle(self, draft: BatchDraft, sources: NDArray[np.int64]) -> None:
        """Row k of the batch is now what was in row `sources[k]`."""
        ...


class DecodeFields:
    """Decodes encoded fields, and settles what becomes of records that cannot be decoded."""

    def __init__(
        self,
        fields: Mapping[int, Sequence[EncodedField]],
        *,
        streams: OpenStreams,
        windows: WindowDecoder,
        on_bad: str,
        rows: NDArray[np.int64],
        augmented: DecodedBesides | None = None,
    ) -> None:
        """`fields`: by stream. `rows`: the numbers from 0 of as many rows as a batch can have. `augmented`: those that go on."""
        self._augmented = augmented
        self._fields = fields
        self._streams = streams
        self._windows = windows
        self._on_bad = on_bad
        self._rows = rows
        self._names = list(dict.fromkeys(field.name for ours in fields.values() for field in ours))

    def measure(self, draft: BatchDraft) -> None:
        """Decode: only that tells which records there are."""
        faults: list[Fault] = []
        fields = draft.target.fields
        for stream, start, stop in draft.streams:
            for name, reader, in_arena in self._fields.get(stream, ()):
                reader.collect_faults(None if self._on_bad == RAISE else faults)
                rows = self._rows[start:stop]
                if in_arena:
                    slices = [one for one in draft.slices if start <= one.start < stop]
                    self._windows.decode_stored(name, reader, draft.records, fields[name], slices)
                    rows = draft.missing(start, stop)
                if len(rows):
                    reader.gather(draft.records[rows], fields[name], rows)
                reach("mid_slot_write")
        if self._augmented is not None:
            self._augmented.decode(draft, None if self._on_bad == RAISE else faults)
        if faults:
            self._streams.verify()
            sources = draft.settle(faults, self._on_bad)
            for name in self._names:
                fields[name][: len(sources)] = fields[name][sources]
                fields[name][: len(sources)][sources < 0] = 0
            if self._augmented is not None:
                self._augmented.settle(draft, sources)

    def write(self, draft: BatchDraft) -> None:
        """Nothing is left to do."""


class ReadFields:
    """Reads fixed fields: record by record from files, or from the arena."""

    def __init__(self, readers: Mapping[int, Sequence[tuple[str, Reader]]], *, windows: WindowDecoder, rows: NDArray[np.int64]) -> None:
        """`readers`: by stream, of the fields that are read from files. `rows`: as for `DecodeFields`."""
        self._readers = readers
        self._windows = windows
        self._rows = rows
        self._decoded = windows.plain

    def measure(self, draft: BatchDraft) -> None:
        """Nothing: a fixed field has one element a record."""

    def write(self, draft: BatchDraft) -> None:
        """Put each record into its row."""
        fields = draft.target.fields
        for stream, start, stop in draft.streams:
            readers = self._readers[stream]
            if readers:
                whole = stop - start == len(self._rows)
                records, rows = (draft.records, self._rows) if whole else (draft.records[start:stop], self._rows[start:stop])
                for name, reader in readers:
                    reader.gather(records, fields[name], rows)
                    reach("mid_slot_write")
            decoded = self._decoded[stream]
            if decoded and len(rows := draft.missing(start, stop)):
                for name, reader in decoded:
                    reader.gather(draft.records[rows], fields[name], rows)
        if draft.slices:
            self._windows.gather_decoded(fields, draft.slices)


class CollateFields:
    """Puts the records of ragged fields one after the other."""

    def __init__(self, fields: Sequence[RaggedCollator]) -> None:
        self._fields = fields
        self._lengths: list[NDArray[np.int64]] = []

    def measure(self, draft: BatchDraft) -> None:
        """Ask how long each record is."""
        self._lengths = [one.measure(draft.records, draft.streams, draft.slices) for one in self._fields]
        for one, lengths in zip(self._fields, self._lengths, strict=True):
            draft.elements[one.field.name] = int(lengths.sum())

    def write(self, draft: BatchDraft) -> None:
        """Put offsets and elements into their places."""
        for one, lengths in zip(self._fields, self._lengths, strict=True):
            name = one.field.name
            offsets = offsets_of(lengths, draft.target.offsets[name][: draft.count + 1])
            one.collate(draft.target.fields[name], offsets)
            reach("mid_slot_write")
        self._lengths = []
