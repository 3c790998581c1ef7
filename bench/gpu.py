"""What a machine with a CUDA GPU must show of `for_torch(device="cuda")`: equal batches, copies that overlap, nothing overwritten."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

import streamload as sl
from bench.frameworks import BATCH, FIELDS, SIZES, write


def main() -> None:
    """Check, measure, print; raises AssertionError where a batch is not what it must be."""
    import torch

    assert torch.cuda.is_available(), "there is no CUDA GPU here"
    shape, records = SIZES["150 KB"]
    with tempfile.TemporaryDirectory() as folder:
        write(path := Path(folder) / "train.h5", shape, records)
        with sl.open(path) as data, sl.Loader(data, batch_size=BATCH, num_workers=4) as loader:
            batches = sl.for_torch(loader, FIELDS, device="cuda")
            there = np.asarray(data[:records]["image"])
            held = []
            weight = torch.randn(4_096, 4_096, device="cuda")

            def compute(times: int) -> None:
                for _ in range(times):
                    weight @ weight

            for image, label in batches:
                compute(20)  # keeps the GPU busy while the next batches are copied
                held.append((image, label))
                if len(held) == 8:
                    for one, numbers in held:
                        assert np.array_equal(one.cpu().numpy(), there[numbers.cpu().numpy()])
                    held.clear()
            print("every batch holds the bytes of its records, eight held at a time")

            def timed(copy: bool, times: int) -> float:
                torch.cuda.synchronize()
                start = time.perf_counter()
                steps = batches if copy else range(len(loader))
                for _ in steps:
                    compute(times)
                torch.cuda.synchronize()
                return time.perf_counter() - start

            copying = median(timed(True, 0) for _ in range(3))
            times = max(1, round(20 * copying / timed(False, 20)))
            computing = median(timed(False, times) for _ in range(3))
            both = median(timed(True, times) for _ in range(3))
            print(
                f"copies {copying:.3f} s, compute {computing:.3f} s, both {both:.3f} s: {both / max(copying, computing):.2f} of the longer"
            )
            print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
