"""The sources that a loader goes through, each with its order: one, or those of a mixture."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError, NullValueError
from streamload.fetch.bad_records import SKIP
from streamload.loader.augmentation import Images, augmented_images, columns_and_augmentation, in_one_mode
from streamload.loader.options import Options
from streamload.loader.weighing import asked_weights
from streamload.mixtures import Mixture
from streamload.nulls import advice_on_nulls, counted
from streamload.order import (
    Block,
    Custom,
    LanedOrder,
    Layout,
    Listed,
    OrderSpec,
    Sequential,
    asked_order,
    chosen,
    laned_order,
    layout_of,
    part_seed,
)
from streamload.schema import BYTES
from streamload.source import Column, RaggedColumn, Source, stored_column, stored_nbytes
from streamload.transforms.augmentation import Augmentation


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One source of a plan."""

    name: str
    """In a mixture; empty of a single source."""
    data: Source
    columns: tuple[Column, ...]
    """In the order of the fields of the first part."""
    spec: OrderSpec
    order: LanedOrder
    count: int
    """Records of it in a rank's batch."""
    listed: bool
    """Whether `indices=` are an order of their own."""
    augmentation: Augmentation | None
    left_out: str | None
    """What is to be said of records that are left out."""


def parts_of(
    data: Source | Mixture, options: Options, ranks: int, *, lanes: Sequence[int] = (), counts: Sequence[int] = ()
) -> tuple[Part, ...]:
    """The sources of a loader. Raises ConfigError for what is neither a source nor a mixture, and as orders and weights do.

    `lanes` and `counts` go before what the options say, where they are given.
    """
    if isinstance(cast(object, data), Mixture):
        mixture = cast(Mixture, data)
        if options.batch_size != mixture.batch_size and not counts:
            named = " + ".join(f"{count:,} of {name!r}" for name, count in mixture.counts.items())
            raise ConfigError(
                f"batch_size={options.batch_size:,}, and the mixture has batches of {mixture.batch_size:,}: {named}.",
                hint=f"Give batch_size={mixture.batch_size}, or other counts in mix().",
            )
        asked = {name: {key: _of_part(getattr(options, key), name, mixture, key) for key in ARGUMENTS} for name in mixture.names}
        complete = {name: _without_nulls(mixture.sources[name], asked[name]) for name in mixture.names}
        images = in_one_mode({name: augmented_images(one.data, options.augment) for name, one in complete.items()})
        parts = tuple(
            _part(
                name,
                complete[name],
                images[name],
                mixture.schema.names,
                asked[name],
                seed=part_seed(options.seed, number),
                count=counts[number] if counts else mixture.counts[name],
                lanes=lanes[number] if lanes else None,
                ranks=ranks,
            )
            for number, name in enumerate(mixture.names)
        )
        for part in parts:
            _check_not_empty(part)
        return parts
    if not isinstance(cast(object, data), Source):
        raise ConfigError(f"data={data!r} is not a source.", hint='Open it first: sl.Loader(sl.open("train.h5"), batch_size=256).')
    source = cast(Source, data)
    asked = {key: getattr(options, key) for key in ARGUMENTS}
    complete = _without_nulls(source, asked)
    found = _part(
        "",
        complete,
        augmented_images(complete.data, options.augment),
        source.schema.names,
        asked,
        seed=options.seed,
        count=counts[0] if counts else options.batch_size,
        lanes=lanes[0] if lanes else None,
        ranks=ranks,
    )
    return (found,)


def _check_not_empty(part: Part) -> None:
    """Raise ConfigError for a part of a mixture of which no record is chosen: batches cannot have any of it."""
    if not part.order.n:
        raise ConfigError(
            f"of part {part.name!r} of the mixture, none of the {len(part.data):,} records are left.",
            hint="Look at its indices= and shuffle=, and at records that on_bad_record= leaves out; or leave it out of mix().",
        )


def _of_part(value: Any, name: str, mixture: Mixture, argument: str) -> Any:
    """An argument as it is meant for a part: by name where it is a mapping, which is the default where it does not name the part."""
    if isinstance(value, Mapping) and argument != "augment":
        named = cast("Mapping[str, Any]", value)
        for key in named:
            if key not in mixture.sources:
                raise ConfigError(
                    f"{argument}= names a part {key!r}, and the mixture has {', '.join(map(repr, mixture.names))}.",
                    hint="Name parts as mix() does.",
                )
        return named.get(name, _DEFAULTS[argument])
    if _is_list(value, argument, mixture):
        raise ConfigError(
            f"{argument}= is one list, and the mixture has {len(mixture.sources)} parts, whose records count by themselves.",
            hint=f"Give it by name: {argument}={{{mixture.names[0]!r}: ...}}.",
        )
    return value


def _is_list(value: Any, argument: str, mixture: Mixture) -> bool:
    """Whether an argument says something of each record of one part: also as a file, or as an order that is a list."""
    if argument == "weights" and isinstance(value, str):
        return value not in mixture.schema and os.path.exists(value)
    return (value is not None and argument in ("indices", "weights")) or isinstance(value, Listed)


ARGUMENTS = ("shuffle", "indices", "weights", "draws", "augment", "on_bad_record")
"""What is asked of each part."""
_DEFAULTS = {field.name: field.default for field in fields(Options)}


class CompleteRecords(NamedTuple):
    """The records of a source that have no null for which nothing stands, or all of them where there are none or they may be met."""

    data: Source
    indices: Any
    """Which of its records are chosen; None for all."""
    complete: NDArray[np.int64] | None
    """All records without such a null, in rising order; None where no record was left out for one."""
    left_out: str | None
    """What is to be said of records that are left out."""


def _part(
    name: str,
    records: CompleteRecords,
    images: Images,
    names: Sequence[str],
    asked: Mapping[str, Any],
    *,
    seed: int,
    count: int,
    lanes: int | None,
    ranks: int,
) -> Part:
    """One source with its order; `names` are the fields of the first part, in their order."""
    data = records.data
    found, augmentation = columns_and_augmentation(data, asked["augment"], images)
    by_name = {column.field.name: column for column in found}
    spec, layout = _asked_order(records, asked["shuffle"], asked["indices"])
    listed = asked["indices"] is not None and isinstance(spec, Listed) and not isinstance(asked["shuffle"], Listed)
    weighed = asked["weights"] is not None or asked["draws"] is not None
    if data.forward_only:
        _refuse_other_orders(data, spec, asked["shuffle"], weighed=weighed, listed=listed)
    weights = asked_weights(data, asked["weights"], draws=asked["draws"], indices=layout.indices)
    if listed and weights is not None and weights.edges is not None:
        raise ConfigError(
            "indices= are not in rising order, which shuffle=False keeps, and weights= draws records in the order of the file.",
            hint="Give np.sort(indices), shuffle=True, or leave weights= out.",
        )
    several = (spec.lanes or lanes or ranks) if isinstance(spec, Block) else 1
    order = laned_order(spec, layout, seed=seed, lanes=several, weights=weights)
    return Part(
        name=name,
        data=data,
        columns=tuple(by_name[field] for field in names),
        spec=spec,
        order=order,
        count=count,
        listed=listed,
        augmentation=augmentation,
        left_out=records.left_out,
    )


def _asked_order(records: CompleteRecords, shuffle: object, indices: Any) -> tuple[OrderSpec, Layout]:
    """The order that `shuffle=` and `indices=` ask for together, of the records that have no null.

    A list of records counts all that were chosen, those with nulls too, and these are then missing from it. Raises ConfigError for an
    order of the user's own where some are left out: nobody can tell whether it counts them.
    """
    layout = _layout(records.data)
    if records.complete is not None:
        spec, among = asked_order(shuffle, indices, layout)
        if isinstance(spec, Listed) and spec is shuffle:
            every = spec.bind(among, 0)
            numbers = every.records(0, 0, every.n)
            return Listed(numbers[np.isin(numbers, records.complete)]), layout
        if isinstance(spec, Custom) and len(records.indices) < among.n:
            raise ConfigError(
                f"{records.left_out} An order of your own counts records, and may or may not count these.",
                hint="Give the records that it counts, indices=data.complete()[1], or say what stands for nulls where you open the data, "
                "fill={...}.",
            )
    return asked_order(shuffle, records.indices, layout)


def _refuse_other_orders(data: Source, spec: OrderSpec, shuffle: object, *, weighed: bool, listed: bool) -> None:
    """Raise ConfigError unless records are asked for in the order in which compressed files hold them."""
    if isinstance(spec, Sequential) and not weighed and not listed:
        return
    asked = "weights= and draws= draw" if weighed else "indices= in an order of their own ask" if listed else f"shuffle={shuffle!r} asks"
    paths = [was.path for was in data.fingerprints]
    keep = " --store keep" if any(column.encoded is not None or column.field.ragged == BYTES for column in data.columns) else ""
    source = shlex.quote(paths[0])
    target = shlex.quote(f"{os.path.basename(paths[0]).partition('.')[0]}.parquet")
    each = "" if len(paths) == 1 else f", and so each of the {len(paths):,} files; open what comes of them as one list"
    raise ConfigError(
        f"{data.title} is compressed as a whole, so that its records are read in the order in which they are stored: {asked} for "
        "another, in which each would be unpacked with all that lies before it.",
        hint=f"Give shuffle=False; or, to shuffle them, convert once: `streamload convert {source} {target}{keep}`{each}.",
    )


def _without_nulls(data: Source, asked: Mapping[str, Any]) -> CompleteRecords:
    """The data and the chosen records such that no record with a null is asked for for which nothing stands.

    Raises NullValueError, of all fields at once, where such records are neither to be left out nor chosen by the user.
    """
    known, indices = {name: one for name, one in data.nulls.items() if one.count}, asked["indices"]
    if not known or (indices is not None and asked["on_bad_record"] != SKIP):
        return CompleteRecords(data, indices, None, None)
    if asked["on_bad_record"] != SKIP:
        raise NullValueError(f"{data.title} holds nulls in {counted(known)}.", hint=advice_on_nulls(data.nulls, data.schema))
    data, complete = data.complete()
    numbers = complete
    if indices is not None:
        numbers = chosen(indices, len(data))
        numbers = numbers[np.isin(numbers, complete)]
    left_out = f"{len(data) - len(complete):,} of {len(data):,} records are left out, for nulls in {counted(known)}."
    return CompleteRecords(data, numbers, complete, left_out)


def _layout(data: Source) -> Layout:
    """What an order needs to know. Blocks are those of the largest field that must be decoded, else of the largest that has any.

    Where that field is ragged, and its blocks were counted, they weigh what they hold; elsewhere every record weighs the same.
    """
    cut = [column for column in data.columns if column.cuts is not None]
    cut.sort(key=lambda column: (not column.addressable, stored_nbytes(column)), reverse=True)
    cuts = cut[0].cuts if cut else None
    record_nbytes = sum(map(stored_nbytes, data.columns))
    block_nbytes: NDArray[np.int64] | None = None
    stored = cast(RaggedColumn, stored_column(cut[0])) if cut else None
    if (
        stored is not None
        and cuts is not None
        and stored.field.ragged
        and stored.block_elements is not None
        and np.isin(data.file_starts, cuts).all()
    ):
        block_nbytes = np.diff(cuts) * (record_nbytes - stored_nbytes(stored)) + stored.block_elements * stored.field.nbytes
    return layout_of(data.file_starts, cuts=cuts, record_nbytes=record_nbytes, addressable=data.addressable, block_nbytes=block_nbytes)
