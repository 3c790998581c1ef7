"""Augments encoded images: decodes each into memory for one image, in the smallest size that its crop allows, and augments it from
there into its row of the batch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.fetch.draft import BatchDraft, PieceRows
from streamload.fetch.job import Job
from streamload.fetch.load import EncodedField
from streamload.fetch.windows import WindowDecoder
from streamload.images.column import EncodedImages, ImageReader
from streamload.images.header import ImageHeader
from streamload.images.headers import read_header
from streamload.images.image_error import ImageError
from streamload.images.scratch import ScratchDecoder
from streamload.processes.fault_points import fault_point
from streamload.source import Fault, ReadStats
from streamload.storage.files import OpenFiles
from streamload.transforms.planning import AugmentPlan
from streamload.transforms.stage import AugmentStage, DrawnStep, Sizes


class StoredRows(NamedTuple):
    """The stored bytes of some rows of a batch."""

    rows: NDArray[np.int64]
    values: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    """Row `rows[k]` is `values[starts[k] : starts[k] + lengths[k]]`."""


class AugmentImages:
    """Decodes and augments the encoded image and mask fields. Keeps the sizes of images, which the boxes and key points need."""

    def __init__(
        self,
        job: Job,
        stage: AugmentStage,
        readers: Mapping[int, Mapping[str, EncodedField]],
        *,
        windows: WindowDecoder,
        meter: ReadStats,
    ) -> None:
        """`readers`: by stream and name, of the encoded fields that are augmented."""
        assert job.layout is not None
        self._stage, self._readers, self._windows, self._meter = stage, readers, windows, meter
        self._seeds = [stream.seed for stream in job.streams]
        self._decoders: dict[tuple[int, str], ScratchDecoder] = {}
        self.plans = [plan for plan in stage.plans if any(image.encoded for image in (*plan.images, *plan.masks))]
        self.names = [image.name for plan in self.plans for image in (*plan.images, *plan.masks) if image.encoded]
        masks = {mask.name for plan in self.plans for mask in plan.masks}
        alike: dict[tuple[str, int, bool], ScratchDecoder] = {}
        for number, stream in enumerate(job.streams):
            for column in stream.columns:
                if (name := column.field.name) in self.names:
                    spec = cast(EncodedImages, column).options
                    assert spec.mode is not None
                    kind = spec.mode, spec.max_pixels, name in masks
                    alike[kind] = decoder = alike.get(kind) or ScratchDecoder(kind[0], max_pixels=kind[1], mask=kind[2])
                    self._decoders[number, name] = decoder
        size = job.layout.batch_size
        self._sizes = {plan.images[0].name: (np.ones(size, np.int64), np.ones(size, np.int64)) for plan in self.plans}

    def sizes(self, start: int, stop: int) -> dict[str, Sizes]:
        """Heights and widths of the images of rows [start, stop) of the present batch, by the first image field of each plan."""
        return {name: (heights[start:stop], widths[start:stop]) for name, (heights, widths) in self._sizes.items()}

    def decode(self, draft: BatchDraft, faults: list[Fault] | None) -> None:
        """Write every row of the encoded fields. A record that cannot be decoded is added to `faults`; without `faults`, it raises."""
        began, read = time.perf_counter_ns(), self._meter.read_ns
        for fields in self._readers.values():
            for name in self.names:
                fields[name].reader.collect_faults(faults)
        for piece in draft.pieces:
            for plan in self.plans:
                for image in (*plan.images, *plan.masks):
                    if image.encoded:
                        for stored in self._stored(draft, piece, image.name):
                            self._write(draft, piece, plan, image.name, stored, faults)
                        fault_point("mid_slot_write")
        self._meter.decode_ns += time.perf_counter_ns() - began - (self._meter.read_ns - read)

    def settle(self, draft: BatchDraft, sources: NDArray[np.int64]) -> None:
        """Change the rows: the new row k is what was row `sources[k]`; zeros if that is negative."""
        for name in self.names:
            draft.target.fields[name][: len(sources)] = draft.target.fields[name][sources]
            draft.target.fields[name][: len(sources)][sources < 0] = 0
        for sides in self._sizes.values():
            for side in sides:
                side[: len(sources)] = side[sources]

    def _stored(self, draft: BatchDraft, piece: PieceRows, name: str) -> Iterator[StoredRows]:
        """The stored bytes of the rows of a piece, from the arena or from files, some rows at a time and in any order."""
        reader, in_arena = self._reader(piece, name), self._readers[piece.stream][name].in_arena
        missing = np.arange(piece.start, piece.stop)
        if in_arena:
            left = [draft.missing(piece.start, piece.stop)]
            for part, held, start, stop in draft.slices:
                low, high = max(start, piece.start), min(stop, piece.stop)
                if low < high:
                    region, rows = self._windows.parts[part].regions[name], np.arange(low, high)
                    here = held[low - start : high - start]
                    starts, lengths = region.starts[here], region.lengths[here]
                    there = starts >= 0
                    left.append(rows[~there])
                    yield StoredRows(rows[there], region.values, starts[there], lengths[there])
            missing = np.concatenate(left)
        if len(missing):
            for first, last, values, starts, lengths in reader.pieces(draft.records[missing]):
                yield StoredRows(missing[first:last], values, starts, lengths)

    def _reader(self, piece: PieceRows, name: str) -> ImageReader:
        """The reader of an encoded field, which is one of images: no other field is both encoded and augmented."""
        return cast(ImageReader, self._readers[piece.stream][name].reader)

    def _write(
        self, draft: BatchDraft, piece: PieceRows, plan: AugmentPlan, name: str, stored: StoredRows, faults: list[Fault] | None
    ) -> None:
        """Decode and augment the rows of `stored` into the batch."""
        view, decoder, out = stored.values.data, self._decoders[piece.stream, name], draft.target.fields[name]
        data = [view[start : start + length] for start, length in zip(stored.starts.tolist(), stored.lengths.tolist(), strict=True)]
        bad: dict[int, ImageError] = {}
        heads = [self._header(decoder, one, bad, k) for k, one in enumerate(data)]
        self._note_sizes(plan, name, stored.rows, heads, bad)
        drawn = self._draw(draft, piece, plan, stored.rows, bad)
        most = self._stage.smallest(drawn).tolist() if name in [image.name for image in plan.images] else [1.0] * len(data)
        write = self._stage.writer(drawn, name, out)
        for k, (one, head, row) in enumerate(zip(data, heads, stored.rows.tolist(), strict=True)):
            if k in bad or head is None:
                self._refuse(draft, piece, name, row, bad[k], faults)
                continue
            try:
                decoded = decoder.decode(one, head, smaller=most[k])
            except ImageError as error:
                self._refuse(draft, piece, name, row, error, faults)
                continue
            write(k, decoded, row)

    def _refuse(self, draft: BatchDraft, piece: PieceRows, name: str, row: int, error: ImageError, faults: list[Fault] | None) -> None:
        """Raise the error of a row that cannot be delivered, or add it to `faults`.

        What is added has not been raised, so that it keeps no frame, and with it no array, alive.
        """
        record = int(draft.records[row])
        fault = self._reader(piece, name).error_of(record, error)
        if faults is None:
            raise fault from error.__cause__
        faults.append(Fault(row, record, fault))

    @staticmethod
    def _header(decoder: ScratchDecoder, data: memoryview, bad: dict[int, ImageError], k: int) -> ImageHeader | None:
        try:
            return decoder.header(data)
        except ImageError as error:
            bad[k] = ImageError(error.why, hint=error.hint, kind=error.kind)
            return None

    def _note_sizes(
        self, plan: AugmentPlan, name: str, rows: NDArray[np.int64], heads: Sequence[ImageHeader | None], bad: dict[int, ImageError]
    ) -> None:
        """Keep the sizes of a plan's first image field. An image of another field with another size is added to `bad`."""
        first = plan.images[0]
        heights, widths = self._sizes[first.name]
        for k, (row, head) in enumerate(zip(rows.tolist(), heads, strict=True)):
            size = first.usual if head is None else head.size
            if name == first.name or not first.encoded:
                expected = first.size
                if name == first.name:
                    heights[row], widths[row] = size
            else:
                expected = int(heights[row]), int(widths[row])
            if head is not None and expected is not None and size != expected:
                bad[k] = _unlike(size, expected, first.name if name != first.name else "")
                if name == first.name:
                    heights[row], widths[row] = expected

    def _draw(
        self, draft: BatchDraft, piece: PieceRows, plan: AugmentPlan, rows: NDArray[np.int64], bad: dict[int, ImageError]
    ) -> DrawnStep:
        """The draws of some rows. Images that are too small for the operations are added to `bad`."""
        name, (heights, widths) = plan.images[0].name, self._sizes[plan.images[0].name]
        records = draft.records[rows]

        def draw(part: slice) -> DrawnStep:
            at = rows[part]
            sizes = {name: (heights[at], widths[at])}
            return self._stage.draw(records[part], seed=self._seeds[piece.stream], epoch=piece.epoch, sizes=sizes, plans=(plan,))

        try:
            return draw(slice(None))
        except ConfigError:
            for k, row in enumerate(rows.tolist()):
                try:
                    draw(slice(k, k + 1))
                except ConfigError as error:
                    bad[k] = ImageError(f"cannot be augmented: {error.message.rstrip('.')}", hint=error.hint, kind=SchemaMismatchError)
                    heights[row], widths[row] = plan.images[0].usual
            return draw(slice(None))


def decoded_whole(column: EncodedImages, reader: Any, record: NDArray[np.int64], *, mask: bool) -> NDArray[Any]:
    """The pixels of a record, shape (height, width, channels), in its own size. Raises SourceError for one that cannot be decoded."""
    assert column.options.mode is not None
    decoder = ScratchDecoder(column.options.mode, max_pixels=column.options.max_pixels, mask=mask)
    (stored,) = reader.pieces(record)
    try:
        return decoder.decode(stored.values, decoder.header(stored.values)).pixels.copy()
    except ImageError as error:
        raise reader.error_of(int(record[0]), error) from error.__cause__


def sizes_of(job: Job, record: int, names: Sequence[str], *, stream: int) -> dict[str, Sizes]:
    """The sizes of a record's images, of the fields of these names: read from its headers. The record is counted in that stream."""
    source, found = job.streams[stream], dict[str, Sizes]()
    files = OpenFiles(source.fingerprints)
    try:
        for column in source.columns:
            if column.field.name in names:
                reader = cast(EncodedImages, column).reader(files, ReadStats())
                (stored,) = reader.pieces(np.array([record], np.int64))
                try:
                    height, width = read_header(stored.values.data).size
                except ImageError as error:
                    raise reader.error_of(record, error) from error.__cause__
                finally:
                    reader.close()
                found[column.field.name] = np.array([height]), np.array([width])
    finally:
        files.close()
    return found


def _unlike(size: tuple[int, int], expected: tuple[int, int], other: str) -> ImageError:
    if other:
        where, hint = f"where its '{other}' is {expected[0]:,} x {expected[1]:,}", "Fields of one Augment have one height and width."
    else:
        where = f"where {expected[0]:,} x {expected[1]:,} are expected"
        hint = "Open it with decode=False: Augment then takes images of any size."
    return ImageError(f"is {size[0]:,} x {size[1]:,} pixels, {where}", hint=hint, kind=SchemaMismatchError)
