"""States that a framework has saved and loaded again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamload.errors import StateError
from streamload.order import PartIdentity, PartSize, RunIdentity, SharedSteps, read_state, state_of

RUN = RunIdentity(
    seed=7,
    parts=(
        PartIdentity(name="", mode="exact", order="abc", lanes=1, records=1000, schema="def", contents="0123012301230123", weights=None),
    ),
    counts=(64,),
)
STEPS = SharedSteps(parts=(PartSize(n=1000, lanes=1, count=64),), rank=0, ranks=2, drop_last=False, pad_last=False)


def test_numbers_may_come_back_as_tensors(tmp_path: Path) -> None:
    """Of none dimensions, from a checkpoint."""
    torch: Any = pytest.importorskip("torch")
    state = state_of(RUN, STEPS, STEPS.begin(2, 3))
    tensors = {name: torch.tensor(value) if type(value) is int else value for name, value in state.items()}
    torch.save(tensors, tmp_path / "checkpoint.pt")
    assert read_state(torch.load(tmp_path / "checkpoint.pt", weights_only=True), RUN, STEPS).position == STEPS.begin(2, 3)
    for wrong in (torch.tensor(True), torch.tensor(3.0), torch.tensor([1, 2])):
        with pytest.raises(StateError, match="the state's epoch is"):
            read_state({**tensors, "epoch": wrong}, RUN, STEPS)


def test_numbers_may_come_back_as_jax_has_them() -> None:
    """Arrays of none dimensions."""
    jnp: Any = pytest.importorskip("jax.numpy")
    state = state_of(RUN, STEPS, STEPS.begin(2, 3))
    arrays = {name: jnp.array(value) if type(value) is int else value for name, value in state.items()}
    assert read_state(arrays, RUN, STEPS).position == STEPS.begin(2, 3)
