"""Frameworks are imported when they are asked for; a missing one is an error that says what to install."""

from __future__ import annotations

import importlib
from typing import Any

from streamload.errors import ConfigError


def framework(module: str, *, asked: str, extra: str) -> Any:
    """The module of a framework. Raises ConfigError where it is not installed; `asked` is the function that needs it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ConfigError(
            f"{asked} needs {module}, which is not installed.", hint=f'Run: pip install "streamload[{extra}]"', package=module
        ) from error
