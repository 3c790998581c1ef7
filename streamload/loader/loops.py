"""Loops over several passes: epochs up to a number, and steps through epochs."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from streamload.errors import ConfigError
from streamload.loader.batch import Batch
from streamload.loader.delivery import Delivery
from streamload.loader.epoch import Epoch


def epochs_until(delivery: Delivery, stop: int) -> Iterator[Epoch]:
    """Epochs from where the loader stands up to `stop`, each begun when it is reached; warns where there are none."""
    plan, standing = delivery.plan, delivery.standing
    at = standing.onward(plan.end)
    if at[0] >= stop > 0:
        warnings.warn(_no_epochs(delivery, stop, at[0]), stacklevel=2)
    while at[0] < stop:
        epoch = Epoch(delivery, length=plan.steps)
        delivery.begin(epoch, at, stop)
        yield epoch
        # The loop itself says which epoch is next, unless the loader was moved meanwhile.
        standing.asked = None
        at = standing.at if standing.moved else (at[0] + 1, 0)


def steps_until(delivery: Delivery, stop: int) -> Iterator[Batch]:
    """Batches from where the loader stands up to step `stop`, counted through epochs; warns where there are none."""
    plan, standing = delivery.plan, delivery.standing
    if stop and not plan.steps:
        what = f"{plan.order.n:,} records in batches of {plan.batch_size:,}"
        raise ConfigError(f"steps({stop}) of a loader that has none: {what}.", hint="Look at the data, at indices= and drop_last=.")
    at = standing.onward(plan.end)
    done = plan.total_step(at)
    if done >= stop > 0:
        where = f"{done:,} of {stop:,}" if done == stop else f"{done:,}, beyond steps({stop})"
        warnings.warn(f"The loader stands after step {where}: nothing is left; steps({done + stop}) goes on.", stacklevel=2)
    while plan.total_step(at) < stop:
        epoch = Epoch(delivery, length=plan.steps)
        delivery.begin(epoch, at, -(-stop // plan.steps))
        for batch in epoch:
            yield batch
            if standing.moved or plan.total_step(standing.at) >= stop:
                break
        standing.asked = None
        at = standing.onward(plan.end)


def _no_epochs(delivery: Delivery, stop: int, next_epoch: int) -> str:
    """What a loop over epochs says where there is none before `stop` any more."""
    plan, (epoch, position) = delivery.plan, delivery.standing.at
    more = f"nothing is left; epochs({next_epoch + stop}) goes on."
    if position >= plan.end > 0 and epoch == stop - 1:
        return f"The loader stands at the end of epoch {epoch:,} of {stop:,}: {more}"
    step = plan.total_step((0, position))
    where = "the beginning" if not step else "the end" if position >= plan.end else f"step {step:,}"
    return f"The loader stands at {where} of epoch {epoch:,}, beyond epochs({stop}): {more}"
