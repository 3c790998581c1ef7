"""One process of several under accelerate and Lightning: what each rank is given, and what all gather."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from framework_data import BATCH, RECORDS, WIDTH, expected, loader_of

import streamload as sl


def with_accelerate(path: Path) -> None:
    """gather_for_metrics gives each record once, in the order of one process; accumulate steps at the end."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=5)
    size = BATCH // accelerator.num_processes
    with loader_of(path, batch_size=size, distributed=True) as loader:
        batches = accelerator.prepare(sl.for_torch(loader, ("x", "number"), dataloader=True))
        model = torch.nn.Linear(WIDTH, 1)
        model, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.01))
        seen, steps = [], 0
        for x, number in batches:
            with accelerator.accumulate(model):
                accelerator.backward((model(x)[:, 0] - number / RECORDS).square().mean())
                optimizer.step()
                optimizer.zero_grad()
                steps += accelerator.sync_gradients
            seen.append(accelerator.gather_for_metrics(number).tolist())
        states = [batches.state_dict()]
        if accelerator.num_processes > 1:
            torch.distributed.all_gather_object(states := [None] * accelerator.num_processes, batches.state_dict())
        assert all(state == states[0] for state in states)
    assert seen == expected(path, 1)[0], [len(one) for one in seen]
    assert steps == 4
    accelerator.end_training()


if __name__ == "__main__":
    with_accelerate(Path(sys.argv[1]))
