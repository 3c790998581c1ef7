"""Records beside what augmentation makes of them in several epochs, masks and boxes drawn in; and what was drawn for each, in words."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from numpy.typing import NDArray

import streamload
from streamload.contents import spread
from streamload.tools.chain_file import chain_in, first_augment
from streamload.tools.commands.open_arguments import opened
from streamload.tools.convert.image_axes import image_axes
from streamload.transforms.augment import Augment

EPOCHS = 5
"""Versions of each record beside the one that is stored."""
LINE = (255, 220, 0)
"""The colour of boxes."""
TINTS = np.array([(0, 0, 0), (230, 60, 60), (60, 160, 250), (80, 200, 80), (240, 150, 40), (170, 90, 220), (60, 200, 200)], np.float32)
"""Colours of masks, by number; others turn back to the second."""


def augmented(
    arguments: argparse.Namespace, *, seen: Any, stretched: Any
) -> tuple[str, list[NDArray[np.uint8]], list[str], list[dict[str, Any]]]:
    """The field, a row of pictures for each record (as stored, then by epoch), their texts, and what was drawn for each."""
    chain = chain_in(arguments.augment)
    first = first_augment(chain)
    name = arguments.image or first.fields[0]
    augment = next((one for one in chain if isinstance(one, Augment) and name in one.fields), first)
    with opened(arguments.path, arguments) as source:
        start, most = max(0, min(arguments.start, len(source))), max(0, arguments.records)
        numbers = spread(len(source), most) if arguments.spread else np.arange(start, min(len(source), start + most), dtype=np.int64)
        pictures: dict[tuple[int, int], NDArray[np.uint8]] = {}
        drawn: list[dict[str, Any]] = []
        chains = [[Augment(name, masks=augment.masks, boxes=augment.boxes, box_format=augment.box_format)], chain]
        if not len(numbers):
            return name, [], [], []
        for stored, steps in zip((True, False), chains, strict=True):
            # An image that is stored encoded has no size of its own to be shown in.
            if stored and image_axes(source.schema[name].shape) is None:
                continue
            with streamload.Loader(source, batch_size=len(numbers), num_workers=0, shuffle=False, indices=numbers, augment=steps) as loader:
                for epoch in loader.epochs(1 if stored else EPOCHS):
                    for batch in epoch:
                        for at, record in enumerate(batch.records.tolist()):
                            image = stretched(_first(np.asarray(batch[name]), first=augment.views > 1 and not stored))[at]
                            at_epoch = -1 if stored else batch.epoch
                            pictures[record, at_epoch] = _overlaid(seen(image).copy(), batch, at, augment, stored=stored)
                            if not stored:
                                drawn.append({"record": record, "epoch": batch.epoch, "drawn": str(loader.explain(batch.epoch, record))})
    order = sorted(pictures)
    texts = [f"{record}: " + ("stored" if epoch < 0 else f"epoch {epoch}") for record, epoch in order]
    return name, [pictures[one] for one in order], texts, sorted(drawn, key=lambda one: (one["record"], one["epoch"]))


def _first(images: NDArray[Any], *, first: bool) -> NDArray[Any]:
    """The first of several views."""
    return images[:, 0] if first else images


def _overlaid(image: NDArray[np.uint8], batch: Any, at: int, augment: Augment, *, stored: bool) -> NDArray[np.uint8]:
    """An image with the masks and boxes of its record drawn in."""
    several = augment.views > 1 and not stored
    for name in augment.masks:
        mask = _first(np.asarray(batch[name]), first=several)[at]
        if mask.shape == image.shape[:2]:
            tint = TINTS[np.where(mask > 0, (mask.astype(np.int64) - 1) % (len(TINTS) - 1) + 1, 0)]
            image = np.where((mask > 0)[..., None], image * 0.55 + tint * 0.45, image).astype(np.uint8)
    for name in augment.boxes:
        held = batch[name]
        boxes = held[at] if isinstance(held, streamload.Ragged) else _first(np.asarray(held), first=several)[at]
        for box in np.asarray(boxes, np.float64).reshape(-1, 4):
            _outline(image, _corners(box, augment.box_format))
    return image


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
