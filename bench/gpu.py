"""What a machine with a CUDA GPU must show of `for_torch(device="cuda")`: equal batches, copies that overlap, nothing overwritten.

`python -m bench.gpu` takes a minute or two, 0.6 GB of a disk and 2 GB of memory. Where there is no GPU, and with `--device cpu`, the
same checks run with nothing to pin. Every check is a line; the exit status is 1 if one fails, and the others run all the same.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import h5py
import numpy as np

import streamload as sl
from bench.frameworks import BATCH, FIELDS, write

SHAPE = (224, 224, 3)
HELD = 8
"""Batches that are held while others come."""
PASSES = 5
STEPS = 60
"""Of a pass that is timed, at least: three batches are begun before the first is handed out, and nothing is computed until then."""
ROWS = 256
"""Of a product in a pass that is timed: it takes a fraction of a millisecond."""
LONGER = 1.2
"""Times the longer of copying and computing that both together may take."""


class Machine:
    """The device, its clock, and something that keeps it busy."""

    def __init__(self, name: str) -> None:
        import torch

        self.torch = torch
        self.device = torch.device(name)
        self.cuda = self.device.type == "cuda"
        side = 4_096 if self.cuda else 128
        self._weight = torch.randn(side, side, device=self.device)

    def wait(self) -> None:
        """Until all that was asked for is done."""
        if self.cuda:
            self.torch.cuda.synchronize(self.device)

    def compute(self, times: int, *, rows: int | None = None) -> None:
        """Ask for so many products of matrices, or of so many rows of one: shorter ones, of which a number can be chosen."""
        for _ in range(times):
            self._weight[:rows] @ self._weight

    def __str__(self) -> str:
        name = self.torch.cuda.get_device_name(self.device) if self.cuda else "CPU"
        return f"{name}, torch {self.torch.__version__}, CUDA {self.torch.version.cuda}"


class Trial(NamedTuple):
    """A loader, and what is in its file."""

    machine: Machine
    loader: sl.Loader
    images: Any
    """Of all records, by number: uint8, on the CPU."""

    def batches(self, fields: tuple[str, ...] | None = FIELDS, **asked: Any) -> Any:
        """What is tried, towards the device."""
        return sl.for_torch(self.loader, fields, **{"device": self.machine.device, **asked})

    def check(self, image: Any, label: Any) -> list[int]:
        """The numbers of a batch's records. Raises AssertionError unless it holds their bytes, and lies where it should."""
        assert image.device.type == label.device.type == self.machine.device.type, f"it lies on {image.device} and {label.device}"
        numbers = label.cpu()
        there = self.images[numbers]
        # Compared where it lies, and as it comes back.
        assert self.machine.torch.equal(image, there.to(self.machine.device)), f"other bytes in the batch of {numbers[:3].tolist()}..."
        assert self.machine.torch.equal(image.cpu(), there), f"other bytes come back of the batch of {numbers[:3].tolist()}..."
        return numbers.tolist()


def equal(trial: Trial, batches: Iterable[Any]) -> str:
    """Every record once, and each batch its records' bytes, after others have come and the device was busy."""
    held: deque[Any] = deque()
    seen: list[int] = []
    for image, label in batches:
        trial.machine.compute(20)  # The next batches are copied meanwhile.
        held.append((image, label))
        if len(held) > HELD:
            seen += trial.check(*held.popleft())
    for image, label in held:
        seen += trial.check(image, label)
    assert sorted(seen) == list(range(len(trial.images))), "a record is missing, or came twice"
    return f"{len(seen):,} records once each, every byte, {HELD} batches held"


def on_another_stream(trial: Trial) -> str:
    """Whoever works on a stream of his own is waited for, and waits, as the default stream does."""
    if not trial.machine.cuda:
        return equal(trial, trial.batches()) + " (there are no streams)"
    with trial.machine.torch.cuda.stream(trial.machine.torch.cuda.Stream(trial.machine.device)):
        return equal(trial, trial.batches())


def not_overwritten(trial: Trial) -> str:
    """Batches are let go of while work on them is only asked for: their memory must not be used again before it is done."""
    torch, sums = trial.machine.torch, []
    for image, label in trial.batches():
        trial.machine.compute(30)  # What follows waits for this.
        sums.append((image.sum(dim=(1, 2, 3), dtype=torch.int64), label.clone()))
        del image, label
    trial.machine.wait()
    there = torch.stack([one.sum(dtype=torch.int64) for one in trial.images])
    for total, label in sums:
        assert torch.equal(total.cpu(), there[label.cpu()]), "a batch was overwritten before the work on it was done"
    return f"{len(sums)} batches let go of at once, their sums right"


def state_of_the_batch_in_use(trial: Trial) -> str:
    """What is under way is not in it; a pass that is resumed there goes on with the next batch."""
    batches = trial.batches()
    begun = iter(batches)
    for _ in range(3):
        next(begun)
    state = batches.state_dict()
    following = next(begun)[1].tolist()
    batches.load_state_dict(state)
    assert next(iter(batches))[1].tolist() == following, "a batch is lost or comes twice"
    return f"after three batches, at position {state['position']:,}"


def pinned_alone(trial: Trial) -> str:
    """`pin_memory=True` without a device."""
    image, label = next(iter(trial.batches(device=None, pin_memory=True)))
    assert image.is_pinned() == label.is_pinned() == trial.machine.cuda, "it is not pinned"
    assert trial.machine.torch.equal(image, trial.images[label]), "other bytes"
    return "pinned, with its bytes" if trial.machine.cuda else "nothing to pin"


def overlap(trial: Trial) -> str:
    """Copying and computing at once take hardly longer than the longer of the two."""
    machine, batches = trial.machine, trial.batches()

    def timed(steps: Iterable[Any], times: int) -> float:
        machine.wait()
        start = time.perf_counter()
        for _ in steps:
            machine.compute(times, rows=ROWS)
        machine.wait()
        return time.perf_counter() - start

    def both(times: int) -> float:
        return median(timed(batches, times) for _ in range(PASSES))

    steps = range(len(trial.loader))
    timed(batches, 1), timed(steps, 1)  # Memory is pinned, and products are tuned, when they are first asked for.
    alone = median(timed(trial.loader, 0) for _ in range(PASSES))
    copying = both(0)
    times = max(1, round(20 * copying / median(timed(steps, 20) for _ in range(3))))
    computing = median(timed(steps, times) for _ in range(PASSES))
    together = both(times)
    ratio = together / max(copying, computing)
    rate = trial.images.numel() / copying / 1e9
    found = f"loader {alone:.3f} s, copies {copying:.3f} s ({rate:.2f} GB/s), compute {computing:.3f} s, both {together:.3f} s"
    assert ratio <= LONGER or not machine.cuda, f"{found}: {ratio:.2f} of the longer, and it should be {LONGER} at most"
    return f"{found}: {ratio:.2f} of the longer"


CHECKS: dict[str, Callable[[Trial], str]] = {
    "equal": lambda trial: equal(trial, trial.batches()),
    "equal, not pinned": lambda trial: equal(trial, trial.batches(pin_memory=False)),
    "equal, as a DataLoader": lambda trial: equal(trial, trial.batches(dataloader=True)),
    "equal, on another stream": on_another_stream,
    "channels first": lambda trial: equal(
        trial, ((image.permute(0, 2, 3, 1), label) for image, label in trial.batches(channels_first=True))
    ),
    "not overwritten": not_overwritten,
    "state": state_of_the_batch_in_use,
    "pinned": pinned_alone,
    "overlap": overlap,
}


def main(given: list[str] | None = None) -> int:
    """Check, measure, print; returns the exit status."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--records", type=int, default=4_000)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--workers", type=int, default=None)
    options = parser.parse_args(given)
    machine, failed = Machine(options.device), []
    print(machine, flush=True)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You hold more than")  # On a CPU tensors are the batches themselves, and many are held.
        write(path := Path(folder) / "train.h5", SHAPE, options.records)
        with h5py.File(path) as file:
            images = torch.from_numpy(np.asarray(file["image"]))
        for name, check in CHECKS.items():
            size = options.batch if check is not overlap else max(1, min(options.batch, options.records // STEPS))
            try:
                with sl.Loader(sl.open(path), batch_size=size, num_workers=options.workers) as loader:
                    print(f"{name}: {check(Trial(machine, loader, images))}", flush=True)
            except Exception:
                failed.append(name)
                print(f"{name}: FAILED\n{traceback.format_exc()}", flush=True)
    if machine.cuda:
        print(f"most memory on the GPU: {torch.cuda.max_memory_allocated(machine.device) / 1e9:.2f} GB")
    print(f"FAILED: {', '.join(failed)}" if failed else "all right")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
