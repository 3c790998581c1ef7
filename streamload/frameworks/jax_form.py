"""Batches as JAX arrays, spread over devices and processes: the only place where a batch becomes such arrays."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from streamload.frameworks.fields import VALID, BatchFields, filled_up, is_number, is_text, refused
from streamload.frameworks.narrowing import narrowed
from streamload.loader.batch import Batch
from streamload.loader.loader import Loader
from streamload.schema import ROWS, Field

AHEAD = 2
"""Batches under way to an accelerator ahead of the one in use."""
CURE = "Turn on jax_enable_x64, or make smaller numbers of it in the loader's transform=."


class JaxForm:
    """How a batch becomes JAX arrays."""

    def __init__(self, choice: BatchFields, *, loader: Loader, sharding: Any) -> None:
        """Where a batch says which records count, it is filled up to as many as a full one of the loader has."""
        self._choice = choice
        self._loader = loader
        self._sharding = sharding
        self._packed = {field.name for field in choice.fields if field.ragged == ROWS}
        self._dtypes = {field.name: jax_dtype(field) for field in choice.fields}
        self.ahead = 0 if jax.default_backend() == "cpu" else AHEAD

    def begin(self, batch: Batch) -> Any:
        """Arrays that are on their way to their devices."""
        arrays = [self._array(batch, name) for name in self._choice.names]
        if self._sharding is None:
            return self._choice.arranged(jax.device_put(arrays))
        if jax.process_count() == 1:
            return self._choice.arranged(jax.device_put(arrays, self._sharding))
        return self._choice.arranged([jax.make_array_from_process_local_data(self._sharding, one) for one in arrays])

    def finish(self, begun: Any) -> Any:
        """What is handed out: JAX itself waits for what is on its way."""
        return begun

    def make(self, batch: Batch) -> Any:
        """What is handed out, of a batch that was not begun ahead."""
        return self.begin(batch)

    def _array(self, batch: Batch, name: str) -> NDArray[Any]:
        choice = self._choice
        array = narrowed(choice.value(batch, name), self._dtypes[name], name, cure=CURE)
        if not choice.has_valid or name in self._packed or len(array) >= (size := self._loader.batch_size):
            return array
        return filled_up(array, size) if name != VALID else np.concatenate([array, np.zeros(size - len(array), np.bool_)])


def jax_dtype(field: Field) -> np.dtype[Any]:
    """The dtype that a field has in JAX. Raises ConfigError where it has none."""
    if field.as_ragged or is_text(field) or not is_number(field):
        raise refused(field, "JAX")
    return np.dtype(jax.dtypes.canonicalize_dtype(field.dtype))
