"""TensorFlow: `for_tf`, a `tf.data.Dataset` of a loader's batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from streamload.errors import ConfigError
from streamload.frameworks.fields import WantedFields, chosen_fields
from streamload.frameworks.missing import framework
from streamload.frameworks.passes import Passes, allow_copies, batches_to_come
from streamload.loader.loader import Loader


def for_tf(loader: Loader, fields: WantedFields = None) -> Any:
    """A loader's batches as a `tf.data.Dataset`: each pass over it is the loader's next epoch.

    ```python
    for image, label in sl.for_tf(loader, ("image", "label")).prefetch(2):
        train_step(image, label)
    ```

    `fields`: names give tuples of tensors, one name gives tensors, None gives dicts of all. Two names are known besides those of
    the data: "valid", which records of a batch count, bool of shape (records,); and "place", int64: how many steps were done
    after this batch, counted through epochs. What tf.data prefetches is ahead of `loader.state_dict()`, and the place travels
    with its batch: `loader.seek(total_step=int(place))` resumes there.

    | field | becomes |
    |---|---|
    | bool, integers, floats, bfloat16, complex64, complex128 | a tensor of the same dtype, shape (None, *shape) |
    | ragged arrays | a `tf.RaggedTensor` |
    | text, bytes, strings of one length | a tensor of `tf.string`, text as UTF-8 |
    | floats of 8 bits, dates and times, float128, records of several parts | ConfigError: name other fields |

    Tensors of numbers share the memory of the batch, which nobody writes to as long as they are there; where many batches are held
    at once, the loader copies further ones. Under `tf.distribute` nothing is dealt out a second time.

    The number of batches is that of an epoch. It is left open with `on_bad_record="skip"`, and where the loader stands within an
    epoch when the data set is made, because the first pass is shorter. So load a state first: a pass that has another number of
    batches than the data set was made for is an error as it begins, not a shorter one.

    Raises ConfigError where TensorFlow is not installed, and for fields that it has no tensors for.
    """
    framework("tensorflow", asked="sl.for_tf", extra="tensorflow")
    choice = chosen_fields(loader, fields, asked="sl.for_tf", with_place=True)
    from streamload.frameworks.tensorflow_form import TensorFlowForm, dataset_of

    form = TensorFlowForm(choice)
    allow_copies(loader)
    length = batches_to_come(loader)

    def begin_pass() -> Iterator[Any]:
        if length is not None and (now := batches_to_come(loader)) != length:
            come = "the rest of an epoch" if now is None else f"{now:,} batches"
            raise ConfigError(
                f"this data set was made of passes of {length:,} batches each, and the loader's next pass is {come}.",
                hint="Call sl.for_tf again after load_state_dict, seek, set_batch_size and set_counts.",
            )
        return iter(Passes(loader, form))

    return dataset_of(form, begin_pass, length=length)
