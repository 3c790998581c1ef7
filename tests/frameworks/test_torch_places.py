"""Where tensors of a loader stand: states, seeks, copies, and what is under way to a device, in both forms for PyTorch."""

from __future__ import annotations

import copy
import pickle
import threading
from pathlib import Path
from typing import Any

import pytest
from framework_data import BATCH, RECORDS, STEPS, expected, flat, loader_of, write

import streamload as sl

torch = pytest.importorskip("torch")

FORMS = pytest.mark.parametrize("dataloader", [False, True], ids=["loop", "DataLoader"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """1,003 records."""
    return write(tmp_path / "data.h5")


@FORMS
@pytest.mark.parametrize("device", [None, "cpu"])
@pytest.mark.parametrize("after", [1, 5, STEPS, STEPS + 3, 2 * STEPS])
def test_a_state_goes_on_with_the_very_next_batch(path: Path, dataloader: bool, device: str | None, after: int) -> None:
    """In the middle of an epoch, at its end, and in a later one; numbers in a state may come back as tensors."""
    whole = flat(expected(path, 4))
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "number", device=device, dataloader=dataloader)
        seen, state = [], None
        while state is None:
            for numbers in batches:
                seen.append(numbers.tolist())
                if len(seen) == after:
                    state = batches.state_dict()
                    break
    assert seen == whole[:after]
    state = {name: torch.tensor(one) if isinstance(one, int) else one for name, one in state.items()}
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "number", device=device, dataloader=dataloader)
        batches.load_state_dict(state)
        assert len(batches) == STEPS
        rest = [numbers.tolist() for _ in range(2) for numbers in batches]
    # After the last batch of an epoch, the rest of it is empty: what follows an epoch in a program runs.
    assert rest == whole[after : after + len(rest)]
    assert len(rest) == (STEPS - after % STEPS) % STEPS + STEPS


@FORMS
def test_what_is_under_way_to_a_device_is_not_in_the_state(path: Path, dataloader: bool) -> None:
    """Two batches are begun ahead of the one in use; a state belongs to the one in use, also after the loop was left."""
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "x", device="meta", dataloader=dataloader)
        for step, inputs in enumerate(batches):
            assert inputs.device.type == "meta"
            ahead = loader.state_dict()["position"] - batches.state_dict()["position"]
            assert batches.state_dict()["position"] == min((step + 1) * BATCH, RECORDS)
            assert ahead == min((step + 3) * BATCH, RECORDS) - min((step + 1) * BATCH, RECORDS)
        assert step == STEPS - 1
        for step, _ in enumerate(batches):
            if step == 4:
                break
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (1, 5 * BATCH)
        batches.set_epoch(7)
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (7, 0)
        next(iter(batches))
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (7, BATCH)
        batches.seek(total_step=2 * STEPS + 3)
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (2, 3 * BATCH)
        loader.seek(epoch=4)
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (4, 0)


def test_the_state_belongs_to_the_batch_in_use_whoever_iterates(path: Path) -> None:
    """Over the DataLoader's data set, as accelerate does to skip batches; and over a pass that is left with batches under way."""
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "x", device="meta", dataloader=True)
        begun = iter(batches.dataset)
        next(begun)
        assert loader.state_dict()["position"] == 3 * BATCH
        assert batches.state_dict()["position"] == BATCH
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "x", device="meta")
        older = iter(batches)
        for _ in range(STEPS - 1):
            next(older)
        newer = iter(batches)
        next(newer)
        next(older)  # The last of its epoch was under way.
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (1, BATCH)
        next(older, None)
        assert (batches.state_dict()["epoch"], batches.state_dict()["position"]) == (1, BATCH)


@FORMS
def test_a_device_that_is_not_there_leaves_the_state_as_it_was(path: Path, dataloader: bool) -> None:
    """No batch was handed out: in the first pass, and after some."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with loader_of(path) as loader:
        for _ in range(2):
            before = loader.state_dict()
            batches = sl.for_torch(loader, "x", device="cuda", dataloader=dataloader)
            with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
                next(iter(batches))
            assert batches.state_dict() == before
            batches.load_state_dict(before)
            begun = iter(loader)
            next(begun), next(begun)


def test_copies_to_devices_that_nothing_waits_for_are_complete_when_they_are_made(path: Path) -> None:
    """A batch's memory is given back as soon as its copies are begun: only CUDA, whose arrival is waited for, may still be reading it."""
    from torch.utils._python_dispatch import TorchDispatchMode

    asked = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is torch.ops.aten._to_copy.default:
                asked.append((kwargs or {}).get("non_blocking", False))
            return function(*args, **(kwargs or {}))

    with loader_of(path) as loader, Watch():
        for _ in sl.for_torch(loader, ("x", "number"), device="meta"):
            pass
    assert asked == [False] * (2 * STEPS)


def test_threads_may_share_a_pass(path: Path) -> None:
    """Each batch goes to one of them."""
    seen: list[int] = []
    with loader_of(path, num_workers=1) as loader:
        batches = iter(sl.for_torch(loader, "number"))

        def take() -> None:
            for numbers in batches:
                seen.extend(numbers.tolist())
                del numbers  # Three that are held, and a fourth, would be more than may be held without a copy.

        threads = [threading.Thread(target=take) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(seen) == list(range(RECORDS))


@FORMS
def test_set_epoch_after_iter_decides(path: Path, dataloader: bool) -> None:
    """`iter()` decides nothing, twice neither; with a loaded state only a later epoch counts."""
    whole = expected(path, 4)
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "number", dataloader=dataloader)
        iter(batches)
        second = iter(batches)
        batches.sampler.set_epoch(3)
        assert next(second).tolist() == whole[3][0]
        batches.seek(epoch=2, step=5)
        iter(batches)
        batches.sampler.set_epoch(2)
        assert next(iter(batches)).tolist() == whole[2][5]


@FORMS
def test_a_copy_stands_where_the_original_stands(path: Path, dataloader: bool) -> None:
    """Through a pickle, as spawn and Ray send it, and through deepcopy."""
    whole = flat(expected(path, 1))
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, ("x", "number"), channels_first=False, dataloader=dataloader)
        begun = iter(batches)
        next(begun), next(begun)
        for other in (pickle.loads(pickle.dumps(batches)), copy.deepcopy(batches)):
            other.load_state_dict(other.state_dict())
            assert [numbers.tolist() for _, numbers in other] == whole[2:]
            other.loader.close()


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_distributed_checkpoints_of_torch_hold_the_loader(path: Path, tmp_path: Path) -> None:
    """torch.distributed.checkpoint saves and loads the batches' state as it does a model's."""
    import torch.distributed.checkpoint as checkpoints

    whole = flat(expected(path, 1))
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "number")
        begun = iter(batches)
        for _ in range(5):
            next(begun)
        checkpoints.save({"data": batches}, checkpoint_id=tmp_path / "saved", no_dist=True)
    with loader_of(path) as loader:
        batches = sl.for_torch(loader, "number")
        checkpoints.load({"data": batches}, checkpoint_id=tmp_path / "saved", no_dist=True)
        assert [numbers.tolist() for numbers in batches] == whole[5:]
