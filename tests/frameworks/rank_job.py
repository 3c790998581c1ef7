"""What one rank of a job does in the tests: goes through an epoch, and says which records counted in how many steps."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import streamload as sl


def run(path: str, **asked: Any) -> dict[str, Any]:
    """An epoch of a file over the ranks of this job: records that count, and how many each batch has."""
    with sl.Loader(sl.open(path), batch_size=16, shuffle=True, num_workers=1, memory="64 MB", distributed=True, **asked) as loader:
        records: list[int] = []
        sizes: list[int] = []
        for batch in loader:
            assert (batch["y"] == batch.records).all()
            records += batch.records[batch.valid].tolist()
            sizes.append(len(batch.records))
        assert len(sizes) == len(loader)
        return {"rank": loader.rank, "world": loader.world_size, "records": records, "sizes": sizes}


def torch_job(path: str) -> dict[str, Any]:
    """A small model under DDP: gradients meet in every step, so a rank with another number of steps would hang."""
    import torch
    import torch.distributed as group

    group.init_process_group("gloo")
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    counted = torch.zeros(1, dtype=torch.int64)
    with sl.Loader(sl.open(path), batch_size=16, num_workers=1, memory="64 MB", distributed=True) as loader:
        records: list[int] = []
        for batch in loader:
            x = torch.from_numpy(batch["y"]).float()[:, None] / 1000
            model(x).square().mean().backward()
            model.zero_grad()
            counted += int(batch.valid.sum())
            records += batch.records[batch.valid].tolist()
        group.all_reduce(counted)
        gathered: list[Any] = [None] * group.get_world_size()
        group.all_gather_object(gathered, records)
        found = {"rank": loader.rank, "world": loader.world_size, "steps": len(loader), "counted": int(counted), "gathered": gathered}
    group.destroy_process_group()
    return found


def jax_job(path: str, address: str, rank: str) -> dict[str, Any]:
    """Two CPU processes; batches all have one shape."""
    import jax

    jax.distributed.initialize(address, num_processes=2, process_id=int(rank))
    found = run(path, pad_last=True)
    jax.distributed.shutdown()
    return found


def stalled_job(path: str) -> dict[str, Any]:
    """Takes a batch, says who works for it, and waits to be killed."""
    with sl.Loader(sl.open(path), batch_size=16, num_workers=2, memory="64 MB", distributed=True) as loader:
        next(iter(loader))
        print(json.dumps({"pid": os.getpid(), "workers": loader.worker_pids}), flush=True)
        time.sleep(300)
    return {}


JOBS = {"run": run, "torch": torch_job, "jax": jax_job, "stalled": stalled_job}

if __name__ == "__main__":
    name, out, *arguments = sys.argv[1:]
    answer = JOBS[name](*arguments)
    if out != "-":
        with open(f"{out}.{answer['rank']}", "w") as file:
            json.dump(answer, file)
