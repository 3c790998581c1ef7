"""The stage of a step that augments: drawn parameters in, stored records read once, rows of the slot written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import SchemaMismatchError
from streamload.kernels import augment_runner, load_augment_kernels
from streamload.kernels.augment.frame import RECORD_WORDS
from streamload.kernels.augment.runners import Steps, address_of
from streamload.ragged import Ragged
from streamload.transforms.augmentation import Augmentation
from streamload.transforms.chain import Chain
from streamload.transforms.coordinates import as_dtype, moved_boxes, moved_points
from streamload.transforms.draws import batch_words, record_words
from streamload.transforms.images import ScaledPixels, StoredImage
from streamload.transforms.operations.batch import WholeBatch
from streamload.transforms.placement import BoxPass, Whole
from streamload.transforms.planning import AugmentPlan

Sizes = tuple[Whole, Whole]
"""Heights and widths of images."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawnPlan:
    """What one plan does with the records of a step."""

    plan: AugmentPlan
    chains: tuple[Chain, ...]
    """One for each view and crop, crops of a view side by side."""
    steps: Mapping[str, tuple[Steps, ...]]
    """By field, as the chains are."""
    heights: Whole
    widths: Whole


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class DrawnStep:
    """What is done with the records of a step: drawn at once, done in pieces."""

    records: NDArray[np.int64]
    words: NDArray[np.uint32]
    plans: tuple[DrawnPlan, ...]


WriteOne = Callable[[int, ScaledPixels, int], None]
"""Writes record k of a step, from pixels that were decoded, into a row."""


class AugmentStage:
    """Augments the records of steps, in one process.

    A step is drawn once (`draw`), then its images and masks are written from wherever they are stored, in as many pieces as
    they come in (`write`), and boxes and key points moved once they are where they belong (`move`). Nothing is allocated for
    images but planes of one record, which are used again.
    """

    def __init__(self, augmentation: Augmentation, *, past_caches: bool = False) -> None:
        """`past_caches`: whether the output goes past the caches, which pays where a batch is larger than the last of them."""
        self.plans = augmentation.plans
        self._augmentation = augmentation
        self._past_caches = past_caches
        self._runner = augment_runner()
        self.image_fields: frozenset[str] = frozenset(one.name for plan in self.plans for one in (*plan.images, *plan.masks))
        """Fields that `write` takes: images and masks."""

    def load(self) -> None:
        """Load the kernels, or compile them."""
        load_augment_kernels(self._augmentation.kernels)

    def draw(
        self,
        records: NDArray[np.int64],
        *,
        seed: int,
        epoch: int,
        sizes: Mapping[str, Sizes] | None = None,
        plans: Sequence[AugmentPlan] | None = None,
    ) -> DrawnStep:
        """Draw for records of an epoch, shape (records,), by all plans or by some.

        `sizes` is of the first image field of plans whose images differ. Raises ConfigError for images that are too small.
        """
        words = record_words(seed, epoch)
        drawn = tuple(self._drawn(plan, words, records, (sizes or {}).get(plan.images[0].name)) for plan in plans or self.plans)
        return DrawnStep(records=records, words=words, plans=drawn)

    @staticmethod
    def _drawn(plan: AugmentPlan, words: NDArray[np.uint32], records: NDArray[np.int64], sizes: Sizes | None) -> DrawnPlan:
        chains = tuple(
            plan.chain(words, records, sizes=sizes, view=view, crop=crop)
            for view in range(plan.augment.views)
            for crop in range(plan.augment.crops)
        )
        if sizes is None:
            sizes = plan.images[0].size or plan.images[0].usual
        fields = [*plan.images[:1], *plan.masks]
        steps = {one.name: tuple(plan.steps_of(one, chain) for chain in chains) for one in fields}
        steps |= {one.name: steps[plan.images[0].name] for one in plan.images[1:]}
        heights = sizes[0] * max(plan.images[0].depth, 1)  # Planes of a volume lie below one another.
        return DrawnPlan(plan=plan, chains=chains, steps=steps, heights=heights, widths=sizes[1])

    def write(
        self,
        drawn: DrawnStep,
        name: str,
        addresses: NDArray[np.int64],
        out: NDArray[Any],
        rows: NDArray[np.int64],
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> None:
        """Write records [start, stop) of the step, of an image or mask field, into `out[rows]`.

        `addresses[k]` is where record `start + k` lies, C-contiguous, in its stored dtype and shape; it goes to
        `out[rows[k]]`. `out` is C-contiguous, of the delivered dtype and shape.
        """
        stop = len(drawn.records) if stop is None else stop
        for one in drawn.plans:
            image = _image(one.plan, name)
            if image is None:
                continue
            form, table = one.plan.format_of(image), np.zeros((len(drawn.records), RECORD_WORDS), np.int64)
            table[start:stop, 0] = addresses
            table[:, 1], table[:, 2], table[:, 4] = one.heights, one.widths, drawn.records
            first = address_of(out) + rows * out.strides[0]
            for number, steps in enumerate(one.steps[name]):
                table[start:stop, 3] = first + number * form.out_nbytes
                self._runner.prepared(steps, table, form, words=drawn.words, past_caches=self._past_caches)(start, stop)
            if one.plan.may_overflow and image in one.plan.images:
                _refuse_infinite(name, out[rows], drawn.records[start:stop])

    def writer(self, drawn: DrawnStep, name: str, out: NDArray[Any]) -> WriteOne:
        """What writes records of the step into `out`, one at a time and each once.

        `drawn` is of one plan, and of sizes as the images have them; images may be smaller by at most `smallest(drawn)`.
        """
        (one,) = drawn.plans
        image = _image(one.plan, name)
        assert image is not None
        form, table = one.plan.format_of(image), np.zeros((len(drawn.records), RECORD_WORDS), np.int64)
        own = [replace(steps, values=steps.values.copy()) for steps in one.steps[name]]
        works = [self._runner.prepared(steps, table, form, words=drawn.words, past_caches=self._past_caches) for steps in own]
        table[:, 4] = drawn.records
        # Items of a memory view are set in a fraction of the time that a row of an array takes.
        first, row_nbytes, cells = address_of(out), out.strides[0], table.reshape(-1).data

        def write(k: int, decoded: ScaledPixels, row: int) -> None:
            cell = k * RECORD_WORDS
            cells[cell] = address_of(decoded.pixels)
            cells[cell + 1], cells[cell + 2] = decoded.pixels.shape[:2]
            for number, (steps, work) in enumerate(zip(own, works, strict=True)):
                cells[cell + 3] = first + row * row_nbytes + number * form.out_nbytes
                if decoded.smaller > 1:
                    left, top = decoded.left, decoded.top
                    steps.values[k, :4] = steps.values[k, :4] / decoded.smaller + (left, top, left, top)
                work(k, k + 1)
            if one.plan.may_overflow and image in one.plan.images:
                _refuse_infinite(name, out[row : row + 1], drawn.records[k : k + 1])

        return write

    @staticmethod
    def smallest(drawn: DrawnStep) -> NDArray[np.float64]:
        """By how much the image of each record may be smaller and still have as many pixels as come out of its box: (records,)."""
        (one,) = drawn.plans
        smallest = np.full(len(drawn.records), np.inf)
        for chain in one.chains:
            first = chain.placement.passes[0]
            smallest = np.minimum(smallest, first.smaller() if isinstance(first, BoxPass) else 1.0)
        return smallest

    def move(self, drawn: DrawnStep, stored: Mapping[str, Any], out: Mapping[str, Any], rows: NDArray[np.int64]) -> None:
        """Move boxes and key points.

        `stored[name]` holds those of the step's records as they are stored: an array of shape (records, n, width), or a Ragged
        of as many records; what comes of them goes to `out[name][rows]`, or, of a Ragged, into the values of `out[name]`,
        which has the same offsets. Both may be the same memory.
        """
        for one in drawn.plans:
            augment = one.plan.augment
            if not (augment.boxes or augment.keypoints):
                continue
            maps = [chain.placement.forward() for chain in one.chains]
            for name in (*augment.boxes, *augment.keypoints):
                values, target = stored[name], out[name]
                if isinstance(values, Ragged):
                    target.values[: len(values.values)] = self._moved(one.plan, name, values.values, maps[0][_owners(values)])
                    continue
                count, width = values.shape[1:]
                flat = values.reshape(-1, width)
                moved = [self._moved(one.plan, name, flat, np.repeat(part, count, axis=0)).reshape(-1, count, width) for part in maps]
                target[rows] = (np.stack(moved, axis=1) if len(maps) > 1 else moved[0]).reshape(len(rows), *target.shape[1:])

    def mix(self, fields: Mapping[str, NDArray[Any]], labels: Mapping[str, NDArray[Any]], *, seed: int, epoch: int, position: int) -> None:
        """Do what is done with whole batches, in place.

        `fields` are the rows of a batch that is complete, each of shape (records, ...); `labels[name]` are labels as they are
        stored, of those fields that become shares of classes; `position` is that of the batch's first record in the epoch.
        """
        if not self._augmentation.batch:
            return
        seeds = batch_words(seed, epoch, position)[:4].astype(np.uint64)
        generator = np.random.Generator(np.random.Philox(key=seeds[0::2] | seeds[1::2] << np.uint64(32)))
        batch = WholeBatch(
            fields=dict(fields), labels=dict(labels), layouts=self._augmentation.layouts, generator=generator, runner=self._runner
        )
        for operation in self._augmentation.batch:
            operation.run(batch)

    @staticmethod
    def _moved(plan: AugmentPlan, name: str, values: NDArray[Any], maps: NDArray[np.float64]) -> NDArray[Any]:
        given = values.astype(np.float64)
        if name in plan.augment.boxes:
            return as_dtype(moved_boxes(given, maps, plan.size, plan.augment.box_format), values.dtype)
        return as_dtype(moved_points(given, maps), values.dtype)


def _refuse_infinite(name: str, values: NDArray[np.float16], records: NDArray[np.int64]) -> None:
    """Raise SchemaMismatchError where whole numbers have become infinite: `values` of `records`, shape (records, ...)."""
    bits = values.reshape(len(values), -1).view(np.uint16) & 0x7FFF
    wrong = (bits >= np.float16(np.inf).view(np.uint16)).any(axis=1)
    if wrong.any():
        record = int(records[int(wrong.argmax())])
        raise SchemaMismatchError(
            f"field '{name}' of record {record:,} comes to more than 65,504, which is all that float16 holds.",
            hint='Give dtype="bfloat16" or "float32", or divide by more: scale=True, or a Normalize(mean, std) for such levels.',
            dataset=name,
            records=(record, record + 1),
        )


def _image(plan: AugmentPlan, name: str) -> StoredImage | None:
    return next((one for one in (*plan.images, *plan.masks) if one.name == name), None)


def _owners(values: Ragged) -> NDArray[np.int64]:
    """The record that each element belongs to."""
    return np.repeat(np.arange(len(values.offsets) - 1), np.diff(values.offsets))


def augment_arrays(
    augmentation: Augmentation,
    stored: Mapping[str, Any],
    records: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    position: int = 0,
) -> dict[str, Any]:
    """Augment a batch of records that lie in arrays of one process: by field, of shape (records, ...) or a Ragged, in new memory.

    Of fields that are encoded, `stored` has a list of decoded images, each of shape (height, width, channels).
    """
    stage, rows = AugmentStage(augmentation), np.arange(len(records))
    stage.load()
    out: dict[str, Any] = {}
    for field in augmentation.schema:
        if field.ragged:
            out[field.name] = Ragged(stored[field.name].values.copy(), stored[field.name].offsets, field.ragged)
        else:
            out[field.name] = np.empty((len(records), *field.shape), field.dtype)
    sizes = {plan.images[0].name: _sizes_of(stored[plan.images[0].name]) for plan in stage.plans if plan.images[0].encoded}
    for plan in stage.plans:
        step = stage.draw(records, seed=seed, epoch=epoch, sizes=sizes, plans=(plan,))
        for image in (*plan.images, *plan.masks):
            if image.encoded:
                write = stage.writer(step, image.name, out[image.name])
                for k, pixels in enumerate(stored[image.name]):
                    write(k, ScaledPixels(pixels), k)
            else:
                array = np.ascontiguousarray(stored[image.name])
                addresses = address_of(array) + rows * array.strides[0]
                stage.write(step, image.name, addresses, out[image.name], rows)
        stage.move(step, stored, out, rows)
    fixed = {name: array for name, array in out.items() if not isinstance(array, Ragged)}
    for name in set(fixed) - augmentation.fields:
        fixed[name][:] = stored[name]
    stage.mix(fixed, {name: stored[name] for name in augmentation.labels}, seed=seed, epoch=epoch, position=position)
    return out


def _sizes_of(images: Sequence[NDArray[Any]]) -> Sizes:
    """Heights and widths of decoded images."""
    return np.array([image.shape[0] for image in images], np.int64), np.array([image.shape[1] for image in images], np.int64)
