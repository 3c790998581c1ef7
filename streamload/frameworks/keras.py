"""Keras 3: `for_keras`, which `model.fit` takes as it is, on every backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from streamload.errors import ConfigError
from streamload.frameworks.fields import chosen_fields, field_names
from streamload.frameworks.missing import framework
from streamload.loader.loader import Loader


def for_keras(loader: Loader, fields: str | Sequence[str]) -> Any:
    """A loader's batches as data for `model.fit`, `evaluate` and `predict`, on PyTorch, JAX or TensorFlow.

    ```python
    train = sl.for_keras(loader, ("image", "label"))
    model.fit(train, validation_data=sl.for_keras(val_loader, ("image", "label")), epochs=90)
    ```

    `fields`: one name is the input; two are input and target; three are input, target and `sample_weight`, which "valid" may be:
    1 for records that count, 0 for those that fill a batch up. `shuffle=`, `batch_size=` and `sample_weight=` of `fit` mean
    nothing here: the loader says what comes when. An epoch of Keras is one of the loader, or `steps_per_epoch` of its steps: where
    these do not divide the loader's epoch, Keras ends its last within that early, and warns. Keras looks at a batch before it
    trains: a pass that was left begins again, so that none is lost.

    | field | becomes |
    |---|---|
    | bool, integers, floats, also of 8 bits, bfloat16, complex | what the backend has for it, for JAX as `for_jax` says, \
for PyTorch uint64 as int64: never cut |
    | ragged arrays, text, bytes, strings, dates, float128 | ConfigError: make an array of numbers of them in the loader's transform= |

    Keras tells its data nothing of a resume, so a callback must; with it `BackupAndRestore` goes on with the epoch that is due:

    ```python
    tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, logs: train.set_epoch(epoch))
    model.fit(train, epochs=90, callbacks=[keras.callbacks.BackupAndRestore("backup"), tell])
    ```

    Give `set_epoch(epoch, steps_per_epoch=...)` where `fit` has `steps_per_epoch`. Needs Keras 3.7 or later. Raises ConfigError where
    Keras is not installed, and for fields that it has no arrays for.
    """
    framework("keras", asked="sl.for_keras", extra="keras")
    names = field_names(fields, asked="sl.for_keras")
    if not 1 <= len(names) <= 3:
        raise ConfigError(
            f"sl.for_keras was given {len(names)} fields.",
            hint="Give the input; input and target; or input, target and weight of the records.",
        )
    choice = chosen_fields(loader, names, asked="sl.for_keras")
    from streamload.frameworks.keras_adapter import KerasBatches

    return KerasBatches(loader, choice)
