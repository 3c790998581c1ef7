"""Records beside what augmentation makes of them in several epochs, masks and boxes drawn in; and what was drawn for each, in words."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.errors import SchemaMismatchError
from streamload.tools.chain_file import chain_in, first_augment
from streamload.tools.commands.open_arguments import opened
from streamload.tools.commands.shown_records import shown_records
from streamload.transforms.augment import Augment
from streamload.transforms.operations.batch import labels_of

VERSIONS = 5
"""Of each record beside the one that is stored: in as many epochs, or in fewer where it becomes several views or crops."""
LINE, POINT = (255, 220, 0), (0, 255, 255)
"""The colours of boxes and of key points."""
TINTS = np.array([(0, 0, 0), (230, 60, 60), (60, 160, 250), (80, 200, 80), (240, 150, 40), (170, 90, 220), (60, 200, 200)], np.float32)
"""Colours of masks, by number; others turn back to the second."""


def augmented(
    arguments: argparse.Namespace, *, seen: Any, stretched: Any
) -> tuple[str, list[NDArray[np.uint8]], list[str], list[dict[str, Any]]]:
    """The field, a row of pictures for each record (as stored, then by epoch, view and crop), their texts, and what was drawn for each."""
    chain = chain_in(arguments.augment)
    first = first_augment(chain)
    name = arguments.image or first.fields[0]
    augment = next((one for one in chain if isinstance(one, Augment) and name in one.fields), first)
    if "D" in (augment.stored or ""):
        raise SchemaMismatchError(f"'{name}' holds volumes, and only images are drawn.", hint="Look at batch[...] of a loader with it.")
    sheet = _Sheet(name, augment, chain, seen=seen, stretched=stretched)
    with opened(arguments.path, arguments) as source:
        numbers = shown_records(arguments, len(source))
        if not len(numbers):
            return name, [], [], []
        if not source.schema[name].ragged:  # An image that is stored encoded has no size of its own to be shown in.
            sheet.draw_stored(source, numbers)
        sheet.draw_epochs(source, numbers)
    order = sorted(sheet.pictures)
    drawn = sorted(sheet.drawn, key=lambda one: (one["record"], one["epoch"]))
    return name, [sheet.pictures[one] for one in order], list(map(sheet.text, order)), drawn


class _Sheet:
    """Pictures of an image field by (record, epoch, entry), -1 for the epoch as it is stored, and what was drawn for each record."""

    def __init__(self, name: str, augment: Augment, chain: Sequence[Any], *, seen: Any, stretched: Any) -> None:
        self.pictures: dict[tuple[int, int, int], NDArray[np.uint8]] = {}
        self.drawn: list[dict[str, Any]] = []
        self._name, self._augment, self._chain = name, augment, chain
        self._seen, self._stretched = seen, stretched
        self._labels = sorted({name for operation in chain for name in labels_of(operation)})
        self._shares: dict[tuple[int, int], str] = {}

    def draw_stored(self, source: streamload.Source, numbers: NDArray[np.int64]) -> None:
        """Draw records as they are stored."""
        along = {name: getattr(self._augment, name) for name in ("masks", "boxes", "keypoints", "box_format")}
        with self._loader(source, numbers, [Augment(self._name, stored=self._augment.stored, **along)]) as loader:
            for batch in loader:
                self._draw(batch, -1, several=1)

    def draw_epochs(self, source: streamload.Source, numbers: NDArray[np.int64]) -> None:
        """Draw what becomes of records in some epochs, and note what was drawn for them."""
        entries = self._augment.views * self._augment.crops
        with self._loader(source, numbers, self._chain) as loader:
            for epoch in loader.epochs(max(1, VERSIONS // entries)):
                for batch in epoch:
                    self._draw(batch, batch.epoch, several=entries)
                    for at, record in enumerate(batch.records.tolist()):
                        held = {one: _largest(np.asarray(batch[one])[at]) for one in self._labels}
                        self.drawn.append(_drawn(loader, batch.epoch, record, held))
                        self._shares[record, batch.epoch] = "".join(f" · {text}" for text in held.values())

    def text(self, place: tuple[int, int, int]) -> str:
        """What stands below a picture."""
        record, epoch, entry = place
        return f"{record}: " + ("stored" if epoch < 0 else f"epoch {epoch}{_entry(self._augment, entry)}{self._shares[record, epoch]}")

    @staticmethod
    def _loader(source: streamload.Source, numbers: NDArray[np.int64], chain: Sequence[Any]) -> streamload.Loader:
        return streamload.Loader(source, batch_size=len(numbers), num_workers=0, shuffle=False, indices=numbers, augment=list(chain))

    def _draw(self, batch: streamload.Batch, epoch: int, *, several: int) -> None:
        for at, record in enumerate(batch.records.tolist()):
            for entry, image in enumerate(_entries(self._stretched(np.asarray(batch[self._name])), at, several)):
                self.pictures[record, epoch, entry] = _overlaid(self._seen(image).copy(), batch, at, entry, several, self._augment)


def _drawn(loader: streamload.Loader, epoch: int, record: int, labels: dict[str, str]) -> dict[str, Any]:
    """What was drawn for a record, and what its labels become, in words."""
    lines = [str(loader.explain(epoch, record)), *(f"  '{name}': {text}" for name, text in labels.items())]
    return {"record": record, "epoch": epoch, "drawn": "\n".join(lines)}


def _largest(shares: NDArray[Any]) -> str:
    """The classes of which a record has the largest shares, two at most, each with its share."""
    order = [number for number in np.argsort(-shares.astype(np.float64), kind="stable")[:2].tolist() if shares[number] > 0]
    return ", ".join(f"{number} {shares[number]:.0%}" for number in order)


def _entries(values: NDArray[Any], at: int, several: int) -> NDArray[Any]:
    """What a record has for each of its views and crops, `several` of them, whose axes come first."""
    one = values[at]
    if several == 1:
        return one[None]
    axes = 1 if one.shape[0] == several else 2
    return one.reshape(several, *one.shape[axes:])


def _entry(augment: Augment, entry: int) -> str:
    """Which view and crop one of several is, in words."""
    view, crop = divmod(entry, augment.crops)
    return (f" view {view}" if augment.views > 1 else "") + (f" crop {crop}" if augment.crops > 1 else "")


def _overlaid(image: NDArray[np.uint8], batch: Any, at: int, entry: int, several: int, augment: Augment) -> NDArray[np.uint8]:
    """An image with the masks, boxes and key points of its record drawn in."""

    def held(name: str) -> NDArray[Any]:
        values = batch[name]
        return values[at] if isinstance(values, streamload.Ragged) else _entries(np.asarray(values), at, several)[entry]

    for name in augment.masks:
        mask = held(name)
        if mask.shape == image.shape[:2]:
            tint = TINTS[np.where(mask > 0, (mask.astype(np.int64) - 1) % (len(TINTS) - 1) + 1, 0)]
            image = np.where((mask > 0)[..., None], image * 0.55 + tint * 0.45, image).astype(np.uint8)
    for name in augment.boxes:
        for box in np.asarray(held(name), np.float64).reshape(-1, 4):
            _outline(image, _corners(box, augment.box_format))
    for name in augment.keypoints:
        for x, y in np.floor(np.asarray(held(name), np.float64).reshape(-1, 2)).astype(np.int64).tolist():
            _cross(image, x, y)
    return image


def _cross(image: NDArray[np.uint8], x: int, y: int) -> None:
    """Draw a key point, where it lies in the image."""
    if 0 <= x < image.shape[1] and 0 <= y < image.shape[0]:
        image[y, max(0, x - 2) : x + 3] = POINT
        image[max(0, y - 2) : y + 3, x] = POINT


def _corners(box: NDArray[np.float64], form: str) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a box, in whole pixels."""
    a, b, c, d = (float(value) for value in box)
    if form.lower() == "xywh":
        c, d = a + c, b + d
    elif form.lower() == "cxcywh":
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    return round(a), round(b), round(c), round(d)


def _outline(image: NDArray[np.uint8], corners: tuple[int, int, int, int]) -> None:
    """Draw a box's edges, where it holds anything."""
    left, top, right, bottom = corners
    height, width = image.shape[:2]
    if right <= left or bottom <= top:
        return
    rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
    for row in (top, bottom - 1):
        if 0 <= row < height:
            image[row, columns] = LINE
    for column in (left, right - 1):
        if 0 <= column < width:
            image[rows, column] = LINE
