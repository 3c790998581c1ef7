"""Which fields of bytes are encoded images, and what they are to become: what was asked for, or what all of them agree on."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, StreamloadError, UnsupportedFeatureError
from streamload.images import decoders
from streamload.images.column import EncodedImages
from streamload.images.decode_options import MODES, MOST_PIXELS, Decode
from streamload.images.fixed_bytes import FixedBytes, holds_bytes
from streamload.images.header import ImageHeader
from streamload.images.headers import format_of, read_header
from streamload.images.image_error import ImageError
from streamload.images.masks import looks_like_mask
from streamload.ragged import Ragged
from streamload.schema import Field
from streamload.source import Column, Fault, NullableColumn, RaggedColumn, ReadStats, Source, read_records, stored_nbytes
from streamload.storage.files import Fingerprint, OpenFiles

LOOKED_AT = 64
"""Records whose headers say what a field holds."""
FEW_NBYTES = 16 * 1024**2
"""Of records that are looked at when the first one is no image."""
NAMED_AS_IMAGES = ("Images", "tar")
"""Formats whose fields of bytes are files that are called as images are: one that is none is a damaged one."""
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
    decoded = {column.field.name for column in columns if column.decode_options is not None}
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
    if not isinstance(wish, Decode) and hardly_there(source, name):
        notes.append(
            f"'{name}' is delivered as bytes: {source.nulls[name].count:,} of {len(source):,} records have none; "
            f"decode={{{name!r}: (224, 224)}} takes the others, and on_bad_record= says what becomes of these"
        )
        return column
    stored = _bytes_of(source, column)
    try:
        seen = _looked_at(source, column, stored)
        one_is_bad = len(seen.refusals) == 1 and source.format_name in NAMED_AS_IMAGES
        heads, refusals = seen.told(asked=isinstance(wish, Decode) or one_is_bad)
    except StreamloadError:
        if isinstance(wish, Decode):
            raise
        return column  # Nobody has asked for these records yet; whoever does will hear of it.
    if not heads and isinstance(wish, Decode):
        raise refusals[0].error(f"{source.title}: '{name}' cannot be decoded: its first record", hint="Leave it out of decode=.")
    if not heads:
        notes += _notes_on_bytes(name, seen, refusals, named=source.format_name in NAMED_AS_IMAGES)
        return column
    spec = _asked_spec(source, name, wish, heads, notes) if isinstance(wish, Decode) else _own_spec(source, name, heads, notes)
    if spec is None:
        return column
    if name in source.nulls and (missing := source.nulls[name].count):
        some = "1 null, which is a bad record" if missing == 1 else f"{missing:,} nulls, which are bad records"
        notes.append(f"'{name}' holds {some}: on_bad_record= says what becomes of {'it' if missing == 1 else 'them'}")
    return _encoded(source, stored, name, spec, heads)


def _bytes_of(source: Source, column: Column) -> RaggedColumn:
    """The encoded images of a field, one byte array a record."""
    # A null is no image, which is a matter of this one record: the others can be read.
    complete = cast(NullableColumn, column).filled() if column.field.name in source.nulls else column
    return cast(RaggedColumn, complete) if column.field.ragged else FixedBytes(column=complete)


def _notes_on_bytes(name: str, seen: LookedAt, refusals: Sequence[ImageError], *, named: bool) -> Iterator[str]:
    """Why a field is not decoded of which too few records looked at are images, as far as that may surprise."""
    if seen.heads:
        count = len(seen.heads) + len(refusals)
        yield (
            f"'{name}' is delivered as bytes: {len(refusals):,} of {count:,} records looked at are no images (one {refusals[0].why}); "
            f"decode={{{name!r}: (224, 224)}} takes the others, and on_bad_record= says what becomes of these"
        )
    elif named and refusals[0].kind is not UnsupportedFeatureError:
        yield f"'{name}' is delivered as bytes: none of {len(refusals):,} records looked at is an image (one {refusals[0].why})"
    elif refusals[0].kind is UnsupportedFeatureError:
        yield f"'{name}' is delivered as bytes: its first record {refusals[0].why}"


def _asked_spec(source: Source, name: str, wish: Decode, heads: Sequence[ImageHeader], notes: list[str]) -> Decode:
    """How images are decoded that somebody has asked for."""
    if _is_mask(source, name, heads) and wish.mode is None:
        wish = replace(wish, mask=True)
    spec = _settled(wish, heads, source.title, name)
    if not spec.mask and spec.fit != "exact" and looks_like_mask(name, heads):
        notes.append(_maybe_mask(name, heads, "so scaling mixes them"))
    return spec


def _own_spec(source: Source, name: str, heads: Sequence[ImageHeader], notes: list[str]) -> Decode | None:
    """How images are decoded of which nothing was said; None where they stay bytes. Either is noted."""
    what, spec = _described(heads), _agreed(heads)
    if spec is None and len({head.size for head in heads}) == 1:
        notes.append(f"'{name}' holds {what}, more than {MOST_PIXELS:,} pixels each, delivered as bytes; Decode(max_pixels=...) allows it")
        return None
    if spec is None:
        notes.append(
            f"'{name}' holds {what} of different sizes, delivered as bytes; decode={{{name!r}: (224, 224)}} decodes them to one size"
        )
        return None
    if len({head.bits > 8 for head in heads}) > 1:
        notes.append(f"'{name}' holds {what}, some of 16 bits, delivered as bytes: how to scale their values is not known here")
        return None
    if _is_mask(source, name, heads):
        spec = replace(spec, mask=True, mode="L16" if heads[0].bits == 16 else "L")
    if not spec.mask and looks_like_mask(name, heads) and any(head.colours == "palette" for head in heads):
        notes.append(_maybe_mask(name, heads, "so palettes become colours"))
    notes.append(f"'{name}' is decoded: the {len(heads):,} images looked at are all {what}; decode=False leaves bytes")
    return spec


def _is_mask(source: Source, name: str, heads: Sequence[ImageHeader]) -> bool:
    """Whether the source says of a field that it holds masks, and its images can be such."""
    return name in source.masks and all(head.colours in ("grey", "palette") for head in heads)


def for_augmentation(source: Source, name: str, *, mask: bool = False) -> EncodedImages | None:
    """The column of a field of encoded images as augmentation decodes it, whatever their sizes; None for a field of arrays.

    A mask is decoded to the numbers that it holds: levels of grey, or indices of a palette. Raises ConfigError for a field that
    `decode=` gives another size, or whose bytes are no images.
    """
    column = source.columns[source.schema.names.index(name)]
    given: Decode | None = column.decode_options
    if given is not None and (not mask or given.mask):
        if given.fit != "exact":
            raise ConfigError(
                f"field '{name}' is scaled to {given.size} by decode=, and augmented besides.",
                hint="Leave it out of decode=: Augment decodes images of any size, as small as its crop allows.",
            )
        return cast(EncodedImages, column)
    if given is not None:
        raise ConfigError(
            f"field '{name}' is a mask, and is decoded as an image.",
            hint=f"Open it with decode=False, or decode={{{name!r}: sl.Decode(mask=True)}}: Augment takes the numbers that they hold.",
        )
    if not holds_bytes(column.field) or not len(source):
        return None
    stored = _bytes_of(source, column)
    heads, refusals = _looked_at(source, column, stored).told(asked=True)
    if not heads:
        why = refusals[0] if refusals else ImageError("is no image")
        raise ConfigError(f"{source.title}: '{name}' cannot be augmented: its first record {why.why}.", hint="Name a field of images.")
    mode = ("L16" if heads[0].bits == 16 else "L") if mask else _mode(heads)
    largest = max((head.size for head in heads), key=math.prod)
    return _encoded(source, stored, name, Decode(size=largest, fit="exact", mode=mode, mask=mask), heads)


def hardly_there(source: Source, name: str) -> bool:
    """Whether most records have no value of a field whose values are called as images are: it is no field of images then."""
    lacking = source.nulls.get(name)
    return source.format_name in NAMED_AS_IMAGES and lacking is not None and 2 * (lacking.count or 0) > len(source)


def records_with_values(source: Source, column: Column) -> NDArray[np.int64] | None:
    """The records, in rising order, that have a value of a field whose values are called as images are; None where all may have one."""
    if source.format_name not in NAMED_AS_IMAGES or column.field.name not in source.nulls:
        return None
    files = OpenFiles(source.fingerprints)
    try:
        nulls = cast(NullableColumn, column).null_records(files)  # An index knows them: nothing is read.
    finally:
        files.close()
    return np.setdiff1d(np.arange(len(source)), nulls)


def _looked_at(source: Source, column: Column, stored: RaggedColumn) -> LookedAt:
    """What some records of a column begin as, whose bytes are `stored`."""
    known: LookedAt | None = stored.looked_at
    if known is not None:
        return known
    named = source.format_name in NAMED_AS_IMAGES
    return look_at(stored, len(source), source.fingerprints, named=named, there=records_with_values(source, column))


def _encoded(source: Source, stored: RaggedColumn, name: str, spec: Decode, heads: Sequence[ImageHeader]) -> EncodedImages:
    decoders.require()
    starts = np.asarray(source.file_starts, np.int64)
    paths = tuple(was.path for was in source.fingerprints[: len(starts) - 1])
    if len(paths) == 1 < len(source.fingerprints):
        paths = (source.title,)  # Each record has a file of its own, or none.
    return EncodedImages(
        field=Field(name, spec.dtype, spec.shape),
        inner=stored,
        options=spec,
        starts=starts,
        paths=paths,
        found=_described(heads),
        largest_nbytes=max(_decoded_nbytes(head, spec) for head in heads),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class LookedAt:
    """What some records of a field of bytes begin as."""

    heads: tuple[ImageHeader, ...] = ()
    refusals: tuple[ImageError, ...] = ()
    """Why the others have no head."""
    error: StreamloadError | None = None
    """Why they could not be looked at."""

    def told(self, *, asked: bool) -> tuple[list[ImageHeader], list[ImageError]]:
        """The heads, and why some records have none; the error is raised."""
        if self.error is not None:
            raise self.error
        # A few bad records among images are bad images; a few that look like images among other bytes are other bytes.
        # Whoever asked for images has said what the field holds, and on_bad_record= what becomes of the others.
        enough = 0 if asked else len(self.refusals)
        return (list(self.heads), list(self.refusals)) if len(self.heads) > enough else ([], list(self.refusals))


def look_at(
    column: RaggedColumn,
    count: int,
    fingerprints: Sequence[Fingerprint],
    *,
    named: bool = False,
    there: NDArray[np.int64] | None = None,
) -> LookedAt:
    """Heads of some of the `count` records of a column: from all over it where these are addressable, else of the first ones.

    If these are `named` as images are, no record decides for others; elsewhere few are looked at where the first is no image.
    `there` are the records that have a value, in rising order, if not all have: the others are nulls, which say nothing.
    """
    if there is not None and len(there):
        count = len(there)
    few = min(count, LOOKED_AT, max(1, LOOKED_NBYTES // max(1, stored_nbytes(column))))
    records = np.arange(few, dtype=np.int64)
    if column.addressable:
        records = np.unique(np.linspace(0, count - 1, few).astype(np.int64))
    if there is not None and len(there):
        records = there[records]
    files = OpenFiles(fingerprints)
    reader = column.reader(files, ReadStats())
    heads: list[ImageHeader] = []
    refusals: list[ImageError] = []
    unread: list[Fault] = []
    reader.collect_faults(unread)  # A file that is gone is a bad record, and says nothing of the others.
    try:
        found: Ragged = read_records(column, reader, records[:1])
        if format_of(found.values.data) is None and not named:
            # Other bytes, most likely, or a bad record: a few more tell, unless they are large.
            records = records[: max(1, min(4, FEW_NBYTES // max(1, len(found.values))))]
        if len(records) > 1:
            found = read_records(column, reader, records)
        for start, stop in zip(found.offsets[:-1].tolist(), found.offsets[1:].tolist(), strict=True):
            try:
                heads.append(read_header(found.values[start:stop].data))
            except ImageError as refusal:
                refusals.append(refusal)
        files.verify()
        if unread and not heads:
            return LookedAt(error=unread[0].error)
    except StreamloadError as error:
        return LookedAt(error=error)
    finally:
        reader.close()
        files.close()
    return LookedAt(heads=tuple(heads), refusals=tuple(refusals))


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
    return wish.settled(heads[0].size, _mask_mode(heads) if wish.mask else _mode(heads))


def _mask_mode(heads: Sequence[ImageHeader]) -> str:
    """The mode of masks."""
    if any(head.colours not in ("grey", "palette") for head in heads):
        return _mode(heads)  # Colours that stand for classes.
    return "L16" if heads[0].bits == 16 else "L"


def _maybe_mask(name: str, heads: Sequence[ImageHeader], what: str) -> str:
    """A guess, said as one."""
    kind = "a palette" if any(head.colours == "palette" for head in heads) else "one channel"
    wish = f"decode={{{name!r}: sl.Decode(mask=True)}}"
    return f"'{name}' may be a mask (a guess, by its name and {kind}), and is decoded as an image, {what}; {wish} keeps the numbers"


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
