"""Which fields of bytes are encoded images, and what they are to become: what was asked for, or what all of them agree on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from streamload.errors import ConfigError, StreamloadError, UnsupportedFeatureError
from streamload.images import decoders
from streamload.images.column import EncodedImages
from streamload.images.decode_options import MODES, MOST_PIXELS, Decode
from streamload.images.fixed_bytes import FixedBytes, holds_bytes
from streamload.images.headers import ImageHeader, format_of, read_header
from streamload.images.image_error import ImageError
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Column, NullableColumn, RaggedColumn, ReadStats, Source, read_records, stored_nbytes
from streamload.storage.files import OpenFiles

LOOKED_AT = 64
"""Records whose headers say what a field holds."""
LOOKED_NBYTES = 256 * 1024**2
"""Fewer are looked at where they are larger than this together."""

Asked = Mapping[str, Any] | Decode | Sequence[int] | bool | None


def with_images(source: Source, asked: Asked) -> Source:
    """The source, its fields of encoded images decoded as `decode=` asks for.

    A mapping speaks of the fields that it names, anything else of every field that holds images: a Decode, a size, False
    (bytes stay bytes) or None (decoded where the images looked at have one size; else bytes, with a note). Raises
    ConfigError for what cannot be asked for, or where packages are missing that decode.
    """
    wishes = _wishes(asked, source)
    notes: list[str] = []
    columns = [_found(source, column, wishes.get(column.field.name), notes) for column in source.columns]
    if not notes and all(new is old for new, old in zip(columns, source.columns, strict=True)):
        return source
    decoded = {column.field.name for column in columns if isinstance(column, EncodedImages)}
    nulls = {name: count for name, count in source.nulls.items() if name not in decoded}
    return source.replaced(columns=columns, notes=(*source.notes, *notes), nulls=nulls)


def _wishes(asked: Asked, source: Source) -> dict[str, Decode | bool | None]:
    """What is asked for, by field."""
    names = source.schema.names
    if not isinstance(asked, Mapping):
        return dict.fromkeys(names, _wish(asked))
    unknown = next((name for name in asked if name not in names), None)
    if unknown is not None:
        raise ConfigError(f"decode names {unknown!r}, which is no field.", hint=f"The fields are {', '.join(map(repr, names))}.")
    wishes = {name: _wish(wish) for name, wish in asked.items()}
    for name, wish in wishes.items():
        if isinstance(wish, Decode) and not holds_bytes(source.schema[name]):
            raise ConfigError(
                f"decode names '{name}', which is no field of encoded images but {str(source.schema[name]).removeprefix(name).strip()}.",
                hint="Only fields of bytes are decoded: leave it out.",
            )
    return wishes


def _wish(wish: object) -> Decode | bool | None:
    if wish is None or isinstance(wish, (bool, Decode)):
        return wish
    if isinstance(wish, (tuple, list)):
        return Decode(size=cast("tuple[int, int]", tuple(wish)))
    raise ConfigError(
        f"decode={wish!r} is not known.",
        hint='Give a size, decode=(224, 224), or by field: decode={"image": sl.Decode(size=(224, 224), fit="resize")}.',
    )


def _found(source: Source, column: Column, wish: Decode | bool | None, notes: list[str]) -> Column:
    """The column decoded, if it holds images and is to be; else as it is, with a note where that may surprise."""
    name = column.field.name
    if not holds_bytes(column.field) or wish is False or not len(source):
        return column
    # A null is no image, which is a matter of this one record: the others can be read.
    complete = cast(NullableColumn, column).filled() if name in source.nulls else column
    stored = cast(RaggedColumn, complete) if column.field.ragged else FixedBytes(column=complete)
    try:
        heads, refusals = _looked_at(source, stored)
    except StreamloadError:
        if isinstance(wish, Decode):
            raise
        return column  # Nobody has asked for these records yet; whoever does will hear of it.
    if not heads:
        if isinstance(wish, Decode):
            refusal = refusals[0]
            raise refusal.error(f"{source.title}: '{name}' cannot be decoded: its first record", hint="Leave it out of decode=.")
        if refusals[0].kind is UnsupportedFeatureError:
            notes.append(f"'{name}' is delivered as bytes: its first record {refusals[0].why}")
        return column
    what = _described(heads)
    if not isinstance(wish, Decode):
        spec = _agreed(heads)
        if spec is None and len({head.size for head in heads}) == 1:
            notes.append(
                f"'{name}' holds {what}, more than {MOST_PIXELS:,} pixels each, delivered as bytes; Decode(max_pixels=...) allows it"
            )
            return column
        if spec is None:
            notes.append(
                f"'{name}' holds {what} of different sizes, delivered as bytes; decode={{{name!r}: (224, 224)}} decodes them to one size"
            )
            return column
        notes.append(f"'{name}' is decoded: the {len(heads):,} images looked at are all {what}; decode=False leaves bytes")
    else:
        spec = _settled(wish, heads, source.title, name)
    decoders.require()
    missing = source.nulls[name].count if name in source.nulls else 0
    if missing:
        some = "1 null, which is a bad record" if missing == 1 else f"{missing:,} nulls, which are bad records"
        notes.append(f"'{name}' holds {some}: on_bad_record= says what becomes of {'it' if missing == 1 else 'them'}")
    field = Field(name, spec.dtype, spec.shape)
    starts = np.asarray(source.file_starts, np.int64)
    return EncodedImages(
        field=field,
        inner=stored,
        spec=spec,
        starts=starts,
        paths=tuple(was.path for was in source.fingerprints[: len(starts) - 1]),
        found=what,
        largest_nbytes=max(_decoded_nbytes(head, spec) for head in heads),
    )


def _looked_at(source: Source, column: RaggedColumn) -> tuple[list[ImageHeader], list[ImageError]]:
    """Heads of records all over a source whose records are addressable, else of the first ones; and why some have none."""
    count = min(len(source), LOOKED_AT, max(1, LOOKED_NBYTES // max(1, stored_nbytes(column))))
    records = np.arange(count, dtype=np.int64)
    if column.addressable:
        records = np.unique(np.linspace(0, len(source) - 1, count).astype(np.int64))
    files = OpenFiles(source.fingerprints)
    reader = column.reader(files, ReadStats())
    heads: list[ImageHeader] = []
    refusals: list[ImageError] = []
    try:
        if (column.addressable or isinstance(column, FixedBytes)) and format_of(read_records(column, reader, records[:1])[0]) is None:
            records = records[:4]  # Other bytes, most likely, or a bad record: a few more tell.
        found: Ragged = read_records(column, reader, records)
        for start, stop in zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), strict=True):
            try:
                heads.append(read_header(found.values[start:stop].data))
            except ImageError as refusal:
                refusals.append(refusal)
        files.verify()
    finally:
        reader.close()
        files.close()
    # A few bad records among images are bad images; a few that look like images among other bytes are other bytes.
    return (heads, refusals) if len(heads) > len(refusals) else ([], refusals)


def _agreed(heads: Sequence[ImageHeader]) -> Decode | None:
    """The one size and mode that images have, if they have one size, and not an absurd one."""
    if len({head.size for head in heads}) != 1 or math.prod(heads[0].size) > MOST_PIXELS:
        return None
    return Decode(size=heads[0].size, fit="exact", mode=_mode(heads))


def _mode(heads: Sequence[ImageHeader]) -> str:
    """The mode that images agree on; colour where they do not, as long as all have the same number of bits."""
    modes = {head.mode for head in heads}
    if len(modes) == 1:
        return modes.pop()
    bits = {head.bits for head in heads}
    return "RGB16" if bits == {16} else "RGB"


def _settled(wish: Decode, heads: Sequence[ImageHeader], title: str, name: str) -> Decode:
    if wish.size is None and len({head.size for head in heads}) != 1:
        (tall, wide), (other_tall, other_wide) = list(dict.fromkeys(head.size for head in heads))[:2]
        raise ConfigError(
            f"{title}: images in '{name}' differ in size ({tall:,} x {wide:,}, {other_tall:,} x {other_wide:,}), and Decode has none.",
            hint="Give the one that all are to have: Decode(size=(224, 224)).",
        )
    if wish.size is None and math.prod(heads[0].size) > wish.max_pixels:
        raise ConfigError(
            f"{title}: images in '{name}' claim {heads[0].size[0]:,} x {heads[0].size[1]:,} pixels, and Decode allows {wish.max_pixels:,}.",
            hint="Ask for a size, Decode(size=(224, 224)), or allow more with max_pixels.",
        )
    return wish.settled(heads[0].size, _mode(heads))


def _described(heads: Sequence[ImageHeader]) -> str:
    """Images for people: "JPEG 500 x 375 ... 640 x 480 (RGB)"."""
    formats = [name for name, _ in Counter(head.format for head in heads).most_common()]
    sizes = sorted({head.size for head in heads}, key=math.prod)
    shown = " ... ".join(f"{tall:,} x {wide:,}" for tall, wide in dict.fromkeys((sizes[0], sizes[-1])))
    modes = [name for name, _ in Counter(head.mode for head in heads).most_common()]
    return f"{' or '.join(formats[:3])} {shown} ({' or '.join(modes[:3])})"


def _decoded_nbytes(head: ImageHeader, spec: Decode) -> int:
    assert spec.mode is not None
    count, dtype = MODES[spec.mode]
    return head.height * head.width * max(count, 3) * dtype.itemsize
