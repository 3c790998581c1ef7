"""TensorFlow: `for_tf`, a `tf.data.Dataset` of a loader's batches."""

from __future__ import annotations

from typing import Any

from streamload.frameworks.fields import Fields, chosen_fields
from streamload.frameworks.missing import framework
from streamload.frameworks.passes import Passes, allow_copies, stands_within
from streamload.loader.loader import Loader


def for_tf(loader: Loader, fields: Fields = None) -> Any:
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
    | bool, integers, floats, complex64, complex128 | a tensor of the same dtype, shape (None, *shape) |
    | ragged arrays | a `tf.RaggedTensor` |
    | text, bytes, strings of one length | a tensor of `tf.string`, text as UTF-8 |
    | dates and times, float128, records of several parts | ConfigError: name other fields |

    Tensors of numbers share the memory of the batch, which nobody writes to as long as they are there; where many batches are held
    at once, the loader copies further ones. The number of batches is that of an epoch; where the loader stands within an epoch
    when the data set is made (so load a state first), it is left open, because the first pass is shorter. Under `tf.distribute`
    nothing is dealt out a second time. Raises ConfigError where TensorFlow is not installed, and for fields that it has no
    tensors for.
    """
    framework("tensorflow", asked="sl.for_tf", extra="tensorflow")
    choice = chosen_fields(loader, fields, asked="sl.for_tf", with_place=True)
    from streamload.frameworks.tensorflow_form import TensorFlowForm, dataset_of

    form = TensorFlowForm(choice)
    allow_copies(loader)
    return dataset_of(form, lambda: iter(Passes(loader, form)), length=None if stands_within(loader) else len(loader))
