"""All that a loader was asked to do with records and batches before they are delivered, bound to what is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from streamload.errors import ConfigError
from streamload.schema import Schema
from streamload.transforms.augment import Augment
from streamload.transforms.images import StoredImage, guess_layout
from streamload.transforms.operations.batch import BatchOperation, CutMix, MixUp, mixing
from streamload.transforms.operations.policies import RandomChoice
from streamload.transforms.planning import AugmentPlan


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """What is done with records, then with batches."""

    plans: tuple[AugmentPlan, ...]
    """Of records."""
    batch: tuple[BatchOperation | RandomChoice, ...]
    """Of whole batches, after that."""
    schema: Schema
    """The fields of a record once all is done."""
    labels: frozenset[str]
    """Fields whose stored numbers become shares of classes."""
    layouts: dict[str, str]
    """Orders of axes of images that are mixed, as they come out."""

    def __str__(self) -> str:
        return " · ".join(map(repr, (*(plan.augment for plan in self.plans), *self.batch)))

    @property
    def kernels(self) -> tuple[str, ...]:
        """All kernels that it takes."""
        of_batches = {"mix_rows"} if self.batch else set[str]()
        return tuple(sorted(of_batches.union(*(plan.kernels for plan in self.plans))))

    @property
    def planes_nbytes(self) -> int:
        """Memory of one process for the planes of a record between two steps."""
        return max((plan.planes_nbytes for plan in self.plans), default=0)

    @property
    def fields(self) -> frozenset[str]:
        """Fields whose stored form is not what is delivered, or that are changed on the way: images, masks, boxes, points, labels."""
        moved = {name for plan in self.plans for name in (*plan.augment.boxes, *plan.augment.keypoints)}
        pictures = {image.name for plan in self.plans for image in (*plan.images, *plan.masks)}
        return frozenset(moved | pictures | self.labels)


def augmentation_of(given: object, schema: Schema, encoded: Mapping[str, StoredImage] | None = None) -> Augmentation:
    """What `augment=` asks for, bound to what is stored, `encoded` images among it. Raises ConfigError for what it cannot be."""
    listed = () if given is None else tuple(given) if isinstance(given, (list, tuple)) else (given,)
    plans: list[AugmentPlan] = []
    batch: list[BatchOperation | RandomChoice] = []
    for one in listed:
        if isinstance(one, BatchOperation) or (isinstance(one, RandomChoice) and one.of_batches):
            batch.append(one)
        elif isinstance(one, Augment) and not batch:
            _check_apart(one, plans)
            plans.append(AugmentPlan.of(one, schema, number=len(plans), encoded=encoded))
        else:
            why = "stands after operations on batches" if isinstance(one, Augment) else "is no augmentation"
            hint = 'Give augment=sl.Augment("image", ...), or a list: Augments first, then MixUp, CutMix, OneHot.'
            raise ConfigError(f"augment={one!r} {why}.", hint=hint)
    delivered = schema
    for plan in plans:
        delivered = plan.delivered(delivered)
    layouts, before = {name.name: plan.out.layout for plan in plans for name in plan.images}, delivered
    for operation in batch:
        delivered = operation.delivered(delivered)
        for one in mixing(operation):
            _check_alone(one, plans)
            if isinstance(one, CutMix) and one.images not in layouts:
                layouts[one.images] = guess_layout(one.images, delivered[one.images].shape)
    labels = frozenset(field.name for field in before if delivered[field.name] != field)
    return Augmentation(plans=tuple(plans), batch=tuple(batch), schema=delivered, labels=labels, layouts=layouts)


def _check_apart(augment: Augment, plans: Sequence[AugmentPlan]) -> None:
    """Raise ConfigError where a field is in another Augment already: each begins with what is stored, and the last would count."""
    taken = {name for plan in plans for name in plan.augment.every_field}
    both = [name for name in augment.every_field if name in taken]
    if both:
        raise ConfigError(
            f"field '{both[0]}' is in two Augments, and each begins with what is stored.",
            hint="Put all of its operations into one Augment.",
        )


def _check_alone(operation: MixUp | CutMix, plans: Sequence[AugmentPlan]) -> None:
    """Raise ConfigError where something moves along with the images that are mixed: it would be that of one record."""
    for augment in (plan.augment for plan in plans if operation.images in [image.name for image in plan.images]):
        along = [f"{kind} '{name}'" for kind in ("masks", "boxes", "keypoints") for name in getattr(augment, kind)]
        if along:
            raise ConfigError(
                f"{type(operation).__name__} mixes '{operation.images}' of two records, and {', '.join(along)} would still be of one.",
                hint="Leave it out, or mix all of them in a batch_transform= of your own; labels alone are mixed here.",
            )
