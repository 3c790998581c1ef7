"""The main job, shown: shuffled epochs over an HDF5 file larger than the memory allowed, with a model that learns from them."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamload as sl
from streamload.loader.budget import Footprint
from streamload.loader.stats import Stats
from streamload.sizes import format_nbytes, parse_nbytes
from streamload.storage.owned_files import Folder, temporary_folder
from streamload.tools.benchmark.cgroup import MemoryCeiling, confined
from streamload.tools.benchmark.memory_usage import MemoryUsage, MemoryWatch
from streamload.tools.convert.readers.decoded_images import image_names
from streamload.tools.demonstration.classifier import Classifier, features
from streamload.tools.demonstration.dataset import PHOTOGRAPHS, Crops, make_crops, records_of, write_crops
from streamload.tools.progress import bar
from streamload.tools.trainable import IMAGE_SIZE, is_image, is_label
from streamload.workers.launcher import Launcher

FOR_INTERPRETERS = 256 * 1024**2
"""Memory beside the loader's own, for Python, NumPy, h5py and compiled code in all processes."""
TESTED_CROPS = 2400


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamingResult:
    """What one run over the data came to."""

    title: str
    stats: Stats
    footprint: Footprint
    before: MemoryUsage
    peak: MemoryUsage
    accuracy: float | None

    @property
    def seconds(self) -> float:
        """How long it took, once the workers were up."""
        return max(1e-9, self.stats.wait_seconds + self.stats.consumer_seconds)

    @property
    def row(self) -> tuple[str, ...]:
        """Its line in the table; no rates of a single step, with which the clock begins."""
        timed = self.stats.steps > 1
        return (
            self.title,
            f"{self.stats.records / self.seconds:,.0f}" if timed else "",
            f"{self.stats.nbytes / self.seconds / 1e6:,.0f}" if timed else "",
            f"{100 * self.stats.wait_seconds / self.seconds:.0f} %" if timed else "",
            format_nbytes(self.footprint.total),
            format_nbytes(self.peak.own_nbytes),
            format_nbytes(self.peak.file_nbytes),
            "" if self.accuracy is None else f"{self.accuracy:.3f}",
        )


def stream(
    title: str, data: sl.Source, *, epochs: int, options: dict[str, Any], test: Crops | None, seconds: float | None = None
) -> StreamingResult:
    """Stream `data` for some epochs, or until `seconds` are over; with `test`, a model learns from it and is tested on that."""
    started = time.monotonic()
    with MemoryWatch() as watch, sl.Loader(data, **options) as loader:
        steps = epochs * len(loader)
        model = None
        if test is not None:
            model = Classifier(inputs=features(test.images[:1]).shape[1], classes=len(PHOTOGRAPHS), steps=steps, rate=0.1)
        with bar(title, total=steps) as shown:
            for batch in (batch for epoch in loader.epochs(epochs) for batch in epoch):
                note = f"epoch {batch.epoch + 1} of {epochs}"
                if model is not None:
                    note += f", loss {model.learn(batch['image'], batch['label']):.2f}"
                shown.show(batch.total_step + 1, note)
                if seconds is not None and time.monotonic() - started > seconds:
                    break
        stats, footprint = loader.stats, loader.footprint()
    return StreamingResult(
        title=title,
        stats=stats,
        footprint=footprint,
        before=watch.start,
        peak=watch.peak,
        accuracy=model.accuracy(test.images, test.labels) if model is not None and test is not None else None,
    )


def table(passes: Sequence[StreamingResult]) -> str:
    """The figures of all passes, one a line."""
    lines = [("", "records/s", "MB/s", "waited", "budgeted", "processes", "page cache", "accuracy"), *(each.row for each in passes)]
    if all(each.accuracy is None for each in passes):
        lines = [line[:-1] for line in lines]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in lines]
    return "\n".join([text[0], "-" * len(text[0]), *text[1:]])


@contextmanager
def scratch_folder(within: str | None) -> Iterator[Path]:
    """A folder that is gone afterwards: by default in the cache folder, which is on a disk where /tmp may be memory."""
    home = Path(within or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "streamload")
    with ExitStack() as held:
        try:
            with Folder.named(home, make=0o777) as found:
                made = held.enter_context(temporary_folder("demo-", found.path))
        except OSError:
            made = held.enter_context(temporary_folder("streamload-demo-"))
        yield Path(made)


def make_file(path: Path, *, nbytes: int) -> int:
    """Write the demo's file, with a bar, and let the page cache forget it; the number of records."""
    free = shutil.disk_usage(path.parent).free
    if free < nbytes * 1.1:
        raise SystemExit(
            f"The demo needs {format_nbytes(nbytes)}, and {path.parent} has {format_nbytes(free)} left. Give a smaller --size."
        )
    with bar("cutting photographs", total=records_of(nbytes)) as shown:
        count = write_crops(path, nbytes=nbytes, seed=0, progress=lambda done: shown.show(done, path.name))
    with path.open("rb") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return count


def demonstrate_own(arguments: argparse.Namespace) -> None:
    """Make a file of real pixels and stream it in three orders."""
    nbytes, memory = parse_nbytes(arguments.size, name="--size"), parse_nbytes(arguments.memory or "160 MB", name="--memory")
    ceiling = memory + FOR_INTERPRETERS
    with scratch_folder(arguments.folder) as folder, ExitStack() as stack:
        path = folder / "photographs.h5"
        make_file(path, nbytes=nbytes)
        test = make_crops(TESTED_CROPS, seed=1)
        data = sl.open(path)
        print(f"\n{data!r}\n  stored class by class: {', '.join(name.partition('.')[0] for name in PHOTOGRAPHS)}\n")
        group = confined(ceiling)
        print(
            f"file {format_nbytes(path.stat().st_size)}; the loader may use {format_nbytes(memory)}; "
            + (
                f"a control group holds all processes and their page cache to {format_nbytes(ceiling)}\n"
                if group is not None
                else "no control group can be made here, so nothing but the loader's own budget limits memory\n"
            )
        )
        if group is not None:
            stack.enter_context(group)
            stack.callback(Launcher.shutdown)
        options = {"batch_size": arguments.batch_size, "seed": 0, "num_workers": arguments.workers, "memory": memory}
        orders: dict[str, Any] = {
            "block shuffle": sl.Block(window=memory // 3),
            "exact shuffle": sl.Exact(),
            "no shuffle": False,
        }
        passes = [
            stream(title, data, epochs=arguments.epochs, options=options | {"shuffle": order}, test=test) for title, order in orders.items()
        ]
        alone = stream("block, no model", data, epochs=1, options=options | {"shuffle": orders["block shuffle"]}, test=None)
        report([*passes, alone], group=group)
        guessing = 1 / len(PHOTOGRAPHS)
        print(f"accuracy: on {TESTED_CROPS:,} other crops of the same {len(PHOTOGRAPHS)} photographs; guessing gives {guessing:.3f}")


def open_own(paths: Sequence[str]) -> sl.Source:
    """The user's data, images of different sizes decoded to IMAGE_SIZE."""
    data = sl.open(paths)
    differing = [name for name in image_names(data) if data.schema[name].ragged]
    if not differing:
        return data
    data.close()
    return sl.open(paths, decode=dict.fromkeys(differing, IMAGE_SIZE))


def demonstrate_file(arguments: argparse.Namespace) -> None:
    """Stream the user's data as they are."""
    data = open_own(arguments.file)
    print(f"{data!r}\n")
    options: dict[str, Any] = {"batch_size": arguments.batch_size, "shuffle": True, "seed": 0, "num_workers": arguments.workers}
    if arguments.memory:
        options["memory"] = parse_nbytes(arguments.memory, name="--memory")
    one = stream(Path(arguments.file[0]).name, data, epochs=arguments.epochs, options=options, test=None, seconds=arguments.seconds)
    report([one], group=None)
    print("\n" + next_steps(arguments.file, data, batch_size=arguments.batch_size))


def next_steps(paths: Sequence[str], data: sl.Source, *, batch_size: int) -> str:
    """What to do from here with data of one's own: the loop, and the commands that say more of it."""
    given = paths[0] if len(paths) == 1 else list(paths)
    sizes = {name: IMAGE_SIZE for name in image_names(data) if data.schema[name].shape[:2] == IMAGE_SIZE}
    call = f"sl.open({given!r}" + (f", decode={sizes}" if sizes else "") + ")"
    arrays = ", ".join(f"batch[{name!r}]" for name in data.schema.names[:3])
    commands = {"info": "what it holds, what was left out, and what would make it faster"}
    if image_names(data) or any(map(is_image, data.schema)):
        commands["show"] = "its first images"
    if any(map(is_image, data.schema)) and any(map(is_label, data.schema)):
        commands["init"] = "a script that trains on it, with PyTorch unless --framework says another"
    path = shlex.quote(paths[0])
    words = {
        name: f"{name} {path}" + (f" --decode {IMAGE_SIZE[0]}x{IMAGE_SIZE[1]}" if sizes and name == "init" else "") for name in commands
    }
    width = max(map(len, words.values()))
    lines = [
        "in a program of yours:",
        "  import streamload as sl",
        f"  with sl.Loader({call}, batch_size={batch_size}, shuffle=True, seed=0) as loader:",
        "      for batch in loader:",
        f"          {arrays}    # arrays of {batch_size:,} records",
        "at the prompt, after `source .venv/bin/activate`:",
        *(f"  streamload {words[name]:<{width}}    # {what}" for name, what in commands.items()),
    ]
    return "\n".join(lines)


def report(passes: Sequence[StreamingResult], *, group: MemoryCeiling | None) -> None:
    """Print what was measured."""
    print("\n" + table(passes) + "\n")
    print("what each loop waited for:")
    for each in passes:
        print(f"  {each.title}: {each.stats.verdict}")
    most = max(passes, key=lambda each: each.peak.own_nbytes)
    print("memory:")
    print(f"  budgeted: {most.footprint}")
    print(
        f"  processes: the most that all {most.peak.processes} held at once, interpreters included, shared memory counted once; "
        f"{format_nbytes(most.before.own_nbytes)} of it was there before the loader"
    )
    print("  page cache: pages of files that they have mapped, program code among them; the kernel takes them back when it must")
    if group is not None:
        print(f"  control group: peak {format_nbytes(group.measure())} of {format_nbytes(group.nbytes)}, all page cache included")


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo as the command line says; the exit status."""
    parser = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    parser.add_argument("file", nargs="*", help="data of your own to stream, files or a folder, instead of a file made for the demo")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--memory", help='what the loader may use, such as "160 MB"')
    parser.add_argument("--size", default="576 MB", help="of the file that the demo makes")
    parser.add_argument("--folder", help="where to make it; the cache folder unless given")
    parser.add_argument("--seconds", type=float, default=60, help="the most to spend on files of your own")
    arguments = parser.parse_args(words)
    try:
        if arguments.file:
            demonstrate_file(arguments)
        else:
            demonstrate_own(arguments)
    except sl.StreamloadError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
