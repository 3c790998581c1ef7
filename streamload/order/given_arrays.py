"""Arrays as users give them: in memory, or as the path of a .npy file, which is mapped."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.masked_arrays import refuse_masked


def given_array(value: object, *, name: str, holds: str) -> NDArray[Any]:
    """The array that `value` is, or that the file of that path holds.

    `name` is the argument, and `holds` what it should hold, for the ConfigError that is raised where there is no array, or one some of
    which is masked.
    """
    if not isinstance(value, (str, os.PathLike)):
        refuse_masked(value, name)
        try:
            return np.asarray(value)
        except Exception as error:  # Whatever a tensor of somebody else's, such as one on a GPU, makes of it.
            raise ConfigError(f"{name} is not an array: {str(error).rstrip('.')}.", hint=f"Give {holds}.") from error
    path = os.fspath(value)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return found
        found.close()
        raise ValueError("it is an archive of arrays")
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{name}{path!r} cannot be read: {error}.", hint=f"Name a .npy file of {holds} (numpy.save).") from error
