"""A source over TFRecord files: numbers held, bytes read by where they lie in their messages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError
from streamload.formats.columns.file_ranges import FileRanges
from streamload.formats.columns.packed_blocks import PackedBlocks, blocks_of
from streamload.formats.columns.packed_records import PackedArrays, PackedRanges
from streamload.formats.columns.raw import RawRecords
from streamload.formats.columns.raw_ragged import InMemoryRagged
from streamload.formats.naming.field_names import Fields, plain_names
from streamload.formats.tables.label_values import LabelValues
from streamload.formats.tables.planned_fields import Made, PlannedField, field_of_values, held_field, planned_source
from streamload.formats.tfrecord.features import IMAGES, BytesFeature, Features, NumbersFeature, numbers_beside
from streamload.formats.tfrecord.pixel_shape import shape_said
from streamload.images import format_of, named_as_mask
from streamload.omissions import Omission
from streamload.schema import ARRAY, BYTES, TEXT, Field
from streamload.source import Lengths, Source
from streamload.storage.files import fingerprint

LABEL = "messages, checksums verified at open"
PACKED = "messages, checksums verified at open, compressed as a whole"

Shapes = Mapping[str, tuple[int | None, ...]]


def plan_files(paths: Sequence[str], fields: Fields | None, *, shapes: Shapes, fill: Any = None, on_damage: str = "raise") -> Source:
    """The source, planned anew."""
    features = Features(skips=on_damage == "skip")
    fingerprints = [fingerprint(path) for path in paths]
    for path, was in zip(paths, fingerprints, strict=True):
        features.add_file(path, was)
    if not features.count and features.damage:
        raise features.damage[0]
    if not features.count:
        raise CorruptDataError(f"{paths[0]} holds no records.", hint="Was all of it fetched?", path=paths[0])
    features.aside.update(dict.fromkeys(sorted(features.empty - {*features.found, *features.aside}), "has no values"))
    starts = np.array(features.starts, np.int64)
    planner = _Planner(features, starts, shapes)
    found: dict[str, PlannedField] = {}
    names = plain_names(list(features.found))
    known = {*names, *names.values(), *features.aside}
    for name in (name for name in shapes if name not in known):
        raise ConfigError(f"shapes names {name!r}, which {paths[0]} does not hold.", hint=f"It holds {list(names)}.", path=paths[0])
    for name, stored in names.items():
        made = planner.field(name, stored)
        if isinstance(made, str):
            features.aside[name] = made
        else:
            found[name] = made
    return planned_source(
        found,
        _by_plain_names(fields, names),
        format_name="TFRecord",
        title=paths[0] if len(paths) == 1 else f"{paths[0]} ... {paths[-1]} ({len(paths):,} files)",
        path=paths[0],
        fingerprints=fingerprints,
        starts=starts,
        fill=_fill_by_plain_names(fill, names),
        aside={name: why for name, why in features.aside.items() if why != IMAGES},
        refused={name: why for name, why in features.aside.items() if why == IMAGES},
        notes=[f"'{name}' is the feature {stored!r}" for name, stored in names.items() if name != stored and name in found],
        omissions=[Omission.of("record", "damaged", [error.message for error in features.damage])] if features.damage else [],
    )


def _by_plain_names(fields: Fields | None, names: Mapping[str, str]) -> Fields | None:
    """What is asked for by the names of features, by the names that these have as fields; delivered as it was asked for."""
    if fields is None:
        return None
    plain = {stored: name for name, stored in names.items()}
    pairs = list(fields.items()) if isinstance(fields, Mapping) else [(name, name) for name in fields]
    asked = {name: plain.get(key, key) if isinstance(key, str) and key not in names else key for name, key in pairs}
    renamed = any(name != key for name, key in asked.items())
    return asked if isinstance(fields, Mapping) or (renamed and len(asked) == len(pairs)) else fields


def _fill_by_plain_names(fill: Any, names: Mapping[str, str]) -> Any:
    """What stands for nulls, by the names that features have as fields."""
    plain = {stored: name for name, stored in names.items()}
    if not isinstance(fill, Mapping):
        return fill
    return {key if key in names else plain.get(key, key): value for key, value in fill.items()}


class _Planner:
    """Makes fields of features."""

    def __init__(self, features: Features, starts: NDArray[np.int64], shapes: Shapes) -> None:
        self._features, self._starts, self._shapes = features, starts, shapes
        self._blocks = None if features.addressable else self._packed_blocks()
        self._beside = numbers_beside(list(features.found.items()))

    def _packed_blocks(self) -> PackedBlocks | None:
        """Of compressed files, which records are unpacked together."""
        found = [one for one in self._features.found.values() if isinstance(one, BytesFeature)]
        return blocks_of([self._places(one) for one in found], self._starts) if found else None

    def _places(self, feature: BytesFeature) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Offset and size of a feature of each record; -1 and 0 where it has none."""
        offsets, sizes = np.full(self._features.count, -1, np.int64), np.zeros(self._features.count, np.int64)
        offsets[feature.records], sizes[feature.records] = feature.offsets, feature.sizes
        return offsets, sizes

    def field(self, name: str, stored: str) -> PlannedField | str:
        """The field of a feature, or why it can be none."""
        feature = self._features.found[stored]
        shape = self._shapes.get(name, self._shapes.get(stored))
        if shape is not None:
            return self._shaped(name, feature, shape)
        if isinstance(feature, NumbersFeature):
            return self._of_numbers(name, feature)
        is_image = format_of(feature.first) is not None
        if not is_image and feature.is_text and feature.short is not None:
            values: list[str | None] = [None] * self._features.count
            for record, value in zip(feature.records, feature.short, strict=True):
                values[record] = value.decode()
            made = field_of_values(name, values, self._starts)
            # A number that was written as text stays one: tf.data has it so, too.
            return self._as_texts(name, feature) if isinstance(made, str) or not (made.classes or made.ragged == TEXT) else made
        if not is_image and len(set(feature.sizes)) == 1 and len(feature.records) == self._features.count and not feature.is_text:
            return self._raw(feature, shape_said(self._beside, feature.sizes[0]) or (feature.sizes[0],))
        return self._as_texts(name, feature) if feature.is_text and not is_image else self._ranges(name, feature, BYTES)

    def _shaped(self, name: str, feature: BytesFeature | NumbersFeature, shape: tuple[int | None, ...]) -> PlannedField:
        """Raw pixels of a shape that was given. Raises ConfigError where not every record holds such."""
        why = self._unlike(feature, shape)
        if why or isinstance(feature, NumbersFeature):
            raise ConfigError(f"'{name}' {why}.", hint="Leave it out of shapes={...}.", dataset=name)
        return self._raw(feature, tuple(axis or 0 for axis in shape))

    def _unlike(self, feature: BytesFeature | NumbersFeature, shape: tuple[int | None, ...]) -> str:
        """Why the values of a feature are no raw pixels of a shape; "" where they can be."""
        if isinstance(feature, NumbersFeature):
            return f"holds numbers, no raw bytes that could have the shape {shape}"
        if format_of(feature.first) is not None:
            return f"holds encoded images, no raw bytes that could have the shape {shape}"
        missing = self._features.count - len(feature.records)
        if missing:
            return f"is missing in {missing:,} record{'s' * (missing != 1)}, and raw bytes of the shape {shape} are in all"
        least, most = min(feature.sizes), max(feature.sizes)
        if least != most or math.prod(axis or 0 for axis in shape) != most:
            return f"holds {f'{most:,}' if least == most else f'{least:,} to {most:,}'} bytes a record, which are no {shape}"
        return ""

    def _as_texts(self, name: str, feature: BytesFeature) -> PlannedField:
        return self._ranges(name, feature, TEXT)

    def _ranges(self, key: str, feature: BytesFeature, ragged: str) -> PlannedField:
        """Bytes, or texts, read where they lie."""
        (offsets, sizes), blocks = self._places(feature), self._blocks
        lengths, missing = Lengths.of(sizes[offsets >= 0]), int((offsets < 0).sum())

        def make(field: Field, stands: Any) -> Made:
            fill, nulls = stands.encode() if isinstance(stands, str) else stands, missing if stands is None else 0
            if blocks is not None:
                return PackedRanges(
                    field=field, column=key, blocks=blocks, offsets=offsets, sizes=sizes, lengths=lengths, label=PACKED, fill=fill
                ), nulls
            return FileRanges(
                field=field,
                column=key,
                starts=self._starts,
                numbers=np.arange(len(self._starts) - 1, dtype=np.int32),
                offsets=offsets,
                sizes=sizes,
                lengths=lengths,
                label=LABEL,
                fill=fill,
            ), nulls

        return PlannedField(dtype=np.dtype(np.uint8), shape=(), ragged=ragged, make=make, is_mask=ragged == BYTES and named_as_mask(key))

    def _raw(self, feature: BytesFeature, shape: tuple[int, ...]) -> PlannedField:
        """Raw pixels of one shape, read where they lie."""
        offsets, blocks = np.array(feature.offsets, np.int64), self._blocks

        def make(field: Field, stands: Any) -> Made:
            if blocks is not None:
                return PackedArrays(field=field, stored=np.dtype(np.uint8), blocks=blocks, offsets=offsets, label=PACKED), 0
            column = RawRecords(
                field=field,
                stored=np.dtype(np.uint8),
                starts=np.arange(len(offsets) + 1, dtype=np.int64),
                numbers=np.repeat(np.arange(len(self._starts) - 1, dtype=np.int32), np.diff(self._starts)),
                offsets=offsets,
                strides=np.full(len(offsets), field.nbytes, np.int64),
                blocks=False,
                label=LABEL,
            )
            return column, 0

        return PlannedField(dtype=np.dtype(np.uint8), shape=shape, ragged="", make=make)

    def _of_numbers(self, name: str, feature: NumbersFeature) -> PlannedField | str:
        """Numbers, arrays of one length, or ragged arrays, held in memory."""
        lengths = np.array([len(one) for one in feature.values], np.int64)
        there = np.zeros(self._features.count, bool)
        there[feature.records] = True
        if len(set(lengths.tolist())) == 1:
            values = np.stack(feature.values)
            array = np.zeros((len(there), *values.shape[1:]), feature.dtype)
            array[there] = values
            return held_field(name, [LabelValues(array=array[:, 0] if values.shape[1] == 1 else array, there=there)], self._starts)
        # A list without numbers is not written at all: records without one have none.
        offsets = np.zeros(len(there) + 1, np.int64)
        counts = np.zeros(len(there), np.int64)
        counts[there] = lengths
        np.cumsum(counts, out=offsets[1:])
        flat = np.concatenate(feature.values)

        def make(field: Field, stands: Any) -> Made:
            return InMemoryRagged(field=field, values=flat, offsets=offsets, label="lists"), 0

        return PlannedField(dtype=feature.dtype, shape=(), ragged=ARRAY, make=make)
