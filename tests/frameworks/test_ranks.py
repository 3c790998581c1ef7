"""Ranks as frameworks themselves know them: real process groups of two."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TORCH = """
import torch.distributed as group
before = found()
group.init_process_group("gloo", init_method="file://" + sys.argv[2], rank=int(sys.argv[1]), world_size=2)
after = found()
group.barrier()
group.destroy_process_group()
answer(before, after, found())
"""

JAX = """
import jax
before = found()
jax.distributed.initialize("localhost:" + sys.argv[2], num_processes=2, process_id=int(sys.argv[1]))
after = found()
from jax._src import xla_bridge
assert not xla_bridge._backends, "a device was touched by asking"
jax.distributed.shutdown()
answer(before, after, found())
"""

AROUND = """
import json, os, sys
from streamload.processes.distributed import find_ranks
def found():
    ranks = find_ranks(os.environ, sys.modules)
    return [ranks.rank, ranks.world_size, ranks.source]
def answer(*found):
    print(json.dumps(found))
"""


def two_processes(code: str, argument: str) -> list[list[list[object]]]:
    """What each of two ranks finds before its group exists, while it does, and after."""
    environment = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", AROUND + code]
    processes = [subprocess.Popen([*command, str(rank), argument], stdout=subprocess.PIPE, text=True, env=environment) for rank in range(2)]
    return [json.loads(process.communicate(timeout=120)[0].splitlines()[-1]) for process in processes]


def test_a_process_group_of_torch_says_which_rank_this_is(tmp_path: Path) -> None:
    """As long as it exists, and only where somebody has imported torch."""
    pytest.importorskip("torch")
    for rank, (before, after, at_last) in enumerate(two_processes(TORCH, str(tmp_path / "store"))):
        assert before == at_last == [0, 1, "no launcher"]
        assert after == [rank, 2, "torch.distributed"]


def test_processes_of_jax_say_which_rank_this_is() -> None:
    """Without touching a device."""
    pytest.importorskip("jax")
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        port = listening.getsockname()[1]
    for rank, (before, after, at_last) in enumerate(two_processes(JAX, str(port))):
        assert before == at_last == [0, 1, "no launcher"]
        assert after == [rank, 2, "jax.distributed"]
