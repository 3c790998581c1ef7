"""JAX: `for_jax`, for training loops under `jit`, on one device, several, or several processes."""

from __future__ import annotations

from typing import Any

from streamload.errors import ConfigError
from streamload.frameworks.fields import WantedFields, chosen_fields
from streamload.frameworks.missing import framework
from streamload.frameworks.passes import Passes, allow_copies
from streamload.loader.loader import Loader


def for_jax(loader: Loader, fields: WantedFields = None, *, sharding: Any = None) -> Any:
    """A loader's batches as JAX arrays, epoch after epoch.

    ```python
    for batch in sl.for_jax(loader):
        state, loss = train_step(state, batch["image"], batch["label"], batch["valid"])
    ```

    `fields`: names give a tuple of arrays a batch, one name gives an array, None gives a dict of all and of "valid".

    "valid" says which records of a batch count, bool of shape (records,). Where it is given, every batch has one shape: what is
    missing in the last is filled up with its last record, so that nothing is compiled twice, and a loss must leave out what
    does not count. A tuple without "valid" has a last batch that is smaller.

    `sharding`: a `jax.sharding.Sharding` by which the records are spread over devices. In several processes each gives its own
    records, and the arrays are global ones. It wants batches of one shape: "valid" among the fields, or `drop_last=True`.

    | field | becomes |
    |---|---|
    | bool, integers and floats of up to 32 bits, bfloat16 and floats of 8 bits, complex64 | an array of that dtype, shape \
(records, *shape) |
    | int64, uint64, float64, complex128 | the same with `jax_enable_x64`; else 32 bits of them, once every value was seen to fit: \
OverflowError names the first that does not |
    | ragged arrays, text, bytes, strings of one length, dates | ConfigError: name other fields, or make numbers of them |

    Towards an accelerator two batches are under way ahead of the one in use. On a CPU arrays may share the batch's memory, and
    JAX holds a batch until what was computed with it is done: the loader copies further ones meanwhile. This was not measured
    on a GPU. What comes back has `len`, `state_dict`, `load_state_dict`, `seek` and `set_epoch` as the loader
    does: its state belongs to the batch in use.

    Raises ConfigError where JAX is not installed, and for fields that it has no arrays for.
    """
    framework("jax", asked="sl.for_jax", extra="jax")
    choice = chosen_fields(loader, fields, asked="sl.for_jax", with_valid=True)
    if sharding is not None and not choice.has_valid and not loader.drop_last:
        raise ConfigError(
            "sl.for_jax(sharding=) needs batches of one shape, and the last of an epoch may be smaller.",
            hint='Name "valid" among the fields, which fills it up and says what counts, or make the loader with drop_last=True.',
        )
    from streamload.frameworks.jax_form import JaxForm

    allow_copies(loader)
    return Passes(loader, JaxForm(choice, loader=loader, sharding=sharding))
