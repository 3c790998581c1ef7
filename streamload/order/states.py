"""Saved states: the position of a run as plain JSON, the same on all ranks, written and read back.

Rules:

1. A state holds the position of the run, counted in records over all ranks, so that ranks and batch sizes may change between two
   steps. It also holds what the order depends on (seed, kind of order, cuts, lanes, weights): a run with another order refuses the
   state, and names what differs.
2. States of version 1 are read: they are of one rank, one lane, one source and no weights.
3. A state comes from outside, so every entry is checked. Whatever Python takes for an index counts as a number: an int, a NumPy
   integer, a tensor without dimensions.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from streamload.errors import StateError
from streamload.order.orders import MOST_LANES
from streamload.order.permutation import ORDER_VERSION
from streamload.order.steps import PartPosition, RunPosition, SharedSteps

STATE_VERSION = 2
MIXTURE = "mixture"
"""The mode that the state of a mixture has."""
_MOST = 2**62
_DAMAGED = "The state is damaged: load another one, or begin anew."


@dataclass(frozen=True, kw_only=True, slots=True)
class PartIdentity:
    """What the order of one part depends on: a state is refused where any of it differs."""

    name: str
    """The name of the part in a mixture; empty of a single source."""
    mode: str
    """The kind of its order, such as "exact"."""
    order: str
    """Fingerprint of cuts, windows, lanes and subset."""
    lanes: int
    records: int
    """Records of the source."""
    schema: str
    """Digest of the fields of a record."""
    contents: str | None
    """Digest of some records, spread over the source; None if it was not computed, and is not compared."""
    weights: str | None
    """Digest of the weights; None without weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RunIdentity:
    """What tells one run from another: everything but its ranks and its present batch sizes, which may change on the way."""

    seed: int
    parts: tuple[PartIdentity, ...]
    counts: tuple[int, ...]
    """Records of each part in a rank's batch, as they were when the loader was made. `SharedSteps.parts` has the present ones."""

    @property
    def mode(self) -> str:
        """The kind of order of a single source; `MIXTURE` of several parts."""
        return self.parts[0].mode if self.single else MIXTURE

    @property
    def single(self) -> bool:
        """Whether there is one source, and no mixture."""
        return len(self.parts) == 1 and not self.parts[0].name


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumed:
    """What `read_state` makes of a state."""

    position: RunPosition
    counts: tuple[int, ...]
    """Records of each part in a rank's batch from here on."""
    warnings: tuple[str, ...]
    """Sentences for the user on what has changed: batch size, number of ranks, weights."""


def state_of(run: RunIdentity, steps: SharedSteps, at: RunPosition) -> dict[str, Any]:
    """The state of a run at a position: a dictionary of plain JSON. Its keys are a file format: see `STATE_VERSION`."""
    state: dict[str, Any] = {
        "version": STATE_VERSION,
        "order_version": ORDER_VERSION,
        "mode": run.mode,
        "seed": run.seed,
        "world_size": steps.ranks,
        "epoch": at.epoch,
        "step": at.step,
        "total_step": at.total_step,
    }
    parts = [_part_state(one, built, steps, at, k) for k, (one, built) in enumerate(zip(run.parts, run.counts, strict=True))]
    if run.single:
        return {**parts[0], **state}
    return {**state, "lead": at.lead, "parts": {one.name: part for one, part in zip(run.parts, parts, strict=True)}}


def _part_state(part: PartIdentity, built: int, steps: SharedSteps, at: RunPosition, number: int) -> dict[str, Any]:
    return {
        "mode": part.mode,
        "order": part.order,
        "lanes": part.lanes,
        "records": part.records,
        "positions": steps.parts[number].n,
        "schema": part.schema,
        "contents": part.contents,
        "weights": part.weights,
        "batch_size": steps.parts[number].count,
        "built_batch_size": built,
        "epoch": at.positions[number].epoch,
        "position": at.positions[number].position,
    }


_RUN = ("version", "order_version", "mode", "seed", "world_size", "epoch", "step", "total_step")
_PART = (
    "mode",
    "order",
    "lanes",
    "records",
    "positions",
    "schema",
    "contents",
    "weights",
    "batch_size",
    "built_batch_size",
    "epoch",
    "position",
)
_OLD = ("version", "order_version", "mode", "order", "seed", "records", "schema", "batch_size", "epoch", "position")


def state_lanes(state: object) -> tuple[int, ...]:
    """The number of lanes of each part, as a state has it: a run that resumes from it must have as many. Raises StateError for what
    is no state."""
    given = _entries(state)
    if _version(given) == 1:
        return (1,)
    return tuple(_number(part, "lanes", least=1, most=MOST_LANES) for part in _parts(given).values())


def read_state(state: object, run: RunIdentity, steps: SharedSteps) -> Resumed:
    """The position and counts at which a run resumes. Raises StateError, naming what differs, for a state of another run."""
    given = _entries(state)
    version = _version(given)
    if version == 1:
        return _read_old(given, run, steps)
    parts = _parts(given)
    # What a source's own order is, is compared after its records: other data may have another.
    if _is_mixture(given) or run.mode == MIXTURE:
        _check_same(given, "mode", run.mode)
    _check_same(given, "order_version", ORDER_VERSION)
    _check_same(given, "seed", run.seed)
    if list(parts) != [one.name for one in run.parts]:
        raise StateError(
            f"the state is of a mixture of {', '.join(map(_shown, parts))}, and here it is of {', '.join(one.name for one in run.parts)}.",
            hint="Resume with the same parts, in the same order.",
            difference="parts",
        )
    numbers = {name: _number(given, name, least=0, most=_MOST) for name in ("epoch", "step")}
    numbers["total_step"] = _number(given, "total_step", least=0, most=(numbers["epoch"] + 1) * _MOST)
    ranks = _number(given, "world_size", least=1, most=_MOST)
    positions, warnings, counts = list[PartPosition](), list[str](), list[tuple[int, int]]()
    for number, (part, one) in enumerate(zip(parts.values(), run.parts, strict=True)):
        position, more = _read_part(part, one, steps.parts[number].n)
        positions.append(position)
        warnings += more
        counts.append((_number(part, "batch_size", least=0, most=_MOST), _number(part, "built_batch_size", least=0, most=_MOST)))
    lead = 0 if run.single else _number(given, "lead", least=0, most=len(positions) - 1)
    if run.single and (numbers["step"] == 0) != (positions[0].position == 0):
        raise StateError(
            f"the state stands at step {numbers['step']:,} and at position {positions[0].position:,}: an epoch begins at 0 of both.",
            hint=_DAMAGED,
        )
    present = tuple(count for count, _ in counts)
    going_on = _resumed_counts(counts, run, steps, lead)
    if not going_on[lead]:
        lead = steps.lead_of(positions)
    if (present, ranks) != (going_on, steps.ranks):
        warnings.append(_changed(run, (present, ranks), (going_on, steps.ranks)))
    position = RunPosition(numbers["epoch"], numbers["step"], numbers["total_step"], lead, tuple(positions))
    return Resumed(position=position, counts=going_on, warnings=tuple(warnings))


def _resumed_counts(counts: Sequence[tuple[int, int]], run: RunIdentity, steps: SharedSteps, lead: int) -> tuple[int, ...]:
    """Records of each part in a rank's batch from here on. `counts`: by part, those that the state was saved with, and made with.

    A loader that was made with the same counts takes over those that were changed since; one that was made with others keeps its own.
    """
    if tuple(built for _, built in counts) != run.counts:
        return tuple(part.count for part in steps.parts)
    present = tuple(count for count, _ in counts)
    if not present[lead]:
        raise StateError(f"the state's batch size is {present[lead]} of the part that leads.", hint=_DAMAGED)
    return present


def _read_part(part: Mapping[str, Any], ours: PartIdentity, n: int) -> tuple[PartPosition, list[str]]:
    """The position in one part, and warnings about it; `n` is the number of positions of its epochs here."""
    where = f" of {ours.name!r}" if ours.name else ""
    records = _number(part, "records", least=0, most=_MOST)
    if records != ours.records:
        raise StateError(
            f"the data{where} had {records:,} records when the state was made, and has {ours.records:,} now.",
            hint="Resume with the data that it was written for, or begin anew.",
            difference="records",
        )
    _check_same(part, "schema", ours.schema, where)
    _check_same(part, "mode", ours.mode, where)
    _check_same(part, "lanes", ours.lanes, where)
    contents, weights = _digest(part, "contents"), _digest(part, "weights")
    if contents is not None and ours.contents is not None and contents != ours.contents:
        raise StateError(
            f"the data{where} has as many records as that of the state, and others: a spread of them differs.",
            hint="Resume with the data that it was written for, or begin anew.",
            difference="contents",
        )
    epoch = _number(part, "epoch", least=0, most=_MOST)
    positions = _number(part, "positions", least=0, most=_MOST)
    position = _number(part, "position", least=0, most=positions)
    if (weights is None) == (ours.weights is None):
        _check_same(part, "order", ours.order, where)
    if weights == ours.weights:
        if positions != n:
            raise StateError(f"the state's positions are {positions:,}, and an epoch{where} has {n:,}.", hint=_DAMAGED)
        return PartPosition(epoch, position), []
    if 0 < position < positions:
        raise StateError(
            f"the state stands at position {position:,} of {positions:,} of an epoch{where} that was drawn by other weights.",
            hint="Resume with the same weights=; they may change between two epochs.",
            difference="weights",
        )
    warning = f"The state was made with other weights{where}: from now on, records are drawn by those given here."
    return PartPosition(epoch, n if position else 0), [warning]


def _changed(run: RunIdentity, then: tuple[tuple[int, ...], int], now: tuple[tuple[int, ...], int]) -> str:
    """The warning that the batch size or the number of ranks has changed. `then` and `now`: (counts of each part, ranks)."""

    def text(counts: tuple[int, ...], ranks: int) -> str:
        names = (f"{one.name}={count:,}" for one, count in zip(run.parts, counts, strict=True))
        size = f"batch_size={counts[0]:,}" if run.single else f"batches of {', '.join(names)}"
        return f"{size} on {ranks:,} rank{'s' * (ranks > 1)}"

    return (
        f"The state was made with {text(*then)}, and goes on with {text(*now)}: no record is lost or repeated; "
        "step and total_step count on, and len() is of a whole epoch at the present size."
    )


def _read_old(given: Mapping[Any, Any], run: RunIdentity, steps: SharedSteps) -> Resumed:
    """A state of version 1: one rank, one lane, one source, no weights; its batch size tells which step it was."""
    _check_names(given, _OLD, ())
    n = steps.parts[0].n
    size = _number(given, "batch_size", least=1, most=_MOST)
    same = {"positions": n, "lanes": 1, "contents": None, "weights": None, "built_batch_size": size}
    newer = {**given, **same, "version": STATE_VERSION, "world_size": 1, "step": 0, "total_step": 0}
    read_state({**newer, "position": 0}, run, steps)
    position, epoch = _number(given, "position", least=0, most=n), _number(given, "epoch", least=0, most=_MOST)
    if position % size and position != n:
        raise StateError(f"the state's position {position:,} is not at the end of a batch of {size:,}.", hint=_DAMAGED)
    step = -(-position // size)
    length = n // size if steps.drop_last else -(-n // size)
    return read_state({**newer, "step": step, "total_step": epoch * length + step}, run, steps)


def _entries(state: object) -> Mapping[Any, Any]:
    if not isinstance(state, Mapping):
        raise StateError(f"a state is a dict, not {type(state).__name__}.", hint="Give what state_dict() returned.")
    return cast("Mapping[Any, Any]", state)


def _version(given: Mapping[Any, Any]) -> int:
    if "version" not in given:
        raise StateError("the state lacks version.", hint="Give what state_dict() returned, whole.")
    version = _index(given["version"])
    if version not in (1, STATE_VERSION):
        raise _different(
            "version of the state", given["version"], STATE_VERSION, "It was written by another version of streamload.", "version"
        )
    return version


def _is_mixture(given: Mapping[Any, Any]) -> bool:
    mode = given.get("mode")
    return isinstance(mode, str) and mode == MIXTURE


def _parts(given: Mapping[Any, Any]) -> dict[str, Mapping[str, Any]]:
    """The entries of each part, by name; of a single source, under no name."""
    if not _is_mixture(given):
        _check_names(given, {**dict.fromkeys(_PART), **dict.fromkeys(_RUN)}, ())
        return {"": given}
    _check_names(given, _RUN, ("lead", "parts"))
    parts = given["parts"]
    if not isinstance(parts, Mapping):
        raise StateError(f"the state's parts are {_shown(parts)}, not a dict.", hint=_DAMAGED)
    for part in parts.values():
        _check_names(_entries(part), _PART, ())
    return {str(name): part for name, part in parts.items()}


def _check_names(given: Mapping[Any, Any], names: Sequence[str] | Mapping[str, Any], more: Sequence[str]) -> None:
    """Raise StateError where entries are missing, or unknown."""
    missing = [name for name in (*names, *more) if name not in given]
    if missing:
        raise StateError(f"the state lacks {', '.join(missing)}.", hint="Give what state_dict() returned, whole.")
    unknown = sorted(_shown(name) for name in given if name not in names and name not in more)
    if unknown:
        raise StateError(
            f"the state has entries that are not known here: {', '.join(unknown[:5])}.", hint="It may come from a newer streamload."
        )


def _check_same(given: Mapping[str, Any], name: str, ours: str | int, where: str = "") -> None:
    """Raise StateError where an entry is not what this run has."""
    value = given[name]
    same = _index(value) == ours if isinstance(ours, int) else isinstance(value, str) and value == ours
    if not same:
        raise _different(_MEANINGS.get(name, name) + where, value, ours, _REMEDIES[name], name)


def _different(meaning: str, value: object, ours: object, hint: str, name: str) -> StateError:
    return StateError(
        f"the state belongs to other data or another loader: its {meaning} is {_shown(value)}, and here it is {ours}.",
        hint=hint,
        difference=name,
    )


_MEANINGS = {
    "order_version": "version of the record order",
    "mode": "kind of order",
    "order": "order (cuts, windows, subset)",
    "schema": "digest of the fields (names, dtypes, shapes)",
    "lanes": "number of lanes",
}
_REMEDIES = {
    "order_version": "Finish the epoch with the version that wrote it, or begin anew.",
    "seed": "Resume with the same seed.",
    "mode": "Resume with the same shuffle=.",
    "order": "Resume with the same data, shuffle=, window and indices=.",
    "lanes": "Resume with the same shuffle=Block(lanes=...), or leave lanes out.",
    "schema": "Resume with the data that it was written for.",
}


def _number(given: Mapping[str, Any], name: str, *, least: int, most: int) -> int:
    """A whole number, of any kind that counts as one. Raises StateError for any other value."""
    value = _index(given[name])
    if value is None or not least <= value <= most:
        raise StateError(
            f"the state's {name.replace('_', ' ')} is {_shown(given[name])}, which is not a whole number from {least:,} to {most:,}.",
            hint=_DAMAGED,
        )
    return value


def _index(value: object) -> int | None:
    """The whole number that a value is; None for what is none: a truth value is not."""
    if isinstance(value, bool) or str(getattr(value, "dtype", "")).endswith("bool"):
        return None
    try:
        return operator.index(cast(Any, value))
    except Exception:  # Whatever a value of somebody else's class makes of being asked.
        return None


def _digest(given: Mapping[str, Any], name: str) -> str | None:
    """Sixteen hexadecimal digits, or None where nobody took a digest. Raises StateError for any other value."""
    value = given[name]
    if value is None or (isinstance(value, str) and re.fullmatch(r"[0-9a-f]{16}", value)):
        return None if value is None else str(value)
    raise StateError(f"the state's {name} is {_shown(value)}, which is no digest of 16 hexadecimal digits.", hint=_DAMAGED)


def _shown(value: object) -> str:
    """A value as text for an error, whatever it is: Python refuses to write out very long integers."""
    try:
        text = str(value)[:60]
        return text if text.isprintable() else repr(text)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"
