"""Stages of the first pass, which load records from storage: encoded fields are decoded, fixed ones read, ragged ones collated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamload.fetch.bad_records import RAISE
from streamload.fetch.draft import BatchDraft
from streamload.fetch.ragged_collate import RaggedCollator, offsets_of
from streamload.fetch.streams import OpenStreams
from streamload.fetch.windows import WindowDecoder
from streamload.processes.fault_points import fault_point
from streamload.source import Fault, Reader, RecordDecoder


class EncodedField(NamedTuple):
    """A field of one stream that is decoded from stored bytes."""

    name: str
    reader: RecordDecoder
    in_arena: bool
    """Whether its stored bytes are in the arena."""


class JointDecoder(Protocol):
    """Decodes further fields of the same batch (`augment_images`): their bad records are settled together with those of `DecodeFields`."""

    def decode(self, draft: BatchDraft, faults: list[Fault] | None) -> None:
        """Write every row of its fields. A record that cannot be decoded is added to `faults`; without `faults`, it raises."""
        ...

    def settle(self, draft: BatchDraft, sources: NDArray[np.int64]) -> None:
        """Change the rows of its fields: the new row k is what was row `sources[k]`, of shape (new count,)."""
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
        augmented: JointDecoder | None = None,
    ) -> None:
        """`fields`: by stream. `on_bad`: one of `bad_records.POLICIES`. `rows`: np.arange(batch size). `augmented`: decodes the encoded
        fields that are augmented, if there are any."""
        self._augmented = augmented
        self._fields = fields
        self._streams = streams
        self._windows = windows
        self._on_bad = on_bad
        self._rows = rows
        self._names = list(dict.fromkeys(field.name for ours in fields.values() for field in ours))

    def measure(self, draft: BatchDraft) -> None:
        """Decode all rows: only that tells which records can be delivered."""
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
                fault_point("mid_slot_write")
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
        """Nothing: `measure` has written every row."""


class ReadFields:
    """Reads fixed fields: record by record from files, or from the arena."""

    def __init__(self, readers: Mapping[int, Sequence[tuple[str, Reader]]], *, windows: WindowDecoder, rows: NDArray[np.int64]) -> None:
        """`readers`: by stream, (name, reader) of the fields that are read from files; those of the arena are in `windows`. `rows`: as for
        `DecodeFields`."""
        self._readers = readers
        self._windows = windows
        self._rows = rows
        self._decoded = windows.plain

    def measure(self, draft: BatchDraft) -> None:
        """Nothing: a fixed field has one element a record."""

    def write(self, draft: BatchDraft) -> None:
        """Read each record into its row, or copy it there from the arena."""
        fields = draft.target.fields
        for stream, start, stop in draft.streams:
            readers = self._readers[stream]
            if readers:
                whole = stop - start == len(self._rows)
                records, rows = (draft.records, self._rows) if whole else (draft.records[start:stop], self._rows[start:stop])
                for name, reader in readers:
                    reader.gather(records, fields[name], rows)
                    fault_point("mid_slot_write")
            decoded = self._decoded[stream]
            if decoded and len(rows := draft.missing(start, stop)):
                for name, reader in decoded:
                    reader.gather(draft.records[rows], fields[name], rows)
        if draft.slices:
            self._windows.gather_decoded(fields, draft.slices)


class CollateFields:
    """Collates ragged fields: puts the elements of all records of the batch one after the other."""

    def __init__(self, fields: Sequence[RaggedCollator]) -> None:
        self._fields = fields
        self._lengths: list[NDArray[np.int64]] = []

    def measure(self, draft: BatchDraft) -> None:
        """Find the length of each record, and the elements of the batch."""
        self._lengths = [one.measure(draft.records, draft.streams, draft.slices) for one in self._fields]
        for one, lengths in zip(self._fields, self._lengths, strict=True):
            draft.elements[one.field.name] = int(lengths.sum())

    def write(self, draft: BatchDraft) -> None:
        """Write the offsets and the elements."""
        for one, lengths in zip(self._fields, self._lengths, strict=True):
            name = one.field.name
            offsets = offsets_of(lengths, draft.target.offsets[name][: draft.count + 1])
            one.collate(draft.target.fields[name], offsets)
            fault_point("mid_slot_write")
        self._lengths = []
