"""Images of a file as one sheet: in the terminal as half blocks of true colour, or as a PNG."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, SchemaMismatchError, StreamloadError
from streamload.images.fixed_bytes import holds_bytes
from streamload.ragged import Ragged
from streamload.schema import BYTES, TEXT, Field
from streamload.storage.owned_files import write_report
from streamload.tools.commands.captions import PAPER, STRIP, can_write, captioned
from streamload.tools.commands.open_arguments import add_choice, add_decode, classes_at, looked_at
from streamload.tools.commands.shown_records import none_shown, require_shown, shown_records
from streamload.tools.console import FOUND, GOOD, Console, clean, counted, meant
from streamload.tools.convert.chosen_records import sound_records
from streamload.tools.convert.image_axes import image_axes, image_fields
from streamload.tools.convert.readers.images import kind_of
from streamload.tools.convert.record_source import RecordSource

EXAMPLE = "streamload show train.h5 -n 12"

MOST_COLUMNS = 6
SHAPED = ("Parquet", "Arrow")
"""Formats whose files may not say the shapes of records."""
LOOKED_AT = 8
"""Records whose beginnings say whether bytes are encoded images."""
SHEET_PIXELS = 160
"""Images on a PNG are made at most so wide, by leaving out pixels; small ones are doubled until they can be seen."""
GAP = 2
MOST_CLASSES, ALIKE = 64, 0.8
"""Masks hold so many classes at most, and so large a share of neighbours of one class at least."""
FAR_OFF = 0.1
"""Percent of values at either end that do not count when images are stretched."""
COLOURS = np.array(
    [
        *([0, 0, 0], [230, 75, 60], [60, 140, 230], [70, 190, 90], [240, 190, 50]),
        *([160, 90, 210], [60, 200, 200], [240, 130, 180], [150, 150, 150]),
    ],
    np.uint8,
)
"""Of classes; nothing is black."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `streamload show`."""
    parser.add_argument("path", metavar="PATH", help='a file, or a pattern such as "train-*.h5"')
    parser.add_argument("-n", "--records", type=int, default=12, metavar="N", help="how many images (12)")
    parser.add_argument("--start", type=int, default=0, metavar="R", help="the first record number (0); -5 is the fifth from the end")
    parser.add_argument("--spread", action="store_true", help="from all over the file, not one after the other")
    parser.add_argument("--image", metavar="FIELD", help="which field holds the images")
    parser.add_argument("-o", "--output", metavar="SHEET.png", help="write a PNG instead")
    parser.add_argument("--overwrite", action="store_true", help="replace that PNG if it exists")
    parser.add_argument(
        "--augment", metavar="CHAIN.py:NAME", help="beside each record, what the augmentation of that name in a Python file makes of it"
    )
    add_choice(parser)
    add_decode(parser)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Draw the sheet, and under it the other fields of the same records."""
    require_shown(arguments)
    if arguments.output:
        _refuse_output(arguments.output, overwrite=arguments.overwrite)
    if arguments.augment:
        return _augmented(arguments, console)
    field, numbers, taken, classes, bad, count = _chosen(arguments)
    images = pictures(taken.pop(field.name), field)
    labels = {
        name: _label_list(values, classes.get(name)) for name, values in taken.items() if isinstance(values, Ragged) or values.ndim == 1
    }
    if arguments.output:
        texts = [_caption(numbers, labels, at) for at in range(len(images))]
        _write(labelled(images, texts), arguments.output)
        console.say(f"{counted(len(images), 'image')} of '{clean(field.name)}': {clean(arguments.output)}")
    elif not images:
        console.say(f"{clean(arguments.path)}: {counted(count, 'record')}" + ("" if bad else f"; {none_shown(arguments, count)}"))
    elif not console.as_json:
        _draw(images, numbers, labels, console)
    for number, why in bad:
        console.found(f"record {number:,}: {clean(why)}")
    found = {"path": arguments.path, "image": field.name, "records": numbers, "labels": labels, "output": arguments.output}
    console.answer(found | {"damaged": bad})
    return FOUND if bad else GOOD


def _augmented(arguments: argparse.Namespace, console: Console) -> int:
    """Draw records beside what augmentation makes of them, and say what was drawn."""
    from streamload.tools.commands.augmented_sheet import augmented

    name, images, texts, drawn = augmented(arguments, seen=seen, stretched=stretched)
    if arguments.output:
        _write(labelled(images, texts, columns=len(images) // max(1, len({one["record"] for one in drawn}))), arguments.output)
        console.say(f"{counted(len(images), 'image')} of '{clean(name)}': {clean(arguments.output)}")
    for one in drawn:
        console.say(one["drawn"])
    if not drawn:
        console.say(f"{clean(arguments.path)}: none of its records is to be shown")
    elif not arguments.output:
        console.say("A picture of them is written with -o sheet.png.")
    console.answer({"path": arguments.path, "image": name, "drawn": drawn, "output": arguments.output})
    return GOOD


Sheet = tuple[Field, NDArray[np.int64], dict[str, Any], dict[str, list[str]], list[tuple[int, str]], int]
"""The field of images, the numbers of records, what they hold, what their labels mean; records that cannot be read, and why; how many
there are in all."""


def _chosen(arguments: argparse.Namespace) -> Sheet:
    """What was asked for."""
    source = looked_at(arguments.path, arguments)
    try:
        encoded = not image_fields(list(source.schema)) and any(_begin_as_images(source, one) for one in source.schema if holds_bytes(one))
        field = None if encoded and arguments.decode is None else _image_field(source, arguments.image)
        numbers = shown_records(arguments, len(source))
        if field is not None:
            with contextlib.suppress(*(() if arguments.decode is not None else (SchemaMismatchError,))):
                sound, taken, bad = sound_records(source, numbers)
                none = {one.name: np.empty((0, *one.shape), one.dtype) for one in source.schema}
                return field, sound, none if taken is None else taken, classes_at(arguments.path, source), bad, len(source)
    finally:
        source.close()
    # Images of different sizes are bytes, or refused, unless somebody gives them one.
    arguments.decode = f"{SHEET_PIXELS}x{SHEET_PIXELS}"
    return _chosen(arguments)


def _begin_as_images(source: RecordSource, field: Field) -> bool:
    """Whether one of the first records begins as an encoded image does, or none of them can be read."""
    numbers = np.arange(min(len(source), LOOKED_AT), dtype=np.int64)
    try:
        values = source.take(numbers)[field.name]
    except StreamloadError:
        return True
    return not len(numbers) or any(kind_of(bytes(one)) is not None for one in values)


def _label_list(values: Any, words: Sequence[str] | None) -> list[Any]:
    """Values to stand under images: numbers, what they mean, and text; of anything else, how much there is."""
    if not isinstance(values, Ragged):
        listed = values.tolist()
        return [words[one] if words and isinstance(one, int) and 0 <= one < len(words) else one for one in listed]
    unit = "bytes" if values.kind == BYTES else "values"
    return values.to_list() if values.kind == TEXT else [f"{length:,} {unit}" for length in values.lengths]


def band_axes(shape: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The axes of an image of many bands, to be put as height, width, bands; None if a shape is none of one. The first three are shown."""
    if len(shape) != 3 or image_axes(shape) is not None:
        return None
    if 3 < shape[2] < min(shape[:2]):
        return (0, 1, 2)
    return (1, 2, 0) if 3 < shape[0] < min(shape[1:]) else None


def _image_field(source: RecordSource, name: str | None) -> Field:
    fields = image_fields(list(source.schema))
    if name is not None:
        if name not in source.schema:
            raise ConfigError(f"There is no field {name!r}.", hint=meant(name, source.schema.names))
        if image_axes(source.schema[name].shape) is None and band_axes(source.schema[name].shape) is None:
            raise ConfigError(f"'{name}' has records of shape {source.schema[name].shape}, which is none of an image.", hint="")
        return source.schema[name]
    fields = fields or [one for one in source.schema if band_axes(one.shape) is not None and one.dtype.kind in "buif"]
    if not fields:
        raise SchemaMismatchError(
            f"{source.title}: no field looks like an image; it has {clean(source.schema)}.",
            hint="`streamload head` shows records as text"
            + ("; `--shape image=32,32,3` says a shape that the file does not." if source.format_name in SHAPED else "."),
        )
    return fields[0]


def pictures(values: NDArray[Any], field: Field) -> list[NDArray[np.uint8]]:
    """Records of images as they are shown, each of height, width and three colours; masks of classes in a colour for each class."""
    axes = band_axes(field.shape)
    if axes is not None:
        values = values.transpose(0, *(axis + 1 for axis in axes))[..., :3]
    if is_mask(values):
        return list(COLOURS[values.reshape(values.shape[:3]).astype(np.int64) % len(COLOURS)])
    return [seen(image) for image in stretched(values)]


def is_mask(values: NDArray[Any]) -> bool:
    """Whether images of one channel hold the numbers of a few classes, in large areas, and no shades."""
    if values.dtype.kind not in "biu" or not values.size or values.ndim not in (3, 4) or values.shape[3:] not in ((), (1,)):
        return False
    numbers = values.reshape(values.shape[:3])
    if len(np.unique(numbers)) > MOST_CLASSES or int(numbers.max()) == int(numbers.min()):
        return False
    flat = numbers[:, :, 1:] == numbers[:, :, :-1]
    return bool(flat.mean() >= ALIKE) if flat.size else False


def stretched(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Images as bytes: others than uint8 are stretched from their least to their greatest value, but for a few that lie far off."""
    if values.dtype == np.uint8:
        return values
    numbers = np.nan_to_num(values.astype(np.float64))
    least, greatest = map(float, np.percentile(numbers, (FAR_OFF, 100 - FAR_OFF))) if numbers.size else (0.0, 0.0)
    if values.dtype.kind == "f" and least >= 0 and greatest <= 1:
        least, greatest = 0.0, 1.0
    return ((numbers - least) * (255 / (greatest - least or 1))).round().clip(0, 255).astype(np.uint8)


def seen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image as height, width and three colours: of many bands the first three. Raises SchemaMismatchError for what is none."""
    axes = image_axes(image.shape) or band_axes(image.shape)
    if axes is None:
        raise SchemaMismatchError(f"Records of shape {image.shape} are no images, which alone can be drawn.", hint="")
    image = image.transpose(axes)
    if image.ndim == 2:
        image = image[:, :, None]
    return np.ascontiguousarray(np.repeat(image[:, :, :1], 3, axis=2) if image.shape[2] == 1 else image[:, :, :3])


def fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """An image of another size: each pixel is the mean of those it stands for, or the nearest one."""
    if image.shape[0] > height:
        edges = np.linspace(0, image.shape[0], height, endpoint=False).astype(int)
        image = (np.add.reduceat(image.astype(np.float32), edges) / np.diff([*edges, image.shape[0]])[:, None, None]).astype(np.uint8)
    if image.shape[1] > width:
        edges = np.linspace(0, image.shape[1], width, endpoint=False).astype(int)
        wide = np.add.reduceat(image.astype(np.float32), edges, axis=1)
        image = (wide / np.diff([*edges, image.shape[1]])[None, :, None]).astype(np.uint8)
    rows = np.arange(height) * image.shape[0] // height
    columns = np.arange(width) * image.shape[1] // width
    return image[rows][:, columns]


def inset(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """An image as large as it fits, in its own proportions, in the middle of one of another size."""
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[0] * scale)), max(1, round(image.shape[1] * scale))
    if size == (height, width):
        return fitted(image, height, width)
    whole = np.full((height, width, 3), PAPER, np.uint8)
    top, left = (height - size[0]) // 2, (width - size[1]) // 2
    whole[top : top + size[0], left : left + size[1]] = fitted(image, *size)
    return whole


def sheet(images: list[NDArray[np.uint8]], columns: int, *, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """All images on one, in rows of `columns`, with gaps; each made `size` (height, width)."""
    if not images:
        return np.zeros((1, 1, 3), np.uint8)
    if size is None:
        size = _cell(images[0])
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    whole = np.full((rows * (size[0] + GAP) - GAP, columns * (size[1] + GAP) - GAP, 3), PAPER, np.uint8)
    for at, image in enumerate(images):
        top, left = at // columns * (size[0] + GAP), at % columns * (size[1] + GAP)
        whole[top : top + size[0], left : left + size[1]] = fitted(image, *size)
    return whole


def labelled(images: list[NDArray[np.uint8]], texts: list[str], *, columns: int = MOST_COLUMNS) -> NDArray[np.uint8]:
    """The sheet of all images, each with its text under it, where text can be drawn."""
    if not images:
        return sheet(images, columns)
    size = _cell(images[0])
    below = [inset(image, *size) for image in images]
    if not can_write():
        return sheet(below, columns)
    return sheet(captioned(below, texts), columns, size=(size[0] + STRIP, size[1]))


def _cell(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of every image on a sheet, where the first is this one."""
    height, width = image.shape[:2]
    times = max(1, SHEET_PIXELS // 2 // max(height, width))
    shrunk = min(1.0, SHEET_PIXELS / max(height, width))
    return max(1, round(height * times * shrunk)), max(1, round(width * times * shrunk))


def half_blocks(picture: NDArray[np.uint8]) -> list[str]:
    """A picture as lines of text: each character is two pixels, one above the other, in true colour."""
    if len(picture) % 2:
        picture = np.concatenate([picture, np.zeros_like(picture[:1])])
    lines: list[str] = []
    for upper, lower in zip(picture[0::2].tolist(), picture[1::2].tolist(), strict=True):
        cells = [f"\033[38;2;{a[0]};{a[1]};{a[2]};48;2;{b[0]};{b[1]};{b[2]}m▀" for a, b in zip(upper, lower, strict=True)]
        lines.append("".join(cells) + "\033[0m")
    return lines


def _draw(images: list[NDArray[np.uint8]], numbers: NDArray[np.int64], labels: dict[str, list[Any]], console: Console) -> None:
    width = shutil.get_terminal_size((80, 24)).columns
    columns = max(1, min(MOST_COLUMNS, len(images)))
    wide = max(4, min(32, (width + GAP) // columns - GAP))
    for first in range(0, len(images), columns):
        row = images[first : first + columns]
        if not _has_colours():
            break
        height = max(2, round(wide * row[0].shape[0] / row[0].shape[1]))
        for line in half_blocks(sheet(row, columns, size=(height, wide))):
            print(line)
        print("".join(f"{_caption(numbers, labels, at)[:wide]:<{wide + GAP}}" for at in range(first, first + len(row))).rstrip())
    else:
        return
    console.say("The output is no terminal with colours: no picture. Write one with -o sheet.png.")
    for at in range(len(images)):
        console.say(f"  record {_caption(numbers, labels, at)}")


def _has_colours() -> bool:
    """Whether pictures can be drawn: at a terminal that has colours, and where nobody asked for none."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.stdout.isatty() or "FORCE_COLOR" in os.environ


def _caption(numbers: NDArray[np.int64], labels: dict[str, list[Any]], at: int) -> str:
    return clean(f"{numbers[at]}: " + " ".join(str(values[at]) for values in labels.values()))


def _refuse_output(path: str, *, overwrite: bool) -> None:
    """Raise ConfigError where no PNG can be written under a name."""
    if os.path.exists(path) and not overwrite:
        raise ConfigError(f"{path} exists.", hint="Give another name, or --overwrite.")
    if not path.lower().endswith(".png"):
        raise ConfigError(f"{path} does not end in .png, and a PNG is what is written.", hint="Give a name such as sheet.png.")
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise ConfigError(f"{folder} does not exist.", hint="Make the folder first.", path=folder)


def _write(picture: NDArray[np.uint8], path: str) -> None:
    """Write a PNG; its name appears when it is complete."""
    import imagecodecs

    write_report(path, imagecodecs.png_encode(picture))
