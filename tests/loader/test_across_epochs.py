"""Workers live across epochs and work ahead of them; loaders share a launcher, and threads share a loader."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loader_files import check_against, epochs, gzip, taken, values, window, write
from time_limits import Deadline

import streamload as sl
from streamload.workers.launcher import Launcher

pytestmark = pytest.mark.filterwarnings("ignore:A window mixes only")  # these files are far too small for good windows


@pytest.fixture
def data(tmp_path: Path) -> sl.Source:
    """100 records."""
    return sl.open(write(tmp_path / "data.h5"))


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for what must come, without asking the loader for anything."""
    deadline = Deadline(seconds)
    while not condition():
        assert not deadline.passed, "it did not happen"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_workers_persist_across_epochs_and_breaks(data: sl.Source) -> None:
    """The same processes for whole epochs, broken-off ones, resumes and subsets of epochs."""
    with sl.Loader(data, batch_size=10, num_workers=3) as loader:
        next(iter(loader))
        wait_until(lambda: len(loader.worker_pids) == 3)
        pids = loader.worker_pids
        taken(loader)
        next(iter(loader))
        loader.load_state_dict(loader.state_dict())
        epochs(loader, 4)
        assert loader.worker_pids == pids
        assert all(map(alive, pids))
    wait_until(lambda: not any(map(alive, pids)))


@pytest.mark.parametrize("how", ["for", "epochs"])
@pytest.mark.parametrize("shuffle", [sl.Exact(), window(24)], ids=["exact", "block"])
def test_the_next_epoch_is_begun_before_this_one_is_consumed(tmp_path: Path, how: str, shuffle: object) -> None:
    """When the last batch of an epoch has been handed out, the first of the next is filled without being asked for."""
    with sl.Loader(sl.open(gzip(tmp_path / "data.h5")), batch_size=10, num_workers=2, shuffle=shuffle) as loader:
        for epoch in [loader, loader] if how == "for" else loader.epochs(2):
            for batch in epoch:
                if batch.step < 9:
                    continue
                filled = 10 * (batch.epoch + 1) + 1
                if how == "for" or batch.epoch == 0:
                    wait_until(lambda filled=filled: loader._live.work()["steps"] >= filled)
        if how == "epochs":
            wait_until(lambda: loader._live.work()["steps"] >= 20)
            assert loader._live.work()["steps"] == 20, "beyond the last epoch that was asked for nothing is prepared"


def test_a_new_loader_prepares_its_first_batches_at_once(data: sl.Source) -> None:
    with sl.Loader(data, batch_size=10, num_workers=1) as loader:
        wait_until(lambda: loader._live.work()["steps"] >= 3)
        check_against(epochs(loader, 2), *values(100))


class TestLoadersSideBySide:
    """Loaders share one launcher, and nothing else."""

    def test_share_a_launcher(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=10, num_workers=2) as one, sl.Loader(data, batch_size=15, num_workers=2, seed=1) as other:
            launcher = Launcher.current().pid
            assert sum(1 for _ in zip(one, other, strict=False)) == 7
            for pid in (*one.worker_pids, *other.worker_pids):
                assert Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1] == str(launcher)
            assert len({*one.worker_pids, *other.worker_pids}) == 4

    def test_do_not_change_each_other(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=10, num_workers=0) as loader:
            alone = epochs(loader, 3)
        with sl.Loader(data, batch_size=10, num_workers=2) as one, sl.Loader(data, batch_size=7, num_workers=1, seed=4) as other:
            together: list[Any] = []
            for epoch in one.epochs(3):
                for batch in epoch:
                    together += taken([batch])
                    if batch.step % 3 == 0:
                        check_against(taken([next(iter(other))]), *values(100))
            assert together == alone

    def test_one_that_ends_leaves_the_other_at_work(self, data: sl.Source) -> None:
        with sl.Loader(data, batch_size=10, num_workers=1) as loader:
            epoch = iter(loader)
            next(epoch)
            for _ in range(3):
                other = sl.Loader(data, batch_size=10, num_workers=2)
                next(iter(other))
                del other
                gc.collect()
            assert len(taken(epoch)) == 9

    def test_many_at_once(self, data: sl.Source) -> None:
        loaders = [sl.Loader(data, batch_size=10, num_workers=1, seed=seed) for seed in range(8)]
        for batches in zip(*loaders, strict=True):
            check_against(taken(batches), *values(100))
            del batches
        for loader in loaders:
            loader.close()


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_loop_inside_a_loop_over_the_same_loader_is_a_clear_error(data: sl.Source, workers: int) -> None:
    inner = 0
    with sl.Loader(data, batch_size=10, num_workers=workers) as loader:
        said = r"epoch 0 was closed: a newer iterator of the same loader began\. .*two loaders can run side by side"
        with pytest.raises(sl.LoaderClosedError, match=said):  # noqa: PT012 (the loop is what raises)
            for _ in loader:
                for _ in loader:
                    inner += 1
        assert inner == 10
        assert [batch.epoch for batch in loader] == [2] * 10


@pytest.mark.filterwarnings("ignore:You hold more than")
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_four_threads_at_one_epoch_get_each_batch_once(data: sl.Source, workers: int) -> None:
    with sl.Loader(data, batch_size=1, num_workers=workers) as loader:
        for _ in range(3):
            epoch = iter(loader)
            found: list[Any] = []
            wrong: list[BaseException] = []

            def take(epoch: sl.Batch = epoch, found: list[Any] = found, wrong: list[BaseException] = wrong) -> None:
                try:
                    for batch in epoch:
                        found.extend(taken([batch]))
                        del batch
                except BaseException as error:
                    wrong.append(error)

            threads = [threading.Thread(target=take) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert wrong == []
            assert sorted(step for _, step, *_ in found) == list(range(100))
            assert len({record for _, _, records, _, _ in found for record in records}) == 100
            check_against(found, *values(100))


@pytest.mark.filterwarnings("ignore:You hold more than")
@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_four_threads_that_each_begin_epochs_end_each_other(data: sl.Source, workers: int) -> None:
    """Never a crash: batches of one epoch, or an error that says that a newer iterator began."""
    wrong: list[BaseException] = []
    found: list[Any] = []

    def loop() -> None:
        for _ in range(5):
            try:
                for batch in loader:
                    found.extend(taken([batch]))
            except sl.LoaderClosedError as error:
                assert "newer iterator" in str(error)  # noqa: PT017 (the loop may also end without one)
            except BaseException as error:
                wrong.append(error)

    with sl.Loader(data, batch_size=10, num_workers=workers) as loader:
        threads = [threading.Thread(target=loop) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        check_against(found, *values(100))
        assert len({(epoch, step) for epoch, step, *_ in found}) == len(found)
        assert len(taken(loader)) == 10


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
@pytest.mark.parametrize("what", ["close", "load_state_dict"])
def test_what_another_thread_does_ends_the_loop_by_name(data: sl.Source, workers: int, what: str) -> None:
    for _ in range(5):
        loader = sl.Loader(data, batch_size=1, num_workers=workers)
        started = threading.Event()
        state = loader.state_dict()

        def meddle(loader: sl.Loader = loader, started: threading.Event = started, state: dict[str, Any] = state) -> None:
            started.wait()
            loader.close() if what == "close" else loader.load_state_dict(state)

        thread = threading.Thread(target=meddle)
        thread.start()
        said = r"the loader was closed|this loader was closed|moved by load_state_dict"
        with pytest.raises(sl.LoaderClosedError, match=said):  # noqa: PT012 (the loop is what raises)
            for _ in range(10):
                for batch in loader:
                    check_against(taken([batch]), *values(100))
                    started.set()
        thread.join()
        loader.close()


@pytest.mark.parametrize("workers", [0, 2], ids="{} workers".format)
def test_a_step_that_failed_is_tried_again_when_the_loop_is(tmp_path: Path, data: sl.Source, workers: int) -> None:
    """What failed once may succeed later: `epochs` goes on with the batch that was not handed out."""
    flag = str(tmp_path / "flag")

    def fails_while_there_is_a_flag(record: dict[str, Any]) -> dict[str, Any]:
        if record["label"] == 50 * 3 - 7 and os.path.exists(flag):
            raise OSError("not yet")
        return record

    Path(flag).touch()
    with sl.Loader(data, batch_size=10, num_workers=workers, shuffle=False, transform=fails_while_there_is_a_flag) as loader:
        for _ in range(2):
            with pytest.raises(sl.TransformError, match="failed on record 50 with OSError: not yet"):
                epochs(loader, 1)
            assert loader.state_dict()["position"] == 50
        os.unlink(flag)
        assert [step for _, step, *_ in epochs(loader, 1)] == [5, 6, 7, 8, 9]


def test_a_fork_of_the_user_has_its_own_launcher(data: sl.Source) -> None:
    """A child that the user forked is told so, and can make loaders of its own; the parent's goes on."""
    with sl.Loader(data, batch_size=10, num_workers=1) as loader:
        epoch = iter(loader)
        next(epoch)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                try:
                    next(epoch)
                except sl.LoaderClosedError as error:
                    if "belongs to the process that made it" in str(error):
                        with sl.Loader(data, batch_size=10, num_workers=1) as own:
                            status = 0 if sum(len(batch.records) for batch in own) == 100 else 2
                        Launcher.shutdown()
            finally:
                os._exit(status)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert len(taken(epoch)) == 9


def test_random_numbers_of_a_transform_do_not_depend_on_who_runs_it(data: sl.Source) -> None:
    """From the generator that it is given, and from the global ones: the same for every number of workers, fresh each epoch."""

    def noisy(record: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        return {"image": record["image"], "label": rng.integers(1 << 40) + np.random.randint(1000)}

    runs = []
    for workers in (0, 1, 3):
        with sl.Loader(data, batch_size=10, num_workers=workers, transform=noisy) as loader:
            runs.append(epochs(loader, 2))
    assert runs[0] == runs[1] == runs[2]
    assert {labels for _, _, _, _, labels in runs[0][:10]}.isdisjoint(labels for _, _, _, _, labels in runs[0][10:])
