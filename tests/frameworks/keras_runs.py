"""Trainings with Keras on the backend that KERAS_BACKEND names, each compared with one that takes the batches by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from framework_data import RECORDS, STEPS, WIDTH, loader_of, values

import streamload as sl

FIELDS = ("x", "target")


def model_of() -> Any:
    """A linear model whose weights say in which order it was trained."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.layers.Input((WIDTH,)), keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="mse")
    return model


def by_hand(path: Path, batches: list[tuple[int, int]]) -> np.ndarray:
    """The weights after these batches (epoch, step)."""
    model = model_of()
    with loader_of(path) as loader:
        for epoch, step in batches:
            loader.seek(epoch, step)
            batch = next(iter(loader))
            model.train_on_batch(batch["x"], batch["target"])
    return model.get_weights()[0]


def steps(*epochs: int) -> list[tuple[int, int]]:
    """All steps of some epochs."""
    return [(epoch, step) for epoch in epochs for step in range(STEPS)]


def same(model: Any, there: np.ndarray) -> None:
    """Its weights are these; in another order they would be others."""
    np.testing.assert_allclose(model.get_weights()[0], there, rtol=2e-6, atol=2e-7)


def fit_and_validate(path: Path, folder: Path) -> None:
    """Two epochs with validation, then a third in a second call; a seek is a resume; shuffle= means nothing."""
    whole = by_hand(path, steps(0, 1, 2))
    assert not np.allclose(whole, by_hand(path, steps(1, 2, 3)), rtol=1e-4)
    model = model_of()
    with loader_of(path, num_workers=1) as loader, loader_of(path, shuffle=False) as other:
        train, val = sl.for_keras(loader, FIELDS), sl.for_keras(other, FIELDS)
        history = model.fit(train, validation_data=val, epochs=2, verbose=0, shuffle=True)
        same(model, by_hand(path, steps(0, 1)))
        x, _ = values()
        loss = float(np.mean((model.predict(x, verbose=0)[:, 0] - np.arange(RECORDS) / RECORDS) ** 2))
        assert abs(history.history["val_loss"][-1] - loss) < 1e-5, (history.history, loss)
        assert abs(model.evaluate(val, verbose=0) - loss) < 1e-5
        model.fit(train, epochs=1, verbose=0, shuffle=False)
        same(model, whole)
        predicted = model.predict(sl.for_keras(other, "x"), verbose=0)
        np.testing.assert_allclose(predicted, model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
        assert predicted.shape == (RECORDS, 1)


def part_of_an_epoch(path: Path, folder: Path) -> None:
    """steps_per_epoch goes on within an epoch of the loader, and into the next; several steps an execution."""
    model = model_of()
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, FIELDS), epochs=4, steps_per_epoch=8, verbose=0)
    same(model, by_hand(path, steps(0, 1)))
    if keras.backend.backend() == "torch":
        return  # which knows no steps_per_execution
    model = model_of()
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="mse", steps_per_execution=4)
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, FIELDS), epochs=2, verbose=0)
    same(model, by_hand(path, steps(0, 1)))


class Interrupted(Exception):
    """The end of a training that is to be resumed."""


def interrupt_after(epoch: int) -> Any:
    """A callback that raises as an epoch begins."""

    def stop(at: int, _: Any) -> None:
        if at == epoch:
            raise Interrupted

    return keras.callbacks.LambdaCallback(on_epoch_begin=stop)


def backed_up(path: Path, folder: Path) -> None:
    """BackupAndRestore goes on with the epoch that is due, once a callback tells the data."""

    def run(steps_per_epoch: int | None, name: str, *more: Any) -> Any:
        model = model_of()
        with loader_of(path) as loader:
            train = sl.for_keras(loader, FIELDS)
            tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: train.set_epoch(epoch, steps_per_epoch))
            backup = keras.callbacks.BackupAndRestore(folder / name)
            model.fit(train, epochs=4, steps_per_epoch=steps_per_epoch, verbose=0, callbacks=[backup, tell, *more])
        return model

    for steps_per_epoch, after, done in ((None, 2, steps(0, 1, 2, 3)), (5, 3, steps(0, 1)[:20])):
        name = f"backup {steps_per_epoch}"
        try:
            run(steps_per_epoch, name, interrupt_after(after))
        except Interrupted:
            pass
        same(run(steps_per_epoch, name), by_hand(path, done))


def weighted(path: Path, folder: Path) -> None:
    """`valid` as the weight of records: 1 for each here."""
    model = model_of()
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, (*FIELDS, "valid")), verbose=0)
    same(model, by_hand(path, steps(0)))


def never_cut(path: Path, folder: Path) -> None:
    """A number of 64 bits that the backend has no room for is an error, not another number."""
    with loader_of(path, shuffle=False) as loader:
        batches = sl.for_keras(loader, ("x", "wide"))
        if keras.backend.backend() != "jax":
            got = next(iter(batches.get_tf_dataset() if keras.backend.backend() == "tensorflow" else batches.get_torch_dataloader()))
            assert np.asarray(got[1])[0] == 2**40
            return
        try:
            model_of().fit(batches, verbose=0)
        except OverflowError as error:
            said = str(error)
        assert said.startswith("the field 'wide' holds"), said


if __name__ == "__main__":
    for run in (fit_and_validate, part_of_an_epoch, backed_up, weighted, never_cut):
        run(Path(sys.argv[1]), Path(sys.argv[2]))
        print(run.__name__)
