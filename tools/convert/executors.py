"""Where tasks are done: in processes of this machine, on any executor of concurrent.futures, or on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from typing import Any, Protocol

from streamload.errors import ConfigError, ConversionError, StreamloadError, from_plain
from streamload.tools.convert.processes import Children
from streamload.tools.convert.tasks import perform

DASK = "dask://"
CONNECT_SECONDS = 10

Done = Callable[[dict[str, Any], dict[str, Any]], None]


class TaskExecutor(Protocol):
    """Does tasks that do not depend on each other."""

    @property
    def workers(self) -> int:
        """How many tasks are done at a time, as far as that is known."""
        ...

    def run(self, tasks: Sequence[dict[str, Any]], done: Done, saw: Callable[[int], None]) -> None:
        """Do all; `done` hears of each as it is finished, `saw` of records under way. Raises what the first failing one raised."""
        ...


class ProcessExecutor:
    """Processes of this machine, which end with this one."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, tasks: Sequence[dict[str, Any]], done: Done, saw: Callable[[int], None]) -> None:
        """Do all tasks."""
        Children(saw).run(tasks, self.workers, done)


class FuturesExecutor:
    """Any executor of concurrent.futures: each task is one call, and what it needs are plain values and files that all can see."""

    def __init__(self, executor: Executor, workers: int) -> None:
        self._executor = executor
        self.workers = workers

    def run(self, tasks: Sequence[dict[str, Any]], done: Done, saw: Callable[[int], None]) -> None:
        """Do all tasks; the first that fails keeps those from being done that are not yet under way."""
        futures: dict[Future[dict[str, Any]], dict[str, Any]] = {self._executor.submit(perform, task): task for task in tasks}
        try:
            for future in as_completed(futures):
                task = futures[future]
                answer = _answer(future, task)
                path = str(task["path"])
                if task["kind"] == "write" and not (os.path.isfile(path) and os.path.getsize(path) == answer["entry"]["nbytes"]):
                    raise ConversionError(
                        f"{path} was written by a worker, and is not to be seen from here.",
                        hint="Convert to a folder that all machines of the cluster share.",
                    )
                done(task, answer)
                saw(int(task.get("stop", 0)) - int(task.get("start", 0)))
        finally:
            for future in futures:
                future.cancel()


def _answer(future: Future[dict[str, Any]], task: dict[str, Any]) -> dict[str, Any]:
    try:
        message = future.result()
    except StreamloadError:
        raise
    except Exception as error:
        raise ConversionError(
            f"The worker that reads {task['request']['path']} for {os.path.basename(str(task['path']))} was lost: "
            f"{type(error).__name__}: {error}",
            hint="Too little memory, or a machine that lacks streamload? The same command does what is missing.",
        ) from error
    if "error" in message:
        raise from_plain(message["error"])
    return dict(message["answer"])


@contextmanager
def engine_of(text: str | None, workers: int) -> Iterator[TaskExecutor]:
    """The engine that was asked for: processes of this machine, or the cluster at dask://host:port."""
    if text is None or text == "local":
        yield ProcessExecutor(workers)
        return
    if not text.startswith(DASK) or not text[len(DASK) :]:
        raise ConfigError(f"--engine {text} is not known.", hint="Leave it out, or give the scheduler of a cluster: dask://host:8786.")
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigError("--engine dask:// needs Dask's distributed.", hint="pip install 'streamload[dask]'.") from error
    try:
        client: Any = Client(f"tcp://{text[len(DASK) :]}", timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"There is no scheduler at {text}: {error}.", hint="Start one: dask scheduler; then dask worker HOST:8786."
        ) from error
    try:
        threads = sum(client.nthreads().values())
        if not threads:
            raise ConfigError(f"The scheduler at {text} has no workers.", hint="Start some: dask worker HOST:8786.")
        with client.get_executor(pure=False, retries=1) as executor:
            yield FuturesExecutor(executor, threads)
    finally:
        client.close()
