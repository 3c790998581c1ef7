"""Accelerators that are not there: how long a step of a known model computes, and what share of its time it then does so.

Compute times, batch sizes and thresholds are those of MLPerf Storage v1.0 (github.com/mlcommons/storage, files
`configs/dlio/workload/{resnet50,unet3d,cosmoflow}_{a100,h100}.yaml`: `computation_time`, `batch_size`, `metric.au`, and
`record_length` for the bytes of the workloads' own records).
Utilisation is as its load generator counts it (DLIO, `statscounter.py`): the time that the steps compute over the time
that passes from the end of the first step, which is left out, to the end of the last. A run passes at 90 % for ResNet-50
and 3D U-Net, at 70 % for CosmoFlow. The records here are the user's own, so these are no MLPerf results.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from streamload.errors import ConfigError
from streamload.tools.console import meant

THRESHOLD, BATCH = 0.9, 256
"""For compute times that the user gives."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """A model that trains on accelerators of some kind."""

    name: str
    batch: int
    """Records of a step."""
    compute_seconds: dict[str, float]
    """Of a step, by accelerator."""
    threshold: float
    """The utilisation that must be reached."""
    record_nbytes: int = 0
    """Of the workload's own records; 0 where it has none."""

    def needs(self, accelerator: str) -> float:
        """Records a second that one accelerator takes at the threshold."""
        return self.threshold * self.batch / self.compute_seconds[accelerator]

    def feeds(self, rate: float, accelerator: str) -> int:
        """How many accelerators a loader of `rate` records a second keeps at the threshold."""
        return math.floor(rate / self.needs(accelerator))


WORKLOADS = {
    "resnet50": Workload(name="ResNet-50", batch=400, compute_seconds={"H100": 0.224, "A100": 0.435}, threshold=0.9, record_nbytes=114_660),
    "unet3d": Workload(name="3D U-Net", batch=7, compute_seconds={"H100": 0.323, "A100": 0.636}, threshold=0.9, record_nbytes=146_600_628),
    "cosmoflow": Workload(
        name="CosmoFlow", batch=1, compute_seconds={"H100": 0.0035, "A100": 0.00551}, threshold=0.7, record_nbytes=2_828_486
    ),
}


def workload(asked: str, batch: int | None = None) -> Workload:
    """A workload by its name, or one that computes so many seconds a step of `batch` records, by default 256.

    Raises ConfigError for what is neither, and for another `batch` than that for which it is known how long a model computes.
    """
    if asked in WORKLOADS:
        known = WORKLOADS[asked]
        if batch not in (None, known.batch):
            raise ConfigError(
                f"--batch is {batch}, and how long {known.name} computes is known for steps of {known.batch:,} records.",
                hint="Leave one of them out, or give seconds a step in place of the name.",
            )
        return known
    try:
        seconds = float(asked)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 3600:
        raise ConfigError(
            f"--model {asked} is neither a model that is known nor seconds a step.", hint=meant(asked, [*WORKLOADS, "0.1 (seconds a step)"])
        )
    return Workload(name=f"{seconds:g} s a step", batch=batch or BATCH, compute_seconds={"accelerator": seconds}, threshold=THRESHOLD)


def utilisation(one: dict[str, Any], compute_seconds: float) -> float:
    """Compute time over total time of a pass that computed so long in every step, its first step left out; 0 to 1."""
    return min(1.0, one["steps"] * compute_seconds / one["seconds"]) if one["seconds"] else 0.0
