"""Operations on whole batches: mixing each record with the one before it, and labels as shares of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError
from streamload.kernels.augment.frame import KINDS
from streamload.kernels.augment.runners import PixelFormat, Runner, Steps
from streamload.schema import Field, Schema
from streamload.transforms.operations.arguments import chance_of, check_name, number, refuse, whole

MIXED = ("float16", "bfloat16", "float32")


@dataclass(frozen=True, kw_only=True, slots=True)
class WholeBatch:
    """A batch at hand."""

    fields: dict[str, NDArray[Any]]
    """Rows of the slot by field: shape (records, ...)."""
    labels: dict[str, NDArray[Any]]
    """Labels as they are stored, of the fields that operations turn into shares."""
    layouts: dict[str, str]
    """Orders of axes of augmented images, and of those that are as they were stored."""
    generator: np.random.Generator
    """Of this batch alone: the same wherever the same records share a batch."""
    runner: Runner


def one_hot(numbers: NDArray[Any], out: NDArray[np.float32], smoothing: float, name: str) -> None:
    """Write the class of each record as shares of all. Raises SchemaMismatchError for a number that is no class."""
    classes = out.shape[1]
    chosen = np.asarray(numbers).reshape(len(out)).astype(np.int64)
    wrong = chosen[(chosen < 0) | (chosen >= classes)]
    if len(wrong):
        raise SchemaMismatchError(
            f"field '{name}' holds the class {wrong[0]}, and num_classes is {classes}.",
            hint=f"Classes are numbered from 0 to {classes - 1}: raise num_classes, or number them anew.",
            dataset=name,
        )
    out[:] = smoothing / classes
    out[np.arange(len(out)), chosen] += 1.0 - smoothing


def check_classes(operation: object, value: Any) -> None:
    """Raise ConfigError for what is no number of classes."""
    if value is not None and (not whole(value) or value < 1):
        raise refuse(operation, "num_classes", value, "is no number of classes", "Give a whole number from 1 up.")


def as_shares(operation: object, schema: Schema, name: str, classes: int | None) -> Schema:
    """The schema in which labels are shares of classes. Raises ConfigError where they cannot be."""
    if name not in schema:
        hint = f"There are: {', '.join(schema.names)}. Name it with labels=."
        raise ConfigError(f"{type(operation).__name__} needs labels, and there is no field '{name}'.", hint=hint)
    field = schema[name]
    if field.dtype.kind == "f" and len(field.shape) == 1 and not field.ragged:
        if classes not in (None, field.shape[0]):
            raise ConfigError(
                f"{type(operation).__name__}(num_classes={classes}): field '{name}' holds shares of {field.shape[0]} classes already.",
                hint=f"Give num_classes={field.shape[0]}.",
            )
        return schema
    if field.ragged or field.dtype.kind not in "iu" or field.shape not in ((), (1,)):
        hint = "Labels are one whole number a record, or shares of classes."
        raise ConfigError(f"{type(operation).__name__}: field '{name}' is {field}, which are no labels.", hint=hint)
    if classes is None:
        raise ConfigError(f"{type(operation).__name__} needs num_classes: '{name}' holds numbers.", hint="Give num_classes=1000.")
    made = Field(name, np.dtype(np.float32), (int(classes),))
    return Schema(tuple(made if one.name == name else one for one in schema))


@dataclass(frozen=True, slots=True)
class OneHot:
    """Labels as shares of classes, float32: 1 for a record's own, or, with `smoothing`, a little less and the rest for all alike."""

    num_classes: int
    labels: str = "label"
    """The field."""
    smoothing: float = 0.0
    """What is shared out among all classes; of labels that are shares already, too."""

    def __post_init__(self) -> None:
        check_classes(self, self.num_classes)
        if not number(self.smoothing) or not 0 <= self.smoothing < 1:
            raise refuse(self, "smoothing", self.smoothing, "is no share", "Give a number from 0 up to 1.")
        check_name(self, "labels", self.labels)

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a batch after it. Raises ConfigError where labels are none."""
        return as_shares(self, schema, self.labels, self.num_classes)

    def run(self, batch: WholeBatch) -> None:
        """Do it."""
        if self.labels in batch.labels:
            one_hot(batch.labels.pop(self.labels), batch.fields[self.labels], self.smoothing, self.labels)
        elif self.smoothing:
            shares = batch.fields[self.labels]
            shares[:] = shares * np.float32(1.0 - self.smoothing) + np.float32(self.smoothing / shares.shape[1])


@dataclass(frozen=True, slots=True)
class MixUp:
    """Each record blended with the one before it in the batch (the first with the last), its labels alike, with a chance of `p`.

    One share for a whole batch, as in torchvision; images must come out as floats, and no masks, boxes or key points may move along.
    """

    alpha: float = 1.0
    """Of the beta distribution that the share is drawn from."""
    num_classes: int | None = None
    """Needed where labels are numbers."""
    images: str = "image"
    labels: str = "label"
    p: float = 1.0

    def __post_init__(self) -> None:
        _check_mixing(self, self.alpha, self.num_classes, self.p)
        check_name(self, "images", self.images)
        check_name(self, "labels", self.labels)

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a batch after it. Raises ConfigError where they cannot be mixed."""
        if self.images not in schema:
            hint = f"There are: {', '.join(schema.names)}. Name images with images=."
            raise ConfigError(f"MixUp: field '{self.images}' is not there.", hint=hint)
        field = schema[self.images]
        if field.ragged or field.dtype.name not in MIXED:
            raise ConfigError(
                f"MixUp: field '{self.images}' comes out as {field}.", hint='Mixing takes floats: Augment(..., dtype="float32").'
            )
        return as_shares(self, schema, self.labels, self.num_classes)

    def run(self, batch: WholeBatch) -> None:
        """Do it."""
        share = float(batch.generator.beta(self.alpha, self.alpha))
        applied = batch.generator.random() < self.p
        _share_labels(batch, self.labels)
        if applied:
            mix_rows(batch.fields[self.images], share, batch.runner)
            mix_labels(batch.fields[self.labels], share)


@dataclass(frozen=True, slots=True)
class CutMix:
    """A rectangle of each record out of the one before it in the batch, its labels by area, with a chance of `p`.

    The same in all views and crops; no masks, boxes or key points may move along with the images.
    """

    alpha: float = 1.0
    """Of the beta distribution that the share is drawn from."""
    num_classes: int | None = None
    """Needed where labels are numbers."""
    images: str = "image"
    labels: str = "label"
    p: float = 1.0

    def __post_init__(self) -> None:
        _check_mixing(self, self.alpha, self.num_classes, self.p)
        check_name(self, "images", self.images)
        check_name(self, "labels", self.labels)

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a batch after it. Raises ConfigError where they cannot be mixed."""
        if self.images not in schema or schema[self.images].ragged or len(schema[self.images].shape) < 2:
            hint = f"There are: {', '.join(schema.names)}. Name images with images=."
            raise ConfigError(f"CutMix: field '{self.images}' holds no images of one size.", hint=hint)
        return as_shares(self, schema, self.labels, self.num_classes)

    def run(self, batch: WholeBatch) -> None:
        """Do it."""
        share, (x, y) = float(batch.generator.beta(self.alpha, self.alpha)), batch.generator.random(2)
        applied = batch.generator.random() < self.p
        _share_labels(batch, self.labels)
        if not applied:
            return
        rows, layout = batch.fields[self.images], batch.layouts[self.images]
        axes = {letter: rows.ndim - len(layout) + place for place, letter in enumerate(layout)}
        height, width = rows.shape[axes["H"]], rows.shape[axes["W"]]
        half = 0.5 * np.sqrt(1.0 - share)
        middle_x, middle_y = int(x * width), int(y * height)
        x0, x1 = max(middle_x - int(half * width), 0), min(middle_x + int(half * width), width)
        y0, y1 = max(middle_y - int(half * height), 0), min(middle_y + int(half * height), height)
        box: list[Any] = [slice(None)] * (rows.ndim - 1)
        box[axes["H"] - 1], box[axes["W"] - 1] = slice(y0, y1), slice(x0, x1)
        last = rows[-1][tuple(box)].copy()
        for k in range(len(rows) - 1, 0, -1):
            rows[k][tuple(box)] = rows[k - 1][tuple(box)]
        rows[0][tuple(box)] = last
        mix_labels(batch.fields[self.labels], 1.0 - (x1 - x0) * (y1 - y0) / (width * height))


def mix_labels(labels: NDArray[Any], share: float) -> None:
    """Shares of classes blended as their images are."""
    labels[:] = labels * np.float32(share) + np.roll(labels, 1, axis=0) * np.float32(1.0 - share)


def mix_rows(rows: NDArray[Any], share: float, runner: Runner) -> None:
    """Each row blended with the one before it, in place."""
    elements = int(np.prod(rows.shape[1:]))
    saved = np.empty(elements, rows.dtype)
    address = rows.__array_interface__["data"][0]
    records = np.array([[address, len(rows), elements, saved.ctypes.data, 0]], np.int64)
    steps = Steps(
        kernels=("mix_rows",), columns=np.zeros(1, np.int64), values=np.array([[share]]), order=np.zeros((1, 1), np.int64), elements=0
    )
    form = PixelFormat(dtype=rows.dtype, channels=1, planar=False, plane_nbytes=0, out_nbytes=saved.nbytes, out_kind=rows.dtype.name)
    assert rows.dtype.name in KINDS
    runner.prepared(steps, records, form, words=np.zeros(8, np.uint32), past_caches=False)(0, 1)


def _share_labels(batch: WholeBatch, name: str) -> None:
    if name in batch.labels:
        one_hot(batch.labels.pop(name), batch.fields[name], 0.0, name)


def _check_mixing(operation: object, alpha: Any, classes: Any, p: Any) -> None:
    if not number(alpha) or alpha <= 0:
        raise refuse(operation, "alpha", alpha, "is not above 0", "Give a number such as 0.2.")
    check_classes(operation, classes)
    chance_of(operation, p)


BatchOperation = OneHot | MixUp | CutMix


def mixing(operation: Any) -> tuple[MixUp | CutMix, ...]:
    """What mixes images: an operation itself, or those that it may choose."""
    return tuple(one for one in getattr(operation, "transforms", (operation,)) if isinstance(one, (MixUp, CutMix)))


def labels_of(operation: Any) -> tuple[str, ...]:
    """Fields whose labels an operation, or one that it may choose, makes shares of classes."""
    return tuple(one.labels for one in getattr(operation, "transforms", (operation,)) if isinstance(one, BatchOperation))
