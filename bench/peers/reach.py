"""Opens data of any size, starts, goes to its middle, takes some steps: what each costs, and what is held. Not a contender: run once."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings

import streamload as sl
from streamload.kernels import compile_kernels
from streamload.tools.benchmark.memory_usage import held


def main() -> None:
    """The standard input is a configuration: paths, batch, workers, order, window, steps, open. Answers with one line of JSON."""
    warnings.simplefilter("ignore")
    config = json.loads(sys.stdin.read())
    compile_kernels()
    began = time.perf_counter()
    data = sl.open(config["paths"][0] if len(config["paths"]) == 1 else config["paths"], **config.get("open", {}))
    opened = time.perf_counter()
    order = sl.Block(config["window"]) if config.get("window") else sl.Block() if config["order"] == "block" else sl.Exact()
    loader = sl.Loader(
        data, batch_size=config["batch"], shuffle=order, num_workers=config["workers"], memory=config.get("memory"), io="read"
    )
    batches = iter(loader)
    next(batches)
    started = time.perf_counter()
    state = {**loader.state_dict(), "position": len(loader) // 2 * config["batch"], "step": len(loader) // 2}
    loader.load_state_dict(state)
    asked = time.perf_counter()
    batches = iter(loader)
    next(batches)
    came = time.perf_counter()
    records = 0
    for _ in range(config["steps"]):
        batch = next(batches, None)
        if batch is None:
            break
        records += len(batch.records)
    ended = time.perf_counter()
    now, budgeted = held(os.getpid()), loader.footprint().total
    loader.close()
    found = {
        "open": opened - began,
        "start": started - opened,
        "seek": came - asked,
        "record": (ended - came) / records if records else 0.0,
        "held": now.own_nbytes,
        "budgeted": budgeted,
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
