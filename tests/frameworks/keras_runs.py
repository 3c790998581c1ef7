"""Trainings with Keras on the backend that KERAS_BACKEND names, each compared with one that takes the batches by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from framework_data import BATCH, NUMBERS, RECORDS, STEPS, WIDTH, loader_of, values

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

    def run(epochs: int, steps_per_epoch: int | None, name: str, *more: Any) -> Any:
        model = model_of()
        with loader_of(path) as loader:
            train = sl.for_keras(loader, FIELDS)
            tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: train.set_epoch(epoch, steps_per_epoch))
            backup = keras.callbacks.BackupAndRestore(folder / name)
            model.fit(train, epochs=epochs, steps_per_epoch=steps_per_epoch, verbose=0, callbacks=[backup, tell, *more])
        return model

    # Steps of 5 do not divide an epoch of 16: Keras makes epochs of 5, 5, 5 and 1 of it, resumed or not.
    for epochs, steps_per_epoch, at, done in ((4, None, 2, 4 * STEPS), (5, 8, 3, 40), (6, 5, None, 26), (6, 5, 5, 26)):
        name = f"backup {steps_per_epoch} {at}"
        if at is not None:
            try:
                run(epochs, steps_per_epoch, name, interrupt_after(at))
            except Interrupted:
                pass
        same(run(epochs, steps_per_epoch, name), after[done])


def called_again(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """`fit` is interrupted in an epoch of Keras or between two, the traceback held as a notebook holds it, and called again."""

    def fit(train: Any, epochs: int, steps_per_epoch: int | None, name: str, *more: Any) -> Any:
        model = model_of()
        tell = keras.callbacks.LambdaCallback(on_epoch_begin=lambda epoch, _: train.set_epoch(epoch, steps_per_epoch))
        callbacks = [keras.callbacks.BackupAndRestore(folder / name), *more, tell]
        model.fit(train, epochs=epochs, steps_per_epoch=steps_per_epoch, verbose=0, callbacks=callbacks)
        return model

    cases: tuple[tuple[int, int | None, Any, int], ...] = (
        (5, 8, StopAfter(12), 40),
        (6, 5, interrupt_after(2), 26),
    )
    for number, (epochs, steps_per_epoch, stop, done) in enumerate(cases):
        held = None
        with loader_of(path) as loader:
            train = sl.for_keras(loader, FIELDS)
            try:
                fit(train, epochs, steps_per_epoch, f"again {number}", stop)
            except Interrupted as error:
                held = error
            assert held is not None
            same(fit(train, epochs, steps_per_epoch, f"again {number}"), after[done])


class StopAfter(keras.callbacks.Callback):
    """Raises after so many batches."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self._left = batches

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self._left -= 1
        if not self._left:
            raise Interrupted


def weighted(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """`valid` as the weight of records: 1 for each, and 0 for those that fill the last batch up."""
    model = model_of()
    with loader_of(path) as loader:
        model.fit(sl.for_keras(loader, (*FIELDS, "valid")), verbose=0)
    same(model, after[STEPS])
    model, by_hand = model_of(), model_of()
    with loader_of(path, pad_last=True) as loader, loader_of(path, pad_last=True) as other:
        model.fit(sl.for_keras(loader, (*FIELDS, "valid")), verbose=0)
        for batch in other:
            by_hand.train_on_batch(batch["x"], batch["target"], sample_weight=batch.valid.astype(np.float32))
    assert (len(batch.valid), int(batch.valid.sum())) == (BATCH, RECORDS - BATCH * (STEPS - 1))
    same(model, by_hand.get_weights()[0])


def kinds(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """Each dtype as the backend has it, with the bytes of the file."""
    backend = keras.backend.backend()
    arrays = {dtype: (np.arange(140).reshape(70, 2) % 2).astype(dtype) for dtype in NUMBERS}
    np.savez(folder / "kinds.npz", **arrays)
    asked = {"jax": "get_jax_iterator", "torch": "get_torch_dataloader", "tensorflow": "get_tf_dataset"}[backend]
    with loader_of(folder / "kinds.npz", shuffle=False) as loader:
        for dtype, array in arrays.items():
            (given,) = next(iter(getattr(sl.for_keras(loader, dtype), asked)()))
            wanted = array[:BATCH].astype(dtype_of(dtype, backend))
            assert np.asarray(given).dtype == wanted.dtype, (dtype, given.dtype)
            assert np.asarray(given).tobytes() == wanted.tobytes(), dtype


def dtype_of(dtype: str, backend: str) -> str:
    """JAX halves what is of 64 bits, or of twice that; Keras on PyTorch has no uint64."""
    if backend == "torch" and dtype == "uint64":
        return "int64"
    halves = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}
    return halves.get(dtype, dtype) if backend == "jax" else dtype


def one_field_twice(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """An input that is its own target, and weighs itself; labels of every dtype of integers."""
    numbers = {dtype: (np.arange(70) % 2).astype(dtype) for dtype in NUMBERS if "int" in dtype or dtype == "bool"}
    np.savez(folder / "twice.npz", x=np.ones((70, WIDTH), np.float32), w=np.ones(70, np.float32), **numbers)
    with loader_of(folder / "twice.npz") as loader:
        model = keras.Sequential([keras.layers.Input((WIDTH,)), keras.layers.Dense(WIDTH, kernel_initializer="identity")])
        model.compile("sgd", "mse")
        assert model.fit(sl.for_keras(loader, ("x", "x")), verbose=0).history["loss"] == [0.0]
        model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1, kernel_initializer="ones")])
        model.compile("sgd", "mse")
        assert model.fit(sl.for_keras(loader, ("w", "w", "w")), verbose=0).history["loss"] == [0.0]
        for dtype in numbers:
            model = keras.Sequential([keras.layers.Input((WIDTH,)), keras.layers.Dense(2, kernel_initializer="zeros")])
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            (loss,) = model.fit(sl.for_keras(loader, ("x", dtype)), verbose=0).history["loss"]
            assert abs(loss - np.log(2)) < 0.2, (dtype, loss)


def too_large(path: Path, folder: Path, after: list[np.ndarray]) -> None:
    """A number of uint64 that int64 has no room for."""
    np.savez(folder / "large.npz", x=np.ones((9, 2), np.float32), y=np.full(9, 2**63, np.uint64))
    with loader_of(folder / "large.npz") as loader:
        batches = sl.for_keras(loader, ("x", "y"))
        if keras.backend.backend() == "tensorflow":
            assert int(next(iter(batches.get_tf_dataset()))[1][0]) == 2**63
            return
        given = batches.get_torch_dataloader() if keras.backend.backend() == "torch" else batches.get_jax_iterator()
        with pytest.raises(OverflowError, match=f"the field 'y' holds {2**63}, which "):
            next(iter(given))


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
    for run in (fit_and_validate, part_of_an_epoch, backed_up, called_again, weighted, kinds, one_field_twice, never_cut, too_large):
        run(Path(sys.argv[1]), Path(sys.argv[2]), weights)
        print(run.__name__)
