"""Shuffled training epochs straight from data files larger than memory, in an order that is fixed to the bit.

```python
import streamload as sl

data = sl.open("train.h5")                 # also Parquet, Arrow, npy, Zarr, LMDB, TFRecord, tar, and folders of images
loader = sl.Loader(data, batch_size=256)   # help(sl.Loader.__init__) says what each argument does
for epoch in loader.epochs(10):
    for batch in epoch:
        image, label = batch.tuple("image", "label")
```

`for_torch`, `for_keras`, `for_tf` and `for_jax` give a framework's own tensors. `Augment` and its operations change images on the way;
`split` and `mix` choose and combine data.
"""

from __future__ import annotations

from streamload.processes import interrupts

interrupts.hold()  # before anything that takes time to import, as typing does

import importlib  # noqa: E402
import sys  # noqa: E402
from typing import TYPE_CHECKING, Any  # noqa: E402

from streamload import errors  # noqa: E402

if TYPE_CHECKING:
    from streamload.formats.open import open_source as open
    from streamload.frameworks.jax import for_jax
    from streamload.frameworks.keras import for_keras
    from streamload.frameworks.tensorflow import for_tf
    from streamload.frameworks.torch import for_torch
    from streamload.images import Decode
    from streamload.loader.batch import Batch
    from streamload.loader.loader import Loader
    from streamload.mixtures import Mixture, mix
    from streamload.order import Block, Exact, Listed, Order, Sequential
    from streamload.ragged import Ragged
    from streamload.schema import Field, Schema
    from streamload.source import Source
    from streamload.splits import split
    from streamload.transforms import augment
    from streamload.transforms.augment import Augment

__version__ = "0.1.0"

_LATER = {
    "Augment": "streamload.transforms.augment",
    "Batch": "streamload.loader.batch",
    "Block": "streamload.order",
    "Decode": "streamload.images",
    "Exact": "streamload.order",
    "Field": "streamload.schema",
    "Listed": "streamload.order",
    "Loader": "streamload.loader.loader",
    "Mixture": "streamload.mixtures",
    "Order": "streamload.order",
    "Ragged": "streamload.ragged",
    "Schema": "streamload.schema",
    "Sequential": "streamload.order",
    "Source": "streamload.source",
    "for_jax": "streamload.frameworks.jax",
    "for_keras": "streamload.frameworks.keras",
    "for_tf": "streamload.frameworks.tensorflow",
    "for_torch": "streamload.frameworks.torch",
    "mix": "streamload.mixtures",
    "open": "streamload.formats.open:open_source",
    "split": "streamload.splits",
}
"""Where names are defined whose modules are imported when they are first asked for: `import streamload` takes no time to speak of."""

_ARRAYS = 'sl.Augment("image", ..., dtype="float32", layout="CHW") gives floats from 0 to 1, channels first'
_INSTEAD = {
    "Compose": 'sl.Augment("image", ...) takes the operations one after the other',
    **dict.fromkeys(("ConvertImageDtype", "PILToTensor", "ToDtype", "ToImage", "ToTensor"), _ARRAYS),
    "Dataset": "sl.open(path) opens what is to be read",
    "DataLoader": "sl.Loader(data, batch_size=256) is the loader, and sl.for_torch(loader) gives its batches as tensors",
}
"""What takes the place of names that other libraries have."""

__all__ = [
    "Augment",
    "Batch",
    "Block",
    "Decode",
    "Exact",
    "Field",
    "Listed",
    "Loader",
    "Mixture",
    "Order",
    "Ragged",
    "Schema",
    "Sequential",
    "Source",
    "__version__",
    "augment",
    "errors",
    "for_jax",
    "for_keras",
    "for_tf",
    "for_torch",
    "mix",
    "open",
    "split",
]
"""The names to learn; every error of `errors` and every operation of `augment` is an attribute of the package too."""


def __getattr__(name: str) -> Any:
    if name in errors.FAMILY:
        return errors.FAMILY[name]
    if name in _LATER:
        module, _, attribute = _LATER[name].partition(":")
        value = getattr(importlib.import_module(module), attribute or name)
    elif name.startswith("_") or not (name == "augment" or name[0].isupper()):
        raise _missing(name)
    else:
        augment = importlib.import_module("streamload.transforms.augment")
        if name != "augment" and name not in dir(augment):
            raise _missing(name)
        value = augment if name == "augment" else getattr(augment, name)
    globals()[name] = value
    return value


def _missing(name: str) -> AttributeError:
    """The error for a name that is not here; Python adds the nearest one that is."""
    instead = f": {_INSTEAD[name]}" if name in _INSTEAD else ""
    return AttributeError(f"module 'streamload' has no attribute {name!r}{instead}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    """All public names, with those of errors and operations, for tab completion."""
    operations = importlib.import_module("streamload.transforms.operations").OPERATIONS  # Names alone: nothing else is imported.
    return sorted({*__all__, *errors.FAMILY, "Augment", *operations})
