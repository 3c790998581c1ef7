"""Which rank this is: by every launcher's variables, with the traps that each of them lays."""

from __future__ import annotations

import pytest

from streamload.errors import ConfigError
from streamload.processes.distributed import Neighbours, Ranks, asked_ranks, check_unchanged, find_neighbours, find_ranks, unshared

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "2",
    "OMPI_COMM_WORLD_SIZE": "3",
    "OMPI_COMM_WORLD_LOCAL_RANK": "0",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "1",
}
MPICH = {"PMI_RANK": "5", "PMI_SIZE": "6", "MPI_LOCALRANKID": "2", "MPI_LOCALNRANKS": "3"}
LSF = {"JSM_NAMESPACE_RANK": "7", "JSM_NAMESPACE_SIZE": "8", "JSM_NAMESPACE_LOCAL_RANK": "3", "JSM_NAMESPACE_LOCAL_SIZE": "4"}
SBATCH = {"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_NTASKS_PER_NODE": "4", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
"""A batch script: it has these, and runs once."""
SRUN = SBATCH | {"SLURM_PROCID": "6", "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_NODEID": "1"}
LIGHTNING = {"LOCAL_RANK": "1", "WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "localhost"}
"""What Lightning gives to all its processes but the first."""


@pytest.mark.parametrize(
    ("environ", "rank", "world_size", "source"),
    [
        pytest.param({}, 0, 1, "no launcher", id="alone"),
        pytest.param(TORCHRUN, 3, 4, "RANK and WORLD_SIZE", id="torchrun, Ray"),
        pytest.param(OPEN_MPI, 2, 3, "OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE", id="Open MPI"),
        pytest.param(MPICH, 5, 6, "PMI_RANK and PMI_SIZE", id="MPICH"),
        pytest.param(LSF, 7, 8, "JSM_NAMESPACE_RANK and JSM_NAMESPACE_SIZE", id="LSF"),
        pytest.param(SRUN, 6, 8, "SLURM_PROCID and SLURM_STEP_NUM_TASKS", id="srun"),
        pytest.param(SBATCH, 0, 1, "no launcher", id="sbatch without srun"),
        pytest.param(SRUN | MPICH, 5, 6, "PMI_RANK and PMI_SIZE", id="MPI under srun"),
        pytest.param(SRUN | OPEN_MPI | MPICH | TORCHRUN, 3, 4, "RANK and WORLD_SIZE", id="torchrun under everything"),
        pytest.param({"RANK": "3"}, 0, 1, "no launcher", id="a rank of how many"),
        pytest.param({"WORLD_SIZE": "4"}, 0, 1, "no launcher", id="which of four"),
        pytest.param(
            {"RANK": "3"} | OPEN_MPI, 2, 3, "OMPI_COMM_WORLD_RANK and OMPI_COMM_WORLD_SIZE", id="half an answer before a whole one"
        ),
        pytest.param({"RANK": "", "WORLD_SIZE": "4"}, 0, 1, "no launcher", id="empty"),
        pytest.param({"RANK": "one", "WORLD_SIZE": "4"}, 0, 1, "no launcher", id="no number"),
        pytest.param({"RANK": "-1", "WORLD_SIZE": "4"}, 0, 1, "no launcher", id="negative"),
        pytest.param({"RANK": "1" * 5000, "WORLD_SIZE": "4"}, 0, 1, "no launcher", id="too long"),
        pytest.param(LIGHTNING, 0, 1, "no launcher", id="Lightning"),
        pytest.param(
            SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2"} | LIGHTNING | {"WORLD_SIZE": "8"},
            0,
            1,
            "no launcher",
            id="Lightning's processes inside one task of Slurm",
        ),
        pytest.param(
            SRUN | {"LOCAL_RANK": "2", "WORLD_SIZE": "8"}, 6, 8, "SLURM_PROCID and SLURM_STEP_NUM_TASKS", id="Lightning under srun"
        ),
    ],
)
def test_the_rank_is_found_by_whole_answers_alone(environ: dict[str, str], rank: int, world_size: int, source: str) -> None:
    """Each launcher by its own variables, the most particular first; Slurm only inside a step."""
    assert find_ranks(environ, {}) == Ranks(rank=rank, world_size=world_size, source=source)


def test_variables_that_contradict_themselves_are_an_error_for_whoever_asks() -> None:
    """Rank 4 of 4 is left over from something else; nobody is troubled who does not share records out."""
    wrong = TORCHRUN | {"RANK": "4"}
    text = r"RANK=4 and WORLD_SIZE=4 name a rank that cannot be\. Correct the variables, or give distributed=\(rank, world_size\)\.$"
    with pytest.raises(ConfigError, match=text):
        asked_ranks(True, wrong, {})
    assert unshared(None, wrong, {}) is None
    assert asked_ranks(None, wrong, {}).world_size == 1


def test_what_distributed_asks_for() -> None:
    """True looks, a pair says, None and False share nothing out."""
    assert asked_ranks(True, TORCHRUN, {}).rank == 3
    assert asked_ranks(True, {}, {}).world_size == 1
    for pair in ((1, 3), [1, 3]):
        assert asked_ranks(pair, TORCHRUN, {}) == Ranks(rank=1, world_size=3, source="the argument")
    for silent in (None, False):
        assert (asked_ranks(silent, TORCHRUN, {}).rank, asked_ranks(silent, TORCHRUN, {}).world_size) == (0, 1)


@pytest.mark.parametrize(
    ("distributed", "text"),
    [
        ("yes", r"distributed='yes' is not known\. Give True, False, or the rank and the number of ranks: distributed=\(0, 4\)\.$"),
        (1, r"distributed=1 is not known"),
        ((0, 1, 2), r"distributed=\(0, 1, 2\) is not known"),
        ((0.0, 2), r"distributed=\(0\.0, 2\) holds no whole numbers\. Give True"),
        ((False, True), r"distributed=\(False, True\) holds no whole numbers"),
        ((2, 2), r"distributed=\(2, 2\) names a rank that cannot be\. Ranks count from 0 to world_size - 1\.$"),
        ((-1, 2), r"distributed=\(-1, 2\) names a rank that cannot be"),
    ],
    ids=repr,
)
def test_other_answers_are_refused(distributed: object, text: str) -> None:
    """With what was given, and what would do."""
    with pytest.raises(ConfigError, match=text):
        asked_ranks(distributed, {}, {})


def test_whoever_says_nothing_on_several_ranks_is_told_once_of_both_answers() -> None:
    """Eight trials under srun each want all records: so nothing is shared out unless somebody says so, and that is said."""
    assert unshared(None, SRUN, {}) == (
        "This is rank 6 of 8 (by SLURM_PROCID and SLURM_STEP_NUM_TASKS), and every rank gets every record, since distributed= does not "
        "say otherwise. Give distributed=True to share them out, or distributed=False where each rank shall have all, "
        "as for validation on one."
    )
    assert unshared(None, {}, {}) is None
    for said in (True, False, (0, 8)):
        assert unshared(said, SRUN, {}) is None


def test_a_rank_that_is_another_one_now_is_an_error() -> None:
    """Lightning's first process is alone at the top of its script, and one of two in fit."""
    then = asked_ranks(True, {}, {})
    check_unchanged(True, then, {}, {})
    text = (
        r"This process was rank 0 of 1 when the loader was made \(by no launcher\), and is rank 3 of 4 now \(by RANK and WORLD_SIZE\): "
        r"ranks would share out the records differently\. Make the loader once the process group exists"
    )
    with pytest.raises(ConfigError, match=text):
        check_unchanged(True, then, TORCHRUN, {})
    for said in (None, False, (0, 1)):
        check_unchanged(said, then, TORCHRUN, {})
    same = asked_ranks(True, TORCHRUN, {})
    check_unchanged(True, same, {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "4"}, {})


@pytest.mark.parametrize(
    ("environ", "count", "source"),
    [
        pytest.param({}, 1, "", id="alone"),
        pytest.param(TORCHRUN, 2, "LOCAL_WORLD_SIZE", id="torchrun, Ray"),
        pytest.param(OPEN_MPI | {"OMPI_COMM_WORLD_LOCAL_SIZE": "3"}, 3, "OMPI_COMM_WORLD_LOCAL_SIZE", id="Open MPI"),
        pytest.param(MPICH, 3, "MPI_LOCALNRANKS", id="MPICH"),
        pytest.param(LSF, 4, "JSM_NAMESPACE_LOCAL_SIZE", id="LSF"),
        pytest.param(SRUN, 4, "SLURM_STEP_TASKS_PER_NODE", id="srun"),
        pytest.param(SBATCH, 1, "", id="sbatch without srun"),
        pytest.param(
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "3(x2),2", "SLURM_NODEID": "2"}, 2, "SLURM_STEP_TASKS_PER_NODE", id="uneven nodes"
        ),
        pytest.param(
            SRUN | {"SLURM_STEP_TASKS_PER_NODE": "3(x2),2", "SLURM_NODEID": "9"}, 3, "SLURM_STEP_TASKS_PER_NODE", id="no such node"
        ),
        pytest.param(SRUN | {"SLURM_STEP_TASKS_PER_NODE": "some"}, 4, "SLURM_NTASKS_PER_NODE", id="a list that is none"),
        pytest.param(SRUN | {"SLURM_STEP_TASKS_PER_NODE": "2(x999999999)"}, 2, "SLURM_STEP_TASKS_PER_NODE", id="a list without end"),
        pytest.param(LIGHTNING, 2, "LOCAL_RANK and WORLD_SIZE", id="Lightning"),
        pytest.param({"LOCAL_WORLD_SIZE": "0"}, 1, "", id="none at all"),
        pytest.param({"LOCAL_WORLD_SIZE": "x"} | OPEN_MPI, 1, "OMPI_COMM_WORLD_LOCAL_SIZE", id="no number"),
    ],
)
def test_ranks_of_one_machine_are_counted(environ: dict[str, str], count: int, source: str) -> None:
    """They share memory and cores, whether or not they share records."""
    assert find_neighbours(environ) == Neighbours(count=count, source=source)
