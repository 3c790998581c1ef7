"""The loops `Loader.epochs` and `Loader.steps`, which go through several epochs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from streamload.errors import ConfigError
from streamload.loader.batch import Batch
from streamload.loader.delivery import Delivery
from streamload.loader.epoch import Epoch


def epochs_until(delivery: Delivery, stop: int) -> Iterator[Epoch]:
    """The epochs before number `stop`, from the loader's position on. Warns if there are none."""
    progress = delivery.progress
    at = progress.onward()
    if at.epoch >= stop > 0:
        warnings.warn(_no_epochs(delivery, stop, at.epoch), stacklevel=2)
    while at.epoch < stop:
        epoch = Epoch(delivery, length=delivery.plan.steps)
        delivery.begin(epoch, at, stop)
        yield epoch
        # This loop decides which epoch is next, unless the loader was moved meanwhile.
        progress.asked = None
        at = progress.at if progress.moved else progress.following(progress.at if progress.at.epoch == at.epoch else at)


def steps_until(delivery: Delivery, stop: int) -> Iterator[Batch]:
    """The batches of the steps before number `stop`, counted through epochs, from the loader's position on. Warns if there are none.

    Raises ConfigError for a loader whose epochs have no steps.
    """
    progress = delivery.progress
    if stop and not delivery.plan.steps:
        what = f"{delivery.plan.n:,} records in batches of {delivery.plan.batch_size:,}"
        raise ConfigError(f"steps({stop}) of a loader that has none: {what}.", hint="Look at the data, at indices= and drop_last=.")
    at = progress.onward()
    done = at.total_step
    if done >= stop > 0:
        where = f"{done:,} of {stop:,}" if done == stop else f"{done:,}, beyond steps({stop})"
        warnings.warn(f"The loader stands after step {where}: nothing is left; steps({done + stop}) goes on.", stacklevel=2)
    while at.total_step < stop:
        epoch = Epoch(delivery, length=delivery.plan.steps)
        beyond = max(0, stop - at.total_step - progress.steps.left(at))
        delivery.begin(epoch, at, at.epoch + 1 - (-beyond // delivery.plan.steps))
        for batch in epoch:
            yield batch
            if progress.moved or progress.at.total_step >= stop:
                break
        progress.asked = None
        at = progress.onward()


def _no_epochs(delivery: Delivery, stop: int, next_epoch: int) -> str:
    """The warning of `epochs_until` if no epoch is left before `stop`."""
    progress = delivery.progress
    epoch, step = progress.at.epoch, progress.at.step
    more = f"nothing is left; epochs({next_epoch + stop}) goes on."
    ended = progress.finished and delivery.plan.steps > 0
    if ended and epoch == stop - 1:
        return f"The loader stands at the end of epoch {epoch:,} of {stop:,}: {more}"
    where = "the beginning" if not step else "the end" if ended else f"step {step:,}"
    return f"The loader stands at {where} of epoch {epoch:,}, beyond epochs({stop}): {more}"
