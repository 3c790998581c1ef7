"""The other end of a contender: makes a pass when told to, and the consumer that all peers share."""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Config = dict[str, Any]


class Sink:
    """The consumer: copies the images of every batch into one buffer, as a copy to a device would, and its labels into another."""

    def __init__(self, batch_size: int, record_nbytes: int) -> None:
        self._images = np.ones((batch_size, record_nbytes), np.uint8)
        self._labels = np.ones(batch_size, np.int64)
        self.records = 0
        self.nbytes = 0
        self.seen: list[list[int]] | None = None
        """The numbers that stand in the first 8 bytes of the records of each batch, where a pass asks for them."""

    def take(self, images: NDArray[Any], labels: NDArray[Any] | None = None) -> None:
        """Copy one batch; images of shape (records, ...), of any type, labels of shape (records,)."""
        count = len(images)
        flat = np.asarray(images).reshape(count, -1)
        self._images[:count] = flat if flat.dtype == np.uint8 else flat.view(np.uint8)
        if self.seen is not None:
            self.seen.append(self._images[:count, :8].copy().view(np.int64)[:, 0].tolist())
        if labels is not None:
            self._labels[:count] = labels
        self.records += count
        self.nbytes += count * self._images.shape[1]


class Clock:
    """Takes the time of one pass, and the order of its records where the request says `watch`."""

    def __init__(self, sink: Sink, request: Config) -> None:
        self._sink = sink
        sink.records = sink.nbytes = 0
        sink.seen = [] if request.get("watch") else None
        self._cpu = time.process_time()
        self._began = time.perf_counter()

    def stop(self, **extra: Any) -> dict[str, Any]:
        """The figures of the pass that just ended."""
        seconds, cpu = time.perf_counter() - self._began, time.process_time() - self._cpu
        if self._sink.seen is not None:
            extra["seen"] = self._sink.seen
        return {"seconds": seconds, "records": self._sink.records, "nbytes": self._sink.nbytes, "cpu_seconds": cpu, "extra": extra}


Batches = Iterator[tuple[NDArray[Any], NDArray[Any]]]


def passing(batches: Callable[[int], Batches], config: Config, *, record_nbytes: int, **about: Any) -> Peer:
    """A peer that hands out (images, labels) batch by batch: `batches(epoch)` begins an epoch. One pass settles it."""
    sink, epochs = Sink(config["batch"], record_nbytes), itertools.count()

    def one_pass(request: Config) -> dict[str, Any]:
        clock = Clock(sink, request)
        for images, labels in batches(next(epochs)):
            sink.take(images, labels)
        return clock.stop()

    for _ in range(config.get("settle", 1)):
        one_pass({})
    return Peer(one_pass, about)


class Peer(NamedTuple):
    """A contender that is ready."""

    one_pass: Callable[[Config], dict[str, Any]]
    """Makes a pass, and returns its figures."""
    about: dict[str, Any]
    """What is worth knowing of it: its order, what its own format took to write."""


PACKAGES = {"streaming": "mosaicml-streaming", "tensorflow": "tensorflow-cpu"}
"""What to install, where a module is called otherwise than its package."""


def missing_module(error: ModuleNotFoundError) -> str:
    """Which module is missing, and the line that installs it."""
    module = (error.name or "").partition(".")[0]
    return f"{error.name} is not installed (pip install {PACKAGES.get(module, module)})"


class NoCounterpart(Exception):
    """What is to be compared does not exist in a library; the text says what."""


def serve(make: Callable[[Config], Any], configuration: str) -> None:
    """Make a peer from its configuration, in JSON, then a pass for every line of standard input.

    Answers go to the standard output that the process was started with; what libraries print goes to standard error.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        peer = make(json.loads(configuration))
    except ImportError as error:
        missing = missing_module(error) if isinstance(error, ModuleNotFoundError) else f"it cannot be imported here ({error})"
        answers.write(json.dumps({"missing": missing}) + "\n")
        answers.flush()
        return
    except NoCounterpart as lacking:
        answers.write(json.dumps({"missing": str(lacking)}) + "\n")
        answers.flush()
        return
    one_pass, about = peer if isinstance(peer, Peer) else (peer, {})
    answers.write(json.dumps({"ready": True, **about}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps(one_pass(json.loads(line))) + "\n")
        answers.flush()
