"""How much is tried, and from which seed."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings

ASKED = int(os.environ.get("STREAMLOAD_FUZZ", "0"))
"""Round trips that are asked for; 0 for the few of the suite."""
SEED = int(os.environ.get("STREAMLOAD_FUZZ_SEED", random.SystemRandom().randrange(2**32) if ASKED else 1))


def tried(few: int, share: float) -> Callable[[Any], Any]:
    """A decorator for a property: `few` examples in the suite, a share of those that are asked for elsewhere."""
    count = max(few, int(ASKED * share))
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    phases = [Phase.explicit, Phase.generate, Phase.shrink]
    limits = settings(max_examples=count, database=None, deadline=None, suppress_health_check=checks, phases=phases, print_blob=True)

    def decorate(test: Any) -> Any:
        return seed(SEED)(limits(test))

    return decorate


def say_seed() -> None:
    """Print what gives the same examples again."""
    print(f"STREAMLOAD_FUZZ={ASKED} STREAMLOAD_FUZZ_SEED={SEED}", file=sys.stderr)
