"""Which rank of how many this process is, and how many share its machine: looked up, never asked of anybody, nothing imported.

Rules:

1. Both halves or nothing: a rank without a number of ranks, or the other way round, is no answer.
2. A framework that is imported and has its process group knows best; then the variables of launchers, the most particular first.
   Slurm comes last, and only inside a step: a batch script has its variables too, and runs once.
3. What is found may change: a script that its framework starts again on other ranks is alone at its first line. `check_unchanged`
   compares what was found then with what is found when the first batch is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, cast

import numpy as np

from streamload.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """One rank of several."""

    rank: int
    world_size: int
    source: str
    """Where that was found, for people: "RANK and WORLD_SIZE", "torch.distributed", "the argument"."""

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world_size:,}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Neighbours:
    """Ranks that share this machine."""

    count: int
    source: str
    """The variable that says so; empty where none does."""


ALONE = Ranks(rank=0, world_size=1, source="no launcher")

LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
)
"""Variables that say rank and number of ranks: of torchrun and Ray, Open MPI, MPICH, LSF, and Slurm inside a step."""

LOCAL = (
    "LOCAL_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "MPI_LOCALNRANKS",
    "JSM_NAMESPACE_LOCAL_SIZE",
)
"""Variables that say how many ranks share a machine."""


def find_ranks(environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> Ranks:
    """Which rank this process is, by `os.environ` and `sys.modules`; `ALONE` where nobody says.

    Raises ConfigError where a launcher's variables contradict themselves: a rank that is none of its ranks.
    """
    for found in (_by_torch(modules), _by_jax(modules)):
        if found is not None:
            return found
    for rank_name, size_name in LAUNCHERS:
        rank = _number(environ, rank_name)
        size = None if rank is None else _number(environ, size_name)
        if rank is None or size is None:
            continue
        if rank_name == "SLURM_PROCID" and _started_within(environ, size):
            return ALONE
        if rank >= size:
            raise ConfigError(
                f"{rank_name}={rank} and {size_name}={size} name a rank that cannot be.",
                hint="Correct the variables, or give distributed=(rank, world_size).",
            )
        return Ranks(rank=rank, world_size=size, source=f"{rank_name} and {size_name}")
    return ALONE


def _started_within(environ: Mapping[str, str], tasks: int) -> bool:
    """Whether a framework has started this process inside one task of Slurm: all of its processes then have that task's number."""
    size = _number(environ, "WORLD_SIZE")
    return "LOCAL_RANK" in environ and size is not None and size != tasks


def _by_torch(modules: Mapping[str, ModuleType]) -> Ranks | None:
    """As torch.distributed has it, where somebody has imported and initialised it."""
    group: Any = modules.get("torch.distributed")
    if group is None or not (group.is_available() and group.is_initialized()):
        return None
    return Ranks(rank=int(group.get_rank()), world_size=int(group.get_world_size()), source="torch.distributed")


def _by_jax(modules: Mapping[str, ModuleType]) -> Ranks | None:
    """As jax.distributed has it, where somebody has imported and initialised it; asking touches no device."""
    jax: Any = modules.get("jax")
    if jax is None or not (hasattr(jax, "distributed") and jax.distributed.is_initialized()):
        return None
    # No public function says it without starting the devices, as process_index() does, and waiting for all other processes to do so.
    private: Any = modules.get("jax._src.distributed")
    state: Any = getattr(private, "global_state", None)
    if state is not None:
        return Ranks(rank=int(state.process_id), world_size=int(state.num_processes), source="jax.distributed")
    return Ranks(rank=int(jax.process_index()), world_size=int(jax.process_count()), source="jax.distributed")


def asked_ranks(distributed: object, environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> Ranks:
    """The ranks that `distributed=` asks to share steps out among: those found for True, one for None and False, or as given.

    Raises ConfigError for anything else.
    """
    if distributed is None or (isinstance(distributed, (bool, np.bool_)) and not distributed):
        return Ranks(rank=0, world_size=1, source="the argument" if distributed is not None else "no argument")
    if isinstance(distributed, (bool, np.bool_)):
        return find_ranks(environ, modules)
    hint = "Give True, False, or the rank and the number of ranks: distributed=(0, 4)."
    if not isinstance(distributed, (tuple, list)) or len(cast("tuple[Any, ...]", distributed)) != 2:
        raise ConfigError(f"distributed={distributed!r} is not known.", hint=hint)
    rank, size = cast("tuple[Any, Any]", distributed)
    if any(isinstance(one, (bool, np.bool_)) or not isinstance(one, (int, np.integer)) for one in (rank, size)):
        raise ConfigError(f"distributed={distributed!r} holds no whole numbers.", hint=hint)
    if not 0 <= rank < size:
        raise ConfigError(f"distributed={distributed!r} names a rank that cannot be.", hint="Ranks count from 0 to world_size - 1.")
    return Ranks(rank=int(rank), world_size=int(size), source="the argument")


def unshared(distributed: object, environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> str | None:
    """What to warn of where nobody has said whether several ranks share the records: each of them has all. None where there is nothing."""
    if distributed is not None:
        return None
    try:
        found = find_ranks(environ, modules)
    except ConfigError:
        return None  # Variables that contradict themselves matter to those alone who ask for them.
    if found.world_size == 1:
        return None
    return (
        f"This is {found} (by {found.source}), and every rank gets every record, since distributed= does not say otherwise. "
        "Give distributed=True to share them out, or distributed=False where each rank shall have all, as for validation on one."
    )


def check_unchanged(distributed: object, then: Ranks, environ: Mapping[str, str], modules: Mapping[str, ModuleType]) -> None:
    """Raise ConfigError where `distributed=True` finds other ranks now than when the loader was made.

    A framework that starts the script again for its other ranks, or its process group later, lets rank 0 find itself alone.
    """
    now = asked_ranks(distributed, environ, modules)
    if (now.rank, now.world_size) != (then.rank, then.world_size):
        raise ConfigError(
            f"This process was {then} when the loader was made (by {then.source}), and is {now} now (by {now.source}): "
            "ranks would share out the records differently.",
            hint="Make the loader once the process group exists (Lightning: in train_dataloader), or give distributed=(rank, world_size).",
        )


def find_neighbours(environ: Mapping[str, str]) -> Neighbours:
    """How many ranks share this machine, by `os.environ`, whether or not they share out records: they share its memory and cores."""
    for name in LOCAL:
        count = _number(environ, name)
        if count:
            return Neighbours(count=count, source=name)
    if "LOCAL_RANK" in environ and (size := _number(environ, "WORLD_SIZE")):
        # Lightning says no more than that: no more than all of them are here.
        return Neighbours(count=size, source="LOCAL_RANK and WORLD_SIZE")
    if _number(environ, "SLURM_STEP_NUM_TASKS"):
        for name in ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE"):
            count = _tasks_here(environ, name)
            if count:
                return Neighbours(count=count, source=name)
    return Neighbours(count=1, source="")


def _tasks_here(environ: Mapping[str, str], name: str) -> int | None:
    """Tasks on this machine by a list such as "4(x2),3": four on each of two nodes, then three; the number of the node says which."""
    counts: list[int] = []
    for text in environ.get(name, "").split(","):
        found = re.fullmatch(r"\s*(\d{1,9})(?:\(x(\d{1,9})\))?\s*", text)
        if found is None:
            return None
        counts.append(int(found[1]))
        repeats = int(found[2] or 1)
        if len(counts) == 1 and repeats > 1 and "," not in environ[name]:
            return counts[0]
        counts += [counts[-1]] * min(repeats - 1, 1 << 16)
    node = _number(environ, "SLURM_NODEID") or 0
    return counts[node] if node < len(counts) else max(counts)


def _number(environ: Mapping[str, str], name: str) -> int | None:
    """A variable as a number, 0 or above; None where it is none."""
    text = environ.get(name, "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
