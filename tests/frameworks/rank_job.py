"""What one rank of a job does in the tests: goes through an epoch, and says which records counted in how many steps."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np

import streamload as sl

BATCH = 16


def run(path: str, **asked: Any) -> dict[str, Any]:
    """An epoch of a file over the ranks of this job: records that count, and how many each batch has."""
    with sl.Loader(sl.open(path), batch_size=BATCH, shuffle=True, num_workers=1, memory="64 MB", distributed=True, **asked) as loader:
        records: list[int] = []
        sizes: list[int] = []
        for batch in loader:
            assert (batch["y"] == batch.records).all()
            records += batch.records[batch.valid].tolist()
            sizes.append(len(batch.records))
        assert len(sizes) == len(loader)
        return {"rank": loader.rank, "world": loader.world_size, "records": records, "sizes": sizes}


def torch_job(path: str) -> dict[str, Any]:
    """A small model under DDP: gradients meet in every step, so a rank with another number of steps would hang. Then it is evaluated."""
    import torch
    import torch.distributed as group

    group.init_process_group("gloo")
    torch.manual_seed(0)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(1, 1))
    counted = torch.zeros(1, dtype=torch.int64)
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=1, memory="64 MB", distributed=True) as loader:
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
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=0, memory="64 MB", shuffle=False, distributed=True) as loader:
        mine = sum((error_sum(model, batch["y"], batch.valid) for batch in loader), torch.zeros(2, dtype=torch.float64))
        group.all_reduce(mine)
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=0, memory="64 MB", shuffle=False, distributed=False) as loader:
        alone = sum((error_sum(model, batch["y"], batch.valid) for batch in loader), torch.zeros(2, dtype=torch.float64))
    group.destroy_process_group()
    return {**found, "evaluated": mine.tolist(), "alone": alone.tolist()}


def error_sum(model: Any, y: np.ndarray, valid: np.ndarray) -> Any:
    """The sum of a model's squared errors over the records that count, and how many these are, float64 of shape (2,)."""
    import torch

    with torch.no_grad():
        errors = model(torch.from_numpy(y).float()[:, None] / 1000)[:, 0].double().square()
    return torch.tensor([float(errors[torch.from_numpy(valid)].sum()), float(valid.sum())], dtype=torch.float64)


def mpi_job(path: str) -> dict[str, Any]:
    """Ranks that tell each other what they had."""
    from mpi4py import MPI

    found = run(path)
    assert (found["rank"], found["world"]) == (MPI.COMM_WORLD.rank, MPI.COMM_WORLD.size)
    return {**found, "gathered": MPI.COMM_WORLD.allgather(found["records"])}


def jax_job(path: str, address: str, rank: str) -> dict[str, Any]:
    """Two CPU processes; batches all have one shape. Then as arrays that are spread over both, under jit."""
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, num_processes=2, process_id=int(rank))
    found = run(path, pad_last=True)
    sharding = jax.sharding.NamedSharding(jax.make_mesh((2,), ("data",)), jax.sharding.PartitionSpec("data"))
    total = jax.jit(lambda y, valid: (jax.numpy.where(valid, y, 0).sum(), valid.sum()))
    sums: list[list[int]] = []
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=1, memory="64 MB", distributed=True) as loader:
        for y, valid in sl.for_jax(loader, ("y", "valid"), sharding=sharding):
            assert y.shape == valid.shape == (2 * BATCH,)
            assert [shard.data.shape for shard in y.addressable_shards] == [(BATCH,)]
            sums.append([int(one) for one in total(y, valid)])
    jax.distributed.shutdown()
    return {**found, "sums": sums}


def stalled_job(path: str) -> dict[str, Any]:
    """Takes a batch, says who works for it, and waits to be killed."""
    with sl.Loader(sl.open(path), batch_size=BATCH, num_workers=2, memory="64 MB", distributed=True) as loader:
        next(iter(loader))
        print(json.dumps({"pid": os.getpid(), "workers": loader.worker_pids}), flush=True)
        time.sleep(300)
    return {}


JOBS = {"run": run, "torch": torch_job, "mpi": mpi_job, "jax": jax_job, "stalled": stalled_job}

if __name__ == "__main__":
    name, out, *arguments = sys.argv[1:]
    answer = JOBS[name](*arguments)
    if out != "-":
        with open(f"{out}.{answer['rank']}", "w") as file:
            json.dump(answer, file)
