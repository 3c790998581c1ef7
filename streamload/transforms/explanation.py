"""What was drawn for a record, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from streamload.transforms.draws import record_words
from streamload.transforms.planning import AugmentPlan
from streamload.transforms.stage import Sizes


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """What one operation did to one record."""

    field: str
    """The image field."""
    view: int
    crop: int
    operation: str
    depth: int
    """In how many other operations it stands."""
    applied: bool
    """Whether it did anything: not where its chance said no, or another was chosen."""
    values: dict[str, Any]
    """What was drawn, by name."""

    def __str__(self) -> str:
        drawn = ", ".join(f"{name} {_shown(value)}" for name, value in self.values.items()) if self.applied else "not applied"
        return f"{'  ' * self.depth}{self.operation}" + (f": {drawn}" if drawn else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """All that was drawn for a record in an epoch; `print` it, or iterate over its operations."""

    epoch: int
    record: int
    operations: tuple[Explained, ...]

    def __iter__(self) -> Iterator[Explained]:
        return iter(self.operations)

    def __len__(self) -> int:
        return len(self.operations)

    def __str__(self) -> str:
        lines, before = [f"record {self.record:,} in epoch {self.epoch}"], ()
        for one in self.operations:
            heading = (one.field, one.view, one.crop)
            if heading != before:
                before = heading
                several = [f"{name} {number}" for name, number in (("view", one.view), ("crop", one.crop)) if number]
                lines.append(" · ".join([f"  '{one.field}'", *several]))
            lines.append(f"    {one}")
        return "\n".join(lines)


def explain(plans: Sequence[AugmentPlan], *, seed: int, epoch: int, record: int, sizes: Mapping[str, Sizes] | None = None) -> Explanation:
    """What the plans draw for a record; `sizes` is of its first image of plans whose images differ."""
    found: list[Explained] = []
    for plan in plans:
        for view in range(plan.augment.views):
            for crop in range(plan.augment.crops):
                size = (sizes or {}).get(plan.images[0].name)
                chain = plan.chain(record_words(seed, epoch), np.array([record]), sizes=size, view=view, crop=crop)
                found += [
                    Explained(
                        field=plan.images[0].name,
                        view=view,
                        crop=crop,
                        operation=one.operation,
                        depth=one.depth,
                        applied=one.where is None or bool(one.where[0]),
                        values={name: _plain(value) for name, value in one.values.items()},
                    )
                    for one in chain.drawn
                ]
    return Explanation(epoch=epoch, record=record, operations=tuple(found))


def _plain(value: Any) -> Any:
    """The value of the one record there is, as plain Python has it."""
    return value[0].tolist() if isinstance(value, np.ndarray) else value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"
    if isinstance(value, (list, tuple)):
        return "(" + ", ".join(map(_shown, value)) + ")"
    return str(value)
