"""Operations that choose among others: some of the time, one of several, RandAugment and TrivialAugment.

Where they choose geometry and colour, all geometry of the chain runs first: on bytes, resampling once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.schema import Schema
from streamload.transforms.chain import COLOR, GEOMETRY, NORMALIZE, Chain, Operation, is_operation
from streamload.transforms.operations.affine import free_map, interpolation_of, inverse_map
from streamload.transforms.operations.arguments import chance_of, fill_of, number, refuse, whole
from streamload.transforms.operations.batch import BatchOperation, WholeBatch
from streamload.transforms.operations.color import check_channels
from streamload.transforms.operations.curves import add_curve, posterized, solarized

GEOMETRIC = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
FACTORS = {"Brightness": "brightness", "Color": "saturation", "Contrast": "contrast", "Sharpness": "sharpness"}
CHOICES = ("Identity", *GEOMETRIC, *FACTORS, "Posterize", "Solarize", "AutoContrast", "Equalize")
MOST_OPS = 1000
"""Operations of a record: further ones would take more draws than one operation has."""
SIGNED = (*GEOMETRIC, *FACTORS)


def operations_of(policy: object, given: Any) -> tuple[Operation, ...]:
    """The operations to choose from."""
    found: Any = tuple(given) if isinstance(given, (list, tuple)) else ()
    if found and isinstance(policy, RandomChoice) and all(isinstance(one, BatchOperation) for one in found):
        return found
    if not found or not all(map(is_operation, found)):
        raise refuse(policy, "transforms", given, "are no operations", "Give a list of operations of sl.augment.")
    if any(getattr(one, "crops", 1) > 1 for one in found):
        raise refuse(policy, "transforms", given, "hold FiveCrop, which every record needs", "Put it into the chain itself.")
    # A rectangle is erased of some records; all of them are normalised, or none.
    late = [one for one in found if one.phases[1] > COLOR and not (isinstance(policy, RandomApply) and one.phases[0] != NORMALIZE)]
    if late:
        raise refuse(policy, "transforms", given, "hold Normalize or RandomErasing", "Put them at the end of the chain.")
    return found


def phases_of(operations: Sequence[Operation]) -> tuple[int, int]:
    """The first and the last phase of several operations."""
    return min(one.phases[0] for one in operations), max(one.phases[1] for one in operations)


@dataclass(frozen=True, slots=True)
class RandomApply:
    """Some operations, all or none of them, with a chance of `p`."""

    transforms: Any
    """A list of operations."""
    p: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", operations_of(self, self.transforms))
        chance_of(self, self.p)

    @property
    def phases(self) -> tuple[int, int]:
        """Those of the operations."""
        return phases_of(self.transforms)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        where = chain.chance(self.p)
        chain.note(where)
        with chain.only(where):
            chain.run(self.transforms)


@dataclass(frozen=True, slots=True)
class RandomChoice:
    """One of several operations; of operations on batches, such as `MixUp` and `CutMix`, one for each batch."""

    transforms: Any
    """A list of operations."""
    p: Any = None
    """The weight of each; None: all alike."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", operations_of(self, self.transforms))
        weights: Any = self.p
        if weights is not None:
            given = isinstance(weights, (list, tuple)) and all(number(one) and one >= 0 for one in weights)
            if not given or len(weights) != len(self.transforms) or not 0 < sum(weights) < np.inf:
                hint = "Give a number from 0 up for each operation."
                raise refuse(self, "p", weights, f"are no weights of {len(self.transforms)} operations", hint)
            object.__setattr__(self, "p", tuple(map(float, weights)))

    @property
    def phases(self) -> tuple[int, int]:
        """Those of the operations."""
        if self.of_batches:
            raise ConfigError(
                "RandomChoice of batches stands in a chain of records.", hint="Put it after: augment=[Augment(...), RandomChoice([...])]."
            )
        return phases_of(self.transforms)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        weights = np.cumsum(self.p or [1.0] * len(self.transforms))
        chosen = np.searchsorted(weights, chain.draws.fractions(1)[0] * weights[-1], side="right")
        chosen = np.minimum(chosen, len(self.transforms) - 1)
        chain.note(transform=np.array([type(one).__name__ for one in self.transforms])[chosen])
        before, sizes = chain.placement.known, list[Any]()
        for number_of, operation in enumerate(self.transforms):
            chain.placement.known = before
            with chain.only(chosen == number_of):
                chain.run([operation])
                sizes.append(chain.placement.known)
        chain.placement.known = sizes[0] if len(set(sizes)) == 1 else None

    @property
    def of_batches(self) -> bool:
        """Whether it chooses among operations on batches."""
        return isinstance(self.transforms[0], BatchOperation)

    def delivered(self, schema: Schema) -> Schema:
        """The fields of a batch after it, which are the same whichever is chosen. For operations on batches alone."""
        found = {one.delivered(schema) for one in self.transforms}
        if len(found) > 1:
            raise ConfigError("RandomChoice: its operations give batches different fields.", hint="Give each the same num_classes.")
        return found.pop()

    def run(self, batch: WholeBatch) -> None:
        """Choose one for the batch. For operations on batches alone."""
        weights = np.array(self.p or [1.0] * len(self.transforms))
        self.transforms[batch.generator.choice(len(self.transforms), p=weights / weights.sum())].run(batch)


@dataclass(frozen=True, kw_only=True, slots=True)
class Space:
    """How far each choice of a policy goes, at its largest magnitude."""

    shear: float
    """Along an axis, as a tangent."""
    shift: float
    """As a share of width or height, or in pixels where it is above 1."""
    degrees: float
    factor: float
    """Added to 1 or taken from it."""
    bits: int
    """Bits that posterising may take away."""


WIDE, USUAL = (
    Space(shear=0.99, shift=32.0, degrees=135.0, factor=0.99, bits=6),
    Space(shear=0.3, shift=150.0 / 331.0, degrees=30.0, factor=0.9, bits=4),
)


def choose(
    chain: Chain,
    chosen: NDArray[np.int64],
    level: NDArray[np.float64],
    sign: NDArray[np.int64],
    space: Space,
    *,
    fill: Any,
    interpolation: str,
) -> None:
    """Add, for each record, the choice of its number at its level: a share of the largest magnitude, and a sign."""
    height, width = chain.sizes
    signed = level * sign
    name = np.array(CHOICES)[chosen]
    moved = np.isin(name, GEOMETRIC)

    def of(choice: str, value: Any) -> NDArray[np.float64]:
        return np.where(name == choice, value, 0.0)

    across, down = (space.shift, space.shift) if space.shift > 1 else (space.shift * width, space.shift * height)
    shear_x, shear_y = (np.degrees(np.arctan(of(one, space.shear * signed))) for one in ("ShearX", "ShearY"))
    shift = np.trunc(of("TranslateX", across * signed)), np.trunc(of("TranslateY", down * signed))
    sheared = (name == "ShearX") | (name == "ShearY")
    corner = np.where(sheared, -width * 0.5, 0.0), np.where(sheared, -height * 0.5, 0.0)
    angle = of("Rotate", -space.degrees * signed)
    with chain.only(moved):
        inverse = inverse_map(angle=angle, shift=shift, scale=np.ones(1), shear=(shear_x, shear_y), center=corner)
        free_map(chain, inverse, fill, interpolation)
    for choice, kernel in FACTORS.items():
        if chain.channels == 3 or choice != "Color":
            chain.color(kernel, 1.0 + space.factor * signed, where=name == choice)
    bits = 8 - np.rint(space.bits * level).astype(np.int64)
    curved = (name == "Posterize") | (name == "Solarize")
    curve = np.where((name == "Posterize")[:, None], posterized(bits), solarized(255.0 * (1.0 - level)))
    with chain.only(curved):
        add_curve(chain, curve, chain.where)
    chain.color("autocontrast", where=name == "AutoContrast")
    chain.color("equalize", where=name == "Equalize")
    shown = np.where(np.isin(name, SIGNED), signed, level)
    chain.note(choice=name, level=shown)


class Policy(ABC):
    """A base for policies: dataclasses that have these members."""

    __slots__ = ()
    num_magnitude_bins: int
    interpolation: str
    fill: Any
    p: float

    def __post_init__(self) -> None:
        chance_of(self, self.p)
        if not whole(self.num_magnitude_bins) or self.num_magnitude_bins < 2:
            raise refuse(self, "num_magnitude_bins", self.num_magnitude_bins, "is no number of steps", "Give a whole number from 2 up.")
        interpolation_of(self, self.interpolation)
        fill_of(self, self.fill)

    def apply(self, chain: Chain) -> None:
        """See `Operation.apply`."""
        check_channels(self, chain, 1, 3)
        if chain.placement.known is None:
            raise ConfigError(
                f"{type(self).__name__} works on images of one size, and they have several there.", hint="Crop or resize to a size first."
            )
        with chain.only(chain.chance(self.p)):
            self._apply(chain)

    @abstractmethod
    def _apply(self, chain: Chain) -> None: ...


@dataclass(frozen=True, slots=True)
class RandAugment(Policy):
    """A few operations out of fourteen, each at one magnitude. Two free maps in a row resample twice, as in torchvision."""

    num_ops: int = 2
    """How many operations, one after the other."""
    magnitude: int = 9
    """How far each goes, in steps of 1 / (`num_magnitude_bins` - 1) of the most."""
    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    """"nearest" or "bilinear", of free maps."""
    fill: Any = None
    """The level outside, or one for each channel; None is 0."""
    p: float = 1.0
    """The chance that it is done."""
    phases = (GEOMETRY, COLOR)

    def __post_init__(self) -> None:
        Policy.__post_init__(self)
        if not whole(self.num_ops) or not 0 <= self.num_ops <= MOST_OPS:
            hint = f"Give a whole number from 0 to {MOST_OPS:,}."
            raise refuse(self, "num_ops", self.num_ops, "is no number of operations", hint)
        if not whole(self.magnitude) or not 0 <= self.magnitude < self.num_magnitude_bins:
            hint = f"Give a whole number from 0 to {self.num_magnitude_bins - 1}."
            raise refuse(self, "magnitude", self.magnitude, "is out of range", hint)

    def _apply(self, chain: Chain) -> None:
        for _ in range(self.num_ops):
            chosen, sign = chain.draws.below(len(CHOICES)), chain.draws.below(2) * 2 - 1
            level = np.full(len(chosen), self.magnitude / (self.num_magnitude_bins - 1))
            choose(chain, chosen, level, sign, USUAL, fill=self.fill, interpolation=self.interpolation)


@dataclass(frozen=True, slots=True)
class TrivialAugmentWide(Policy):
    """One operation out of fourteen, at a random magnitude."""

    num_magnitude_bins: int = 31
    interpolation: str = "nearest"
    """"nearest" or "bilinear", of free maps."""
    fill: Any = None
    """The level outside, or one for each channel; None is 0."""
    p: float = 1.0
    """The chance that it is done."""
    phases = (GEOMETRY, COLOR)

    def _apply(self, chain: Chain) -> None:
        chosen, sign = chain.draws.below(len(CHOICES)), chain.draws.below(2) * 2 - 1
        level = chain.draws.below(self.num_magnitude_bins) / (self.num_magnitude_bins - 1)
        choose(chain, chosen, level, sign, WIDE, fill=self.fill, interpolation=self.interpolation)
