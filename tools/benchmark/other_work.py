"""Work of others on the machine while something is measured: how much of the processors it took, and what that does to figures."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from streamload.memory.limits import usable_cores

MUCH_CORES, MUCH_STOLEN = 0.15, 0.02
"""Cores that others keep busy, and the share of time that a hypervisor takes away, from which on figures suffer."""
LEAST_TICKS = 5
"""Of the clock of processors, between two looks; over shorter times the load alone is said."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ticks:
    """What processors have done since the machine started, in ticks of their clock, all added up."""

    busy: int
    stolen: int
    whole: int
    own: float
    """Of these, what this process and the children that it waited for did."""


class OtherWork:
    """Looks at the processors now, and again when it is asked."""

    def __init__(self) -> None:
        self._before = _ticks()

    def found(self) -> dict[str, Any]:
        """What others did since then: busy cores, share of time stolen, and the machine's load; empty where the system does not say."""
        before, now = self._before, _ticks()
        if before is None or now is None:
            return {}
        whole = now.whole - before.whole
        enough = whole >= LEAST_TICKS
        cores = os.cpu_count() or 1
        others = max(0.0, (now.busy - before.busy) - (now.own - before.own))
        return {
            "busy_cores": others / whole * cores if enough else 0.0,
            "stolen": (now.stolen - before.stolen) / whole if enough else 0.0,
            "load": os.getloadavg()[0],
            "cores": usable_cores(),
        }


def told(found: dict[str, Any]) -> str:
    """What to say of it: nothing where others do little."""
    if not found or (found["busy_cores"] < MUCH_CORES and found["stolen"] < MUCH_STOLEN and found["load"] < 1.5 * found["cores"]):
        return ""
    stolen = f", {100 * found['stolen']:.0f} % of the time goes to other machines on this host" if found["stolen"] >= MUCH_STOLEN else ""
    return (
        f"other work runs here: it keeps {found['busy_cores']:.1f} of {found['cores']} cores busy (load {found['load']:.1f}){stolen}; "
        "rates come out lower than this machine can, and vary from run to run"
    )


def _ticks() -> Ticks | None:
    try:
        with open("/proc/stat") as file:
            counts = [int(word) for word in file.readline().split()[1:9]]
    except (OSError, ValueError):
        return None
    if len(counts) < 8:
        return None
    user, nice, system, _, _, interrupts, soft, stolen = counts  # the others are idle, and idle but waiting for a disk
    own = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
    return Ticks(busy=user + nice + system + interrupts + soft, stolen=stolen, whole=sum(counts), own=own)
