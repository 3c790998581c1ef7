"""Shuffled epochs over HDF5 and Parquet files larger than memory, in an order fixed to the bit."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streamload import errors
from streamload.errors import (
    ChecksumError as ChecksumError,
)
from streamload.errors import (
    ConfigError as ConfigError,
)
from streamload.errors import (
    ConversionError as ConversionError,
)
from streamload.errors import (
    CorruptDataError as CorruptDataError,
)
from streamload.errors import (
    LoaderClosedError as LoaderClosedError,
)
from streamload.errors import (
    ResourceError as ResourceError,
)
from streamload.errors import (
    SchemaMismatchError as SchemaMismatchError,
)
from streamload.errors import (
    SourceBusyError as SourceBusyError,
)
from streamload.errors import (
    SourceChangedError as SourceChangedError,
)
from streamload.errors import (
    SourceError as SourceError,
)
from streamload.errors import (
    StateError as StateError,
)
from streamload.errors import (
    StreamloadError as StreamloadError,
)
from streamload.errors import (
    TransformError as TransformError,
)
from streamload.errors import (
    UnsafeSourceError as UnsafeSourceError,
)
from streamload.errors import (
    UnsupportedFeatureError as UnsupportedFeatureError,
)
from streamload.errors import (
    WorkerCrashedError as WorkerCrashedError,
)
from streamload.errors import (
    WorkerError as WorkerError,
)
from streamload.errors import (
    WorkerStartError as WorkerStartError,
)
from streamload.errors import (
    WorkerTimeoutError as WorkerTimeoutError,
)
from streamload.opening import open_source as open
from streamload.schema import Field, Schema
from streamload.source import Source

if TYPE_CHECKING:
    from streamload.batch import Batch
    from streamload.loader import Loader
    from streamload.order import Block, Exact, Order, Sequential

__version__ = "0.1.0"

_LATER = {
    "Batch": "streamload.batch",
    "Block": "streamload.order",
    "Exact": "streamload.order",
    "Loader": "streamload.loader",
    "Order": "streamload.order",
    "Sequential": "streamload.order",
}
"""Names whose modules are imported when they are first asked for: `import streamload` loads NumPy and nothing heavier."""

__all__ = [
    "Batch",
    "Block",
    "Exact",
    "Field",
    "Loader",
    "Order",
    "Schema",
    "Sequential",
    "Source",
    "__version__",
    "errors",
    "open",
]
"""The names to learn; every error of `errors` is an attribute of the package too."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'streamload' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
