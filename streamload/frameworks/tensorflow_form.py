"""Converts batches to what tf.data makes tensors of, and makes data sets of them. No other module does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from streamload.errors import LoaderClosedError
from streamload.frameworks.fields import BatchFields, is_text, refused
from streamload.loader.batch import Batch
from streamload.ragged import Ragged
from streamload.schema import PADDED, Field


class TensorFlowForm:
    """The `Form` of TensorFlow: a batch becomes what a generator gives to tf.data."""

    ahead = 0

    def __init__(self, choice: BatchFields) -> None:
        self._choice = choice
        self._makers = tuple((field.name, _maker(field)) for field in choice.fields)
        specs = [tf.TensorSpec((), tf.int64) if choice.is_place(field) else _spec(field) for field in choice.fields]
        self.signature = choice.arranged(specs)
        """The `tf.TypeSpec`s of a batch, in the container."""
        self.plain = all(make is _same for _, make in self._makers)
        """Whether every field is an array of numbers."""

    def begin(self, batch: Batch) -> Any:
        """Arrays, lists of strings and ragged tensors, in the container that was asked for."""
        value = self._choice.value
        return self._choice.arranged([make(value(batch, name)) for name, make in self._makers])

    def finish(self, begun: Any) -> Any:
        """The same."""
        return begun

    def make(self, batch: Batch) -> Any:
        """The same, of a batch that was not begun ahead."""
        return self.begin(batch)


class CountedPasses:
    """Passes of a known number of batches, as two functions that tf.data calls: `begin` a pass, and give the `following` batch of it.

    `Dataset.from_generator` needs a third function to find the end, and twice the processor time for each batch. A newer pass closes the
    one before it.
    """

    def __init__(self, begin_pass: Callable[[], Iterator[Any]], length: int) -> None:
        self._begin_pass = begin_pass
        self._length = length
        self._number = 0
        self._left = 0
        self._batches: Iterator[Any] = iter(())

    def begin(self, _: Any) -> Any:
        """Begin a pass, and return its number."""
        self._number, self._left, self._batches = self._number + 1, self._length, self._begin_pass()
        return np.int64(self._number)

    def following(self, number: Any) -> Any:
        """The next batch of the pass of this number. Raises LoaderClosedError if a newer pass has begun."""
        if number != self._number:
            raise LoaderClosedError(
                "this pass over the data set was closed: a newer one began.",
                hint="Use one iterator of a data set at a time; two loaders can run side by side.",
            )
        batch = next(self._batches)
        self._left -= 1
        if not self._left:
            next(self._batches, None)  # tf.data does not ask for more, so this ends the pass.
        return batch


def _counted(form: TensorFlowForm, begin_pass: Callable[[], Iterator[Any]], length: int) -> Any:
    """A data set whose passes have `length` batches of tensors each."""
    passes = CountedPasses(begin_pass, length)
    specs: list[Any] = tf.nest.flatten(form.signature)

    def flat(number: Any) -> list[Any]:
        return tf.nest.flatten(passes.following(number))

    def following(number: Any) -> Any:
        arrays = tf.numpy_function(flat, [number], [spec.dtype for spec in specs])
        for array, spec in zip(arrays, specs, strict=True):
            array.set_shape(spec.shape)
        return tf.nest.pack_sequence_as(form.signature, arrays)

    def begin(zero: Any) -> Any:
        return tf.ensure_shape(tf.numpy_function(passes.begin, [zero], tf.int64), ())

    begun = tf.data.Dataset.from_tensors(np.int64(0)).map(begin)
    return begun.flat_map(lambda number: tf.data.Dataset.from_tensors(number).repeat(length)).map(following)


def dataset_of(form: TensorFlowForm, begin_pass: Callable[[], Iterator[Any]], *, length: int | None) -> Any:
    """A data set, each pass over which iterates over what `begin_pass` returns. `length`: batches of a pass; None if it is not known."""
    if length is not None and form.plain:
        dataset = _counted(form, begin_pass, length)
    else:
        dataset = tf.data.Dataset.from_generator(begin_pass, output_signature=form.signature)
    if length is not None:
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(length))
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.with_options(options)


def _spec(field: Field) -> Any:
    """The `tf.TypeSpec` of a field. Raises ConfigError for dtypes that TensorFlow does not have."""
    if is_text(field):
        return tf.TensorSpec((None, *field.shape), tf.string)
    try:
        dtype = tf.as_dtype(field.dtype)
    except TypeError:
        raise refused(field, "TensorFlow") from None
    if dtype.size == 1 and dtype.is_floating:
        raise refused(field, "TensorFlow", why=", whose data sets have no floats of 8 bits")
    if field.as_ragged:
        return tf.RaggedTensorSpec((None, None, *field.shape), dtype, ragged_rank=1, row_splits_dtype=tf.int64)
    axes = (None, None) if field.ragged == PADDED else (None,)
    return tf.TensorSpec((*axes, *field.shape), dtype)


def _maker(field: Field) -> Callable[[Any], Any]:
    """The function that converts one field of a batch to what tf.data takes."""
    if field.as_ragged:
        return Ragged.to_list if is_text(field) else _ragged
    return _strings if is_text(field) else _same


def _ragged(records: Ragged) -> Any:
    ragged: Any = tf.RaggedTensor
    return ragged.from_row_splits(np.array(records.values), np.array(records.offsets), validate=False)


def _strings(records: Any) -> Any:
    return np.char.encode(records, "utf-8") if records.dtype.kind == "U" else records


def _same(records: Any) -> Any:
    return records
