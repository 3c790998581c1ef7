"""streamload: a loader over the file, settled before the first pass is timed."""

from __future__ import annotations

import itertools
import time
import warnings
from typing import Any

import numpy as np

import streamload as sl
from streamload.tools.benchmark.measure_epoch import open_options
from streamload.tools.benchmark.peers.serving import Clock, Config, Sink
from streamload.tools.chain_file import chain_in, first_augment, of_images_alone


def wait_until_quiet(loader: sl.Loader) -> None:
    """Until the workers read nothing more: every slot is full, and no page comes into the cache behind the clock's back."""
    before = -1
    while before != (now := loader.stats.read_nbytes):
        before = now
        time.sleep(0.2)


def make(config: Config) -> Any:
    """A loader that has handed out `settle` epochs (0: one batch, after which it begins anew); augmented, where a chain is named.

    Each pass is one epoch by itself: nothing is prepared before the clock starts, and nothing ahead of its end.
    """
    warnings.simplefilter("ignore")  # small windows are meant here
    loader, data = _loader_of(config)
    image, label = (config.get("called", {}).get(name, name) for name in ("image", "label"))
    labelled = label in data.schema.names
    sink = Sink(config["batch"], loader.schema[image].nbytes)
    numbers = itertools.count()
    consume = config.get("consume", True)
    begin = loader.state_dict()

    def one_pass(request: Config) -> dict[str, Any]:
        number = next(numbers)
        clock = Clock(sink, request)
        steps = 0
        for epoch in loader.epochs(number + 1):
            for batch in epoch:
                steps += 1
                if consume:
                    sink.take(batch[image], batch[label] if labelled else None)
        if not consume:
            sink.records, sink.nbytes = len(data), len(data) * data.schema[image].nbytes
        done = clock.stop(steps=steps)
        done["extra"]["verdict"] = str(loader.stats)
        return done

    if config.get("settle", 1):
        for _ in range(config.get("settle", 1)):
            one_pass({})
    else:
        next(iter(loader))
        loader.load_state_dict(begin)
        wait_until_quiet(loader)
    return one_pass


def _loader_of(config: Config) -> tuple[sl.Loader, sl.Source]:
    names, called = config.get("names", {"image": "image", "label": "label"}), config.get("called", {})
    fields = {called.get(name, name): stored for name, stored in names.items() if config.get("pairs") or name == "image"}
    data = sl.open(config["path"], fields=fields, **open_options(config))
    order = {"exact": sl.Exact, "block": sl.Block, "sequential": sl.Sequential}[config.get("order", "exact")]
    shuffle = order(window=config["window"]) if "window" in config else order()
    loader = sl.Loader(
        data,
        batch_size=config["batch"],
        shuffle=shuffle,
        num_workers=config["workers"],
        memory=config.get("memory"),
        io=config.get("io", "auto"),
        indices=np.arange(config["records"]) if config.get("records", len(data)) < len(data) else None,
        augment=of_images_alone(first_augment(chain_in(config["chain"])), called.get("image", "image")) if "chain" in config else None,
    )
    return loader, data
