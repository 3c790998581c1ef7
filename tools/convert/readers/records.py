"""Records of formats that the library itself does not read: named bytes and numbers of each, made into fields of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, CorruptDataError, SchemaMismatchError, SourceError, UnsupportedFeatureError
from streamload.formats.field_guesses import is_text, shape_said
from streamload.formats.names import plain_names
from streamload.images import named_as_mask
from streamload.omissions import Omission
from streamload.ragged import Ragged
from streamload.schema import TEXT, Field, Schema
from streamload.tools.console import counted, meant
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.readers.container import Container, Raw
from streamload.tools.convert.readers.encode_images import bytes_of
from streamload.tools.convert.readers.images import MOST_FILE_NBYTES, image_in, kind_of, shape_in
from streamload.tools.convert.readers.masks import mask_in
from streamload.tools.convert.record_source_defaults import RecordSourceDefaults
from streamload.tools.files.direct_io import aligned_empty

TOGETHER = 8
"""Records that a thread is given at a time: a word between threads costs as much as a tenth of an image."""
HEAD_NBYTES = 1 << 16
"""In so many bytes the size of an image stands, but where a large preview comes before it."""
SURVEYED = 64
"""The first records say what fields there are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldPlan:
    """How one field is made."""

    stored: str
    """Its name in the container."""
    kind: str
    """ "image", "mask", "bytes", "text" or "numbers"."""
    field: Field


class ContainerReader(RecordSourceDefaults):
    """An origin over a container. Images are decoded to the shape of the first, on several threads."""

    def __init__(self, container: Container, request: OpenRequest, *, threads: int) -> None:
        self._container = container
        self._request = request
        self.title = container.title
        self.format_name = container.format_name
        self.left_out = dict(container.left_out)
        self.damage = container.damage
        self.notes = container.notes
        self.addressable = container.addressable
        self.paths = list(container.paths)
        try:
            self._plans = self._planned()
        except BaseException:
            container.close()
            raise
        self.schema = Schema(tuple(plan.field for plan in self._plans))
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __len__(self) -> int:
        return len(self._container)

    @property
    def classes(self) -> dict[str, list[str]]:
        """What labels mean, of fields that are taken."""
        stored = {plan.stored: plan.field.name for plan in self._plans}
        return {stored[name]: texts for name, texts in self._container.classes.items() if name in stored}

    @property
    def guessed_from(self) -> int:
        """The first records say what fields there are."""
        return min(SURVEYED, len(self))

    @property
    def files(self) -> Sequence[str]:
        """All files that are read."""
        return self._container.files

    @property
    def omissions(self) -> Sequence[Omission]:
        """Files in the folder, and what lies in files, that is not taken."""
        files = [Omission("file", why, len(names), tuple(names)) for why, names in self._container.set_aside.items() if names]
        return [*files, *(Omission.of("member", why, names, count) for why, (count, names) in self._container.members_left_out.items())]

    @property
    def identity(self) -> list[Any]:
        """Values that stay the same as long as the records do."""
        return self._container.identity

    def where(self, number: int) -> str:
        """The name of a record in errors."""
        return self._container.where(number)

    @property
    def stored_nbytes(self) -> dict[str, int]:
        """Bytes that encoded images take in all, by field, where the container knows that."""
        sizes = self._container.image_nbytes()
        return {plan.field.name: sizes[plan.stored] for plan in self._plans if plan.kind == "image" and plan.stored in sizes}

    def image_shapes(self, number: int) -> Iterator[tuple[Field, str, tuple[tuple[int, ...], np.dtype[Any]]]]:
        """For each image of a record that is to be stored as it is: its field, what it is called, and its shape and dtype by its head.

        Raises SourceError for one that is damaged there.
        """
        for plan in self._plans:
            data = self._container.begin(number, plan.stored, HEAD_NBYTES) if plan.kind == "image" else None
            if data is None:
                continue
            title = self._container.named(number, plan.stored)
            try:
                found = shape_in(data, title, mode=self._request.mode)
            except SourceError:
                if len(data) < HEAD_NBYTES:
                    raise
                found = shape_in(self._container.begin(number, plan.stored, MOST_FILE_NBYTES) or b"", title, mode=self._request.mode)
            yield plan.field, title, found

    @property
    def encoded_fields(self) -> tuple[str, ...]:
        """Fields that are stored as the bytes of an image."""
        return tuple(plan.field.name for plan in self._plans if plan.kind == "image")

    def take_encoded(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """The same as `take`, images as the bytes that are stored. Each is decoded, too, so that none is damaged."""
        names = self.encoded_fields
        kept: dict[str, list[bytes]] = {name: [] for name in names}
        fixed = [plan for plan in self._plans if plan.kind != "image"]
        out = {plan.field.name: _room(plan.field, len(records)) for plan in fixed}
        waiting: list[Any] = []
        for row, number in enumerate(records.tolist()):
            raw = self._container.raw(number)
            self._put(out, row, number, raw, fixed)
            for plan in self._plans:
                if plan.kind == "image":
                    data = raw.get(plan.stored)
                    if not isinstance(data, bytes):
                        raise self._lacks(plan, number)
                    kept[plan.field.name].append(data)
                    title = self._container.named(number, plan.stored)
                    if self._pool is None:
                        image_in(data, title, mode="any")
                    else:
                        waiting.append(self._pool.submit(image_in, data, title, mode="any"))
        for one in waiting:
            one.result()
        done = _finished(out)
        return {field.name: done[field.name] if field.name in done else bytes_of(kept[field.name]) for field in self.schema}

    def take(self, records: NDArray[np.int64]) -> dict[str, Any]:
        """Arrays of the given records, in the order given. Raises SourceError for one that is damaged or of another shape."""
        return self.begin_take(records)()

    def begin_take(self, records: NDArray[np.int64]) -> Callable[[], dict[str, Any]]:
        """The same, under way: what is returned waits for it. Threads are never without work where the next is begun before that."""
        out = {field.name: _room(field, len(records)) for field in self.schema}
        waiting: list[Callable[[], None]] = []
        group: list[tuple[int, int, Raw]] = []
        failed: SourceError | None = None
        for row, number in enumerate(records.tolist()):
            try:
                group.append((row, number, self._container.raw(number)))
            except SourceError as error:
                failed = error
                break
            if len(group) == TOGETHER:
                waiting.append(self._put_beside(out, group))
                group = []
        if group:
            waiting.append(self._put_beside(out, group))

        def finish() -> dict[str, Any]:
            for one in waiting:
                one()  # what is wrong with a record before the one that cannot be had is said first
            if failed is not None:
                raise failed
            return _finished(out)

        return finish

    def _put_beside(self, out: dict[str, Any], group: Sequence[tuple[int, int, Raw]]) -> Callable[[], None]:
        """Make some records on another thread, if there are any; what is returned waits for them."""
        return partial(self._put_all, out, group) if self._pool is None else self._pool.submit(self._put_all, out, group).result

    def _require_known(self, number: int, raw: Raw) -> None:
        """Raise SchemaMismatchError for something in a record that the first ones had not: it would be lost."""
        strange = [name for name in raw if name not in self._seen and name not in self.left_out] if self._seen is not None else []
        if strange:
            where = self._container.named(number, strange[0])
            raise SchemaMismatchError(
                f"{where} is there, which none of the first {SURVEYED} records had.",
                hint=f"Choose --fields without it: {','.join(self.schema.names)}. Or leave its record out: --on-bad skip.",
                path=where,
            )

    def _put_all(self, out: dict[str, Any], group: Sequence[tuple[int, int, Raw]]) -> None:
        for row, number, raw in group:
            self._put(out, row, number, raw, self._plans)

    def values(self, name: str, records: NDArray[np.int64]) -> Any:
        """A field of the given records that is no image: nothing else of them is made."""
        plan = next(plan for plan in self._plans if plan.field.name == name)
        held = self._container.held(plan.stored)
        if held is not None:
            return held[records]
        out = {name: _room(plan.field, len(records))}
        for row, number in enumerate(records.tolist()):
            self._put(out, row, number, self._container.raw(number), [plan])
        return _finished(out)[name]

    def close(self) -> None:
        """End the threads, and let go of files."""
        if self._pool is not None:
            self._pool.shutdown()
        self._container.close()

    def _put(self, out: dict[str, Any], row: int, number: int, raw: Raw, plans: Sequence[FieldPlan]) -> None:
        self._require_known(number, raw)
        for plan in plans:
            value = raw.get(plan.stored)
            if value is None:
                raise self._lacks(plan, number)
            field = plan.field
            if plan.kind == "text":
                out[field.name][row] = self._text(value, self._container.named(number, plan.stored))
                continue
            # An image is decoded where it is to stand; only one of another shape comes back elsewhere, to be refused.
            into = out[field.name][row] if plan.kind == "image" else None
            made = self._made(plan.kind, value, self._container.named(number, plan.stored), into)
            if plan.kind == "bytes" and made.nbytes == field.nbytes:
                made = made.view(field.dtype).reshape(field.shape)
            if made.shape != field.shape or made.dtype.newbyteorder("=") != field.dtype:
                where = self._container.named(number, plan.stored)
                raise SchemaMismatchError(
                    f"{where} is {made.dtype} {made.shape}, and the first {field.dtype} {field.shape}.",
                    hint="Give --size HEIGHTxWIDTH to make images alike, or --on-bad skip to leave it out.",
                    path=where,
                )
            if made is not into:
                out[field.name][row] = made

    def _text(self, value: bytes | NDArray[Any], title: str) -> bytes:
        """A value as text. Raises SourceError for what is none."""
        if not isinstance(value, bytes):
            raise SchemaMismatchError(f"{title} is numbers, and text in the first record.", hint="Choose other --fields.", path=title)
        try:
            value.decode()
        except UnicodeDecodeError as error:
            raise CorruptDataError(
                f"{title} is text that is not UTF-8: {error.reason} at byte {error.start:,}.",
                hint="Leave it out with --on-bad skip, or choose --fields without it.",
                path=title,
            ) from error
        return value

    def _lacks(self, plan: FieldPlan, number: int) -> CorruptDataError:
        return CorruptDataError(
            f"{self._container.where(number)} has no {plan.stored}.",
            hint="Leave it out with --on-bad skip, or choose --fields that all records have.",
            path=self._container.where(number),
        )

    def _made(self, kind: str, value: bytes | NDArray[Any], title: str, into: NDArray[Any] | None = None) -> NDArray[Any]:
        """A value as an array; an image that fits is put into `into`."""
        if kind == "numbers":
            if isinstance(value, bytes):
                raise SchemaMismatchError(f"{title} is bytes, and numbers in the first record.", hint="Choose other --fields.", path=title)
            return value
        if not isinstance(value, bytes):
            raise SchemaMismatchError(f"{title} is numbers, and bytes in the first record.", hint="Choose other --fields.", path=title)
        if kind == "bytes":
            return np.frombuffer(value, np.uint8)
        if kind == "mask":
            return mask_in(value, title, self._request.size)
        return image_in(value, title, mode=self._request.mode, size=self._request.size, into=into)

    def _planned(self) -> list[FieldPlan]:
        """What the first records say the fields are; what cannot be a field is left out, or refused where it was asked for."""
        surveyed = self._surveyed()
        stored = list(dict.fromkeys(name for _, raw in surveyed for name in raw))
        wanted = self._request.fields
        chosen = plain_names(stored) if wanted is None else wanted
        self._seen = frozenset(stored) if wanted is None else None
        plans: list[FieldPlan] = []
        self.left_out |= self._container.left_out
        for name, source in chosen.items():
            if source not in stored:
                why = self._container.left_out.get(source)
                raise ConfigError(
                    f"{self.title} has no field {source!r} that can be stored{': ' + why if why else ''}.", hint=meant(source, stored)
                )
            made, why = self._plan(name, source, [(at, raw[source]) for at, raw in surveyed if source in raw], surveyed[0][1])
            if made is not None:
                plans.append(made)
            elif wanted is not None:
                raise UnsupportedFeatureError(f"{self.title}: {source} holds {why}.", hint="Choose other --fields.", path=self.title)
            else:
                self.left_out[source] = why
        if not plans:
            raise self._nothing()
        return plans

    def _surveyed(self) -> list[tuple[int, Raw]]:
        """Those of the first records that can be read, and their numbers. Raises SourceError where there are none."""
        surveyed: list[tuple[int, Raw]] = []
        failed: SourceError | None = None
        for number in range(min(SURVEYED, len(self._container))):
            try:
                surveyed.append((number, self._container.raw(number)))
            except SourceError as error:
                failed = failed or error
        if surveyed:
            return surveyed
        if failed is not None:
            raise failed
        if self.left_out or self._container.members_left_out:
            raise self._nothing()
        raise CorruptDataError(
            f"{self.title} ({self.format_name}) holds no records.", hint="Is it the right file, and was all of it fetched?", path=self.title
        )

    def _nothing(self) -> UnsupportedFeatureError:
        members = [f"{counted(count, 'member')}: {why}" for why, (count, _) in self._container.members_left_out.items()]
        told = "; ".join([*(f"{name} holds {why}" for name, why in self.left_out.items()), *members])
        return UnsupportedFeatureError(f"{self.title} holds nothing that can be stored: {told}.", hint="See --fields.", path=self.title)

    def _plan(self, name: str, stored: str, values: list[tuple[int, bytes | NDArray[Any]]], first: Raw) -> tuple[FieldPlan | None, str]:
        """How one field is made, or why it cannot be."""
        arrays = [value for _, value in values if not isinstance(value, bytes)]
        if not isinstance(values[0][1], bytes):
            if len({value.shape for value in arrays}) > 1:
                return None, "lists of different lengths"
            return FieldPlan(stored=stored, kind="numbers", field=Field(name, arrays[0].dtype.newbyteorder("="), arrays[0].shape)), ""
        texts = [value for _, value in values if isinstance(value, bytes)]
        is_texts = is_text(texts)
        if stored in self._container.images or (any(kind_of(value) for value in texts) and not is_texts):
            kind = "mask" if self._request.is_mask(name) or (self._request.masks is None and named_as_mask(stored)) else "image"
            image = self._first(kind, stored, values)
            return FieldPlan(stored=stored, kind=kind, field=Field(name, image.dtype, image.shape)), ""
        nbytes = len(texts[0])
        shape = (self._request.shapes or {}).get(name) or shape_said(first, nbytes)
        if shape is not None and np.prod(shape, dtype=np.int64) == nbytes:
            return FieldPlan(stored=stored, kind="bytes", field=Field(name, np.dtype(np.uint8), shape)), ""
        if shape is None and is_texts:
            return FieldPlan(stored=stored, kind="text", field=Field(name, np.dtype(np.uint8), (), TEXT)), ""
        if shape is not None or not nbytes or len({len(value) for value in texts}) > 1:
            return None, f"bytes that are no image ({nbytes:,} of them in the first record)"
        return FieldPlan(stored=stored, kind="bytes", field=Field(name, np.dtype(np.uint8), (nbytes,))), ""

    def _first(self, kind: str, stored: str, values: list[tuple[int, bytes | NDArray[Any]]]) -> NDArray[Any]:
        """The first image that can be decoded: it says what shape all have."""
        failed: CorruptDataError | None = None
        for number, value in values:
            try:
                return self._made(kind, value, self._container.named(number, stored))
            except CorruptDataError as error:
                failed = failed or error
        assert failed is not None
        raise failed


def _room(field: Field, records: int) -> Any:
    """Where records of a field are put: an array, or a list of texts."""
    return [b""] * records if field.ragged else aligned_empty((records, *field.shape), field.dtype)


def _finished(out: Mapping[str, Any]) -> dict[str, Any]:
    """The same, texts side by side."""
    made: dict[str, Any] = {}
    for name, one in out.items():
        texts = bytes_of(one) if isinstance(one, list) else None
        made[name] = one if texts is None else Ragged(texts.values, texts.offsets, TEXT)
    return made
