"""Epochs of one rank, of weighted draws or of a mixture, with public names alone: any commit that knows these can be set beside this one.

Run as a script, with the tree that holds `streamload` first on PYTHONPATH: the configuration, then one line of standard input a pass.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import streamload as sl


def loader_of(config: dict[str, Any]) -> sl.Loader:
    """The loader that the configuration says; a newer argument is given only where it is asked for."""
    asked: dict[str, Any] = {
        "num_workers": config["workers"],
        "seed": 0,
        "shuffle": sl.Block(window=config["window"]) if "window" in config else sl.Exact(),
    }
    sources = [sl.open(path, fields=["image"]) for path in config["paths"]]
    if config.get("cold"):
        asked["io"] = "read"  # Pages that are mapped cannot be dropped.
    if config.get("ranks", 1) > 1:
        asked["distributed"] = (config["rank"], config["ranks"])
    if config.get("weighted"):
        asked["weights"] = 1.0 + np.arange(len(sources[0])) % 7
    if len(sources) == 1:
        return sl.Loader(sources[0], batch_size=config["batch"], **asked)
    mixed = sl.mix({f"part{k}": (one, config["batch"] // len(sources)) for k, one in enumerate(sources)})
    return sl.Loader(mixed, batch_size=config["batch"], **asked)


def processor_seconds(loader: sl.Loader) -> float:
    """Processor time of this process and of the loader's workers until now."""
    workers_ns = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in loader.worker_pids)
    return time.process_time() + workers_ns / 1e9


def one_pass(loader: sl.Loader, stop: int, out: Any) -> dict[str, Any]:
    """The epochs up to `stop`, every batch of which is copied into one buffer, as a copy to a device would be."""
    records = 0
    cpu, began = processor_seconds(loader), time.perf_counter()
    for batches in loader.epochs(stop):
        for batch in batches:
            images = batch["image"]
            out[: len(images)] = images
            records += len(images)
    seconds = time.perf_counter() - began
    cpu = processor_seconds(loader) - cpu
    return {"seconds": seconds, "records": records, "nbytes": records * out[0].nbytes, "cpu_seconds": cpu}


def main() -> None:
    """Two passes that settle it, and then one a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")  # small windows are meant here
    config = json.loads(sys.stdin.readline())
    loader = loader_of(config)
    out = np.ones((config["batch"], *sl.open(config["paths"][0], fields=["image"]).schema["image"].shape), np.uint8)
    epochs = config.get("epochs", 1)
    one_pass(loader, epochs, out)
    while len(loader.worker_pids) < config["workers"]:
        time.sleep(0.01)
    one_pass(loader, 2 * epochs, out)
    answers.write(json.dumps({"package": os.path.dirname(os.path.dirname(sl.__file__))}) + "\n")
    answers.flush()
    for number, _ in enumerate(sys.stdin, start=3):
        answers.write(json.dumps(one_pass(loader, number * epochs, out)) + "\n")
        answers.flush()
    loader.close()


if __name__ == "__main__":
    main()
