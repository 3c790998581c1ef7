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


def by_hand(path: Path) -> list[np.ndarray]:
    """The weights after each number of steps, from 0 on, of a model that is given batch after batch of four epochs."""
    model = model_of()
    weights = [model.get_weights()[0]]
    with loader_of(path) as loader:
        for batch in loader.steps(4 * STEPS):
            model.train_on_batch(batch["x"], batch["target"])
            weights.append(model.get_weights()[0])
    return weights


def same(model: Any, there: np.ndarray) -> None:
    """Its weights are these; in another order they would be others."""
    np.testing.assert_allclose(model.get_weights()[0], there, rtol=2e-6, atol=2e-7)


def fit_and_validate(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """Two epochs with validation, then a third in a second call; a seek is a resume; shuffle= means nothing."""
    whole = after[3 * STEPS]
    assert not np.allclose(whole, after[4 * STEPS], rtol=1e-3)
    model = model_of()
    with loader_of(path, num_workers=1) as loader, loader_of(path, shuffle=False) as other:
        train, val = sl.for_keras(loader, FIELDS), sl.for_keras(other, FIELDS)
        history = model.fit(train, validation_data=val, epochs=2, verbose=0, shuffle=True)
        same(model, after[2 * STEPS])
        x, _ = values()
        loss = float(np.mean((model.predict(x, verbose=0)[:, 0] - np.arange(RECORDS) / RECORDS) ** 2))
        assert abs(history.history["val_loss"][-1] - loss) < 1e-5, (history.history, loss)
        assert abs(model.evaluate(val, verbose=0) - loss) < 1e-5
        model.fit(train, epochs=1, verbose=0, shuffle=False)
        same(model, whole)
        predicted = model.predict(sl.for_keras(other, "x"), verbose=0)
        np.testing.assert_allclose(predicted, model.predict(x, verbose=0), rtol=1e-4, atol=1e-5)
        assert predicted.shape == (RECORDS, 1)


def part_of_an_epoch(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """steps_per_epoch goes on within an epoch of the loader, and into the next; several steps an execution."""
    model = model_of()
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, FIELDS), epochs=4, steps_per_epoch=8, verbose=0)
    same(model, after[2 * STEPS])
    if keras.backend.backend() == "torch":
        return  # which knows no steps_per_execution
    model = model_of()
    model.compile(optimizer=keras.optimizers.SGD(0.05, momentum=0.9), loss="mse", steps_per_execution=4)
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, FIELDS), epochs=2, verbose=0)
    same(model, after[2 * STEPS])


class Interrupted(Exception):
    """The end of a training that is to be resumed."""


def interrupt_after(epoch: int) -> Any:
    """A callback that raises as an epoch begins."""

    def stop(at: int, _: Any) -> None:
        if at == epoch:
            raise Interrupted

    return keras.callbacks.LambdaCallback(on_epoch_begin=stop)


def backed_up(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """BackupAndRestore goes on with the epoch that is due, once a callback tells the data."""

    def run(steps_per_epoch: int | None, name: str, *more: Any) -> Any:
        model = model_of()
        with loader_of(path) as loader:
            train = sl.for_keras(loader, FIELDS)
            tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: train.set_epoch(epoch, steps_per_epoch))
            backup = keras.callbacks.BackupAndRestore(folder / name)
            model.fit(train, epochs=4, steps_per_epoch=steps_per_epoch, verbose=0, callbacks=[backup, tell, *more])
        return model

    for steps_per_epoch, epoch, done in ((None, 2, 4 * STEPS), (5, 3, 20)):
        name = f"backup {steps_per_epoch}"
        try:
            run(steps_per_epoch, name, interrupt_after(epoch))
        except Interrupted:
            pass
        same(run(steps_per_epoch, name), after[done])


def weighted(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """`valid` as the weight of records: 1 for each here."""
    model = model_of()
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, (*FIELDS, "valid")), verbose=0)
    same(model, after[STEPS])


def never_cut(path: Path, folder: Path, after: list[np.ndarray]) -> None:
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
    weights = by_hand(Path(sys.argv[1]))
    for run in (fit_and_validate, part_of_an_epoch, backed_up, weighted, never_cut):
        run(Path(sys.argv[1]), Path(sys.argv[2]), weights)
        print(run.__name__)
