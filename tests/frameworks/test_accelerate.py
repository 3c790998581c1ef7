"""accelerate and Fabric: the DataLoader form, which neither deals out a second time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from framework_data import RECORDS, STEPS, WIDTH, expected, flat, loader_of, write

import streamload as sl

torch = pytest.importorskip("torch")

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


@pytest.fixture
def accelerator() -> Iterator[Any]:
    """An accelerator of one process, that steps after every fifth batch."""
    accelerate = pytest.importorskip("accelerate")
    yield accelerate.Accelerator(cpu=True, gradient_accumulation_steps=5)
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()


def test_accelerate_trains_on_each_record_once(path: Path, accelerator: Any) -> None:
    """Prepared, gathered, accumulated: 16 batches of 1,003 records in 4 steps an epoch."""
    whole = expected(path, 2)
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, ("x", "number"), dataloader=True)
        model = torch.nn.Linear(WIDTH, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        model, optimizer, prepared = accelerator.prepare(model, optimizer, batches)
        assert prepared is batches
        for epoch in range(2):
            seen, steps = [], 0
            for x, number in prepared:
                with accelerator.accumulate(model):
                    accelerator.backward((model(x)[:, 0] - number / RECORDS).square().mean())
                    optimizer.step()
                    optimizer.zero_grad()
                    steps += accelerator.sync_gradients
                seen.append(accelerator.gather_for_metrics(number).tolist())
            assert seen == whole[epoch]
            assert steps == 4


def test_accelerate_hears_of_every_pass_and_of_its_end(path: Path, accelerator: Any) -> None:
    """Also of one that is left early, and of one within another."""
    state = accelerator.gradient_state
    with loader_of(path) as loader, loader_of(path, shuffle=False) as other:
        batches, inner = (sl.for_torch(one, "number", dataloader=True) for one in (loader, other))
        for step, _ in enumerate(batches):
            assert state.active_dataloader is batches
            assert state.end_of_dataloader == (step == STEPS - 1)
            if step == 2:
                for _ in inner:
                    assert state.active_dataloader is inner
                    break
        assert state.active_dataloader is None
        for _ in batches:
            break
        assert state.active_dataloader is None


def test_accelerate_skips_and_saves(path: Path, accelerator: Any, tmp_path: Path) -> None:
    """skip_first_batches gives the rest of the next epoch; a checkpoint holds the place, and resumes there."""
    import accelerate

    whole = expected(path, 2)
    with loader_of(path) as loader:
        batches = accelerator.prepare(sl.for_torch(loader, "number", dataloader=True))
        assert [numbers.tolist() for numbers in accelerate.skip_first_batches(batches, 3)] == whole[0][3:]
        begun = iter(batches)
        assert [next(begun).tolist() for _ in range(4)] == whole[1][:4]
        accelerator.register_for_checkpointing(batches)
        accelerator.save_state(str(tmp_path / "saved"))
    accelerator._custom_objects.clear()
    with loader_of(path) as loader:
        batches = accelerator.prepare(sl.for_torch(loader, "number", dataloader=True))
        accelerator.register_for_checkpointing(batches)
        accelerator.load_state(str(tmp_path / "saved"))
        assert [numbers.tolist() for numbers in batches] == whole[1][4:]


@pytest.mark.parametrize(("size", "step"), [(64, 0), (30, 0), (30, 4)])
def test_accelerate_hears_how_many_records_of_the_last_step_count(path: Path, size: int, step: int) -> None:
    """Of both ranks together, also in the rest of an epoch that began with another batch size, and in the whole epoch after it."""
    with loader_of(path, distributed=(0, 2)) as loader:
        loader.seek(epoch=0, step=step)
        state = loader.state_dict()
    ranks = [loader_of(path, distributed=(rank, 2), batch_size=size) for rank in range(2)]
    for loader in ranks:
        loader.load_state_dict(state)
    both = [sl.for_torch(loader, "valid", dataloader=True) for loader in ranks]
    for _ in range(2):
        *_, last = zip(*both, strict=True)
        counted = sum(int(valid.sum()) for valid in last)
        assert [batches.remainder for batches in both] == [counted % (2 * size)] * 2
    for loader in ranks:
        loader.close()


def test_accelerate_joins_uneven_inputs(path: Path, accelerator: Any) -> None:
    """It finds nothing to even out."""
    with loader_of(path) as loader:
        batches = accelerator.prepare(sl.for_torch(loader, "number", dataloader=True))
        with accelerator.join_uneven_inputs([torch.nn.Linear(1, 1)]):
            assert sum(len(numbers) for numbers in batches) == RECORDS


def test_fabric_sets_up_the_dataloader_form(path: Path) -> None:
    """Each record once, in the loader's order, through Fabric's wrapper; the place is the loader's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fabric = pytest.importorskip("lightning_fabric").Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    whole = expected(path, 2)
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, ("x", "number"), dataloader=True)
        model = torch.nn.Linear(WIDTH, 1)
        model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.01))
        prepared = fabric.setup_dataloaders(batches)
        assert len(prepared) == STEPS
        for epoch in range(2):
            seen = []
            for x, number in prepared:
                optimizer.zero_grad()
                fabric.backward((model(x)[:, 0] - number / RECORDS).square().mean())
                optimizer.step()
                seen.append(number.tolist())
            assert seen == whole[epoch]
        assert batches.state_dict()["epoch"] == 1


def on_two(script: str, *arguments: str, folder: Path) -> None:
    """A script beside this one, on two processes of torchrun, run to its end."""
    job = Path(__file__).with_name(script)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(job.parent), *sys.path]),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder),
    }
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(job), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-4_000:]


def test_accelerate_on_two_processes(path: Path, tmp_path: Path) -> None:
    """gather_for_metrics: 1,003 of 1,003 records in the order of one process, one state on both ranks."""
    pytest.importorskip("accelerate")
    on_two("accelerate_job.py", str(path), folder=tmp_path)


def test_fabric_on_two_processes(path: Path, tmp_path: Path) -> None:
    """Rank by rank, the records of each step are those of one process, all of them gathered once; a run that was saved within an
    epoch and goes on equals one that was not interrupted, to the bit."""
    pytest.importorskip("lightning_fabric")
    out = tmp_path / "out"
    on_two("fabric_job.py", str(path), str(tmp_path), str(out), folder=tmp_path)
    ranks = [json.loads(Path(f"{out}.{rank}").read_text()) for rank in range(2)]
    one_process = flat(expected(path, 2))
    assert [first + second for first, second in zip(*(one["whole"] for one in ranks), strict=True)] == one_process
    assert all(one["gathered"] == one_process for one in ranks)
    assert all(one["parts"] == one["whole"] and one["same_weights"] for one in ranks)
