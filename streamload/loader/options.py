"""The arguments of a loader: their names, types, defaults and meaning, written once, and checked as soon as they are given."""

from __future__ import annotations

import difflib
import inspect
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Concatenate, ParamSpec, Self, cast

import numpy as np
from numpy.typing import NDArray

from streamload.errors import ConfigError
from streamload.fetch.bad_records import POLICIES
from streamload.loader.budget import READING
from streamload.mixtures import Mixture
from streamload.sizes import flag_of, index_of, parse_nbytes
from streamload.source import Source

MOST_EPOCHS = 2**62
"""The last epoch that can be counted."""
LONGEST_S = 1e12
"""A longer timeout is taken for this one."""
P = ParamSpec("P")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Options:
    """What a loader is asked for, beside the data.

    `batch_size`: records of a batch; the last of an epoch is smaller, unless `drop_last`.
    `shuffle`: True (`sl.Exact()` or `sl.Block()`, chosen by how the data is stored), False (as stored), or an order: `sl.Exact()`,
    `sl.Block(window="512 MB")`, `sl.Sequential()`, `sl.Listed(numbers)`, or an object of yours (`sl.Order` says which).
    `seed`: the order is drawn from it, together with the epoch.
    `num_workers`: worker processes; 0 does the work in this one. Default: the cores this process may use, less one, at most 8.
    `drop_last`: leave out a last batch that is not full.
    `memory`: the most that batches, windows, decoders and index may use together, in bytes or as "2 GB". Default: a quarter of what the
    machine and its control groups leave free, divided by the ranks on this machine.
    `indices`: a subset, as record numbers, booleans or the path of a .npy file.
    `augment`: `sl.Augment("image", ...)`, or a list of them, and after them operations on whole batches such as `sl.MixUp`.
    `transform`: a function of a record (a dict of arrays), and optionally of a random generator that depends on seed,
    epoch and record alone; it returns a dict, and runs in the workers. It is tried on the first records: what it returns decides
    which fields are ragged (arrays whose first axis differs between records), whatever the stored field of that name is.
    `batch_transform`: a function of a whole batch (a dict of arrays), once it is complete, and optionally of a random generator
    that depends on seed, epoch and the position of the batch's first record; it returns a dict of arrays of as many records,
    whose shapes, dtypes and names may be others, and runs in the workers.
    `collate`: makes arrays of ragged fields, after all functions: `sl.PadRagged("tokens")`, `sl.PackRagged("tokens", 2048)`, or a list.
    `io`: "mmap", "read" (through the page cache), "direct" (past it: raw records and HDF5 chunks of 32 KB and more), or
    "auto": "mmap" for data that fits in memory with room to spare, "direct" for data of more than twice the free memory, otherwise
    "read". Without workers nothing is mapped, because a file that shrinks kills the process that has mapped it.
    `timeout`: seconds after which a worker that makes no progress is an error; None waits for ever.
    `on_worker_crash`: "raise" a WorkerCrashedError, or "restart": another worker then does the same batch, byte for byte;
    a batch that two workers die of is an error all the same, and names its records.
    `on_bad_record`: "raise" an error that names file, field and record where an encoded image cannot be decoded or a `transform`
    raises an exception (a `batch_transform` that does fails all records of its batch); or "substitute": the next good record of
    the same batch stands in, with all its fields (an error if there is none); or "skip": the batch is smaller, and does not come
    at all if nothing is left of it (an epoch of which nothing is left is an error). Positions count as before, and
    `loader.bad_records` says which they were. The same at any number of workers, and after a resume. A chunk, a page or a row
    group that cannot be read holds many records, and is an error all the same.
    `first_epoch`: the number of the first epoch.
    `distributed`: True divides every step among the ranks of the job, whose launcher or framework says which rank this is;
    `(rank, world_size)` says it here; False and None give this process every record. `batch_size` is that of one rank.
    `pad_last`: fill the last batch of an epoch up, so that all have one shape; `batch.valid` says which of its rows count.
    `weights`: draws records, with repetition, as often as these say: one number for each record (an array, or the path of a .npy file),
    or the name of a field, each value of which is then drawn equally often. `draws`: how many records an epoch draws; by default as
    many as there are. For a mixture, `shuffle`, `indices`, `weights` and `draws` may be dicts by the names of its parts.
    """

    batch_size: int
    shuffle: object = True
    seed: int = 0
    num_workers: int | None = None
    drop_last: bool = False
    memory: int | str | None = None
    indices: Sequence[int] | NDArray[Any] | str | os.PathLike[str] | None = None
    augment: object = None
    transform: Callable[..., dict[str, Any]] | None = None
    batch_transform: Callable[..., dict[str, Any]] | None = None
    collate: object = None
    io: str = "auto"
    timeout: float | None = 300.0
    on_worker_crash: str = "raise"
    on_bad_record: str = "raise"
    first_epoch: int = 0
    distributed: object = None
    pad_last: bool = False
    weights: Any = None
    draws: object = None

    def __post_init__(self) -> None:
        """Check what can be checked without the data. Raises ConfigError."""
        checked: dict[str, object] = {
            "batch_size": whole_number(self.batch_size, "batch_size", least=1),
            "seed": whole_number(self.seed, "seed", least=-(2**63), most=2**64 - 1),
            "drop_last": flag_of(self.drop_last, "drop_last"),
            "pad_last": flag_of(self.pad_last, "pad_last"),
            "first_epoch": whole_number(self.first_epoch, "first_epoch", least=0, most=MOST_EPOCHS),
        }
        if checked["drop_last"] and checked["pad_last"]:
            raise ConfigError("drop_last=True leaves the last batch out, and pad_last=True fills it up.", hint="Give one of them.")
        _check_seconds(self.timeout, "timeout")
        if self.num_workers is not None:
            checked["num_workers"] = whole_number(self.num_workers, "num_workers", least=0, most=256)
        if self.memory is not None:
            parse_nbytes(self.memory, name="memory")
        if self.transform is not None and not callable(cast(object, self.transform)):
            raise ConfigError(f"transform={self.transform!r} cannot be called.", hint="Give a function of a record, which returns a dict.")
        if self.batch_transform is not None and not callable(cast(object, self.batch_transform)):
            hint = "Give a function of a batch, which returns a dict."
            raise ConfigError(f"batch_transform={self.batch_transform!r} cannot be called.", hint=hint)
        _check_word(self.io, "io", READING)
        _check_word(self.on_worker_crash, "on_worker_crash", ("raise", "restart"))
        _check_word(self.on_bad_record, "on_bad_record", POLICIES)
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def timeout_s(self) -> float:
        """The timeout in seconds; infinite where there is none."""
        return math.inf if self.timeout is None else float(min(self.timeout, LONGEST_S))

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """The options that were given by name. Raises TypeError for an unknown name, and ConfigError for a wrong value."""
        for name in given:
            if name not in NAMES:
                raise TypeError(f"Loader() has no argument {name!r}.{did_you_mean(name, NAMES)}")
        if "batch_size" not in given:
            raise TypeError("Loader() needs batch_size, the records of a batch: sl.Loader(data, batch_size=256).")
        return cls(**given)


NAMES = tuple(field.name for field in fields(Options))
"""The names of a loader's arguments, but for the data."""


def takes_options(options: Callable[P, Options]) -> Callable[[Callable[..., None]], Callable[Concatenate[Any, Source | Mixture, P], None]]:
    """Declare that a constructor takes a source and, by name, whatever `options` takes: for type checkers, `help` and signatures."""

    def declared(constructor: Callable[..., None]) -> Callable[Concatenate[Any, Source | Mixture, P], None]:
        first, data, *_ = inspect.signature(constructor).parameters.values()
        shown = inspect.Signature([first, data, *inspect.signature(options).parameters.values()], return_annotation=None)
        constructor.__signature__ = shown  # pyright: ignore[reportFunctionMemberAccess]
        constructor.__doc__ = "\n\n".join([inspect.getdoc(constructor) or "", (inspect.getdoc(options) or "").partition("\n\n")[2]])
        return constructor

    return declared


def whole_number(value: object, name: str, *, least: int, most: int | None = None) -> int:
    """`value` as an int: Python's, NumPy's, or an array or tensor that holds one. Raises ConfigError, naming the argument."""
    number = index_of(value)
    if number is None:
        raise ConfigError(f"{name}={shown(value, repr)} is not a whole number.", hint=f"Give an int, {_limits(least, None)}.")
    if number < least or (most is not None and number > most):
        raise ConfigError(f"{name}={shown(number)} is out of range.", hint=f"Give an int, {_limits(least, most)}.")
    return number


def _limits(least: int, most: int | None) -> str:
    """What numbers are taken, in words; numbers of more than 60 bits are no help to anybody."""
    if least < -(2**60):
        return "such as 0" if most is None else "of at most 64 bits"
    return f"at least {least:,}" + (f", at most {most:,}" if most is not None else "")


def shown(value: object, text_of: Callable[[object], str] = str) -> str:
    """A value as text for an error, whatever it is: Python refuses to write out very long integers."""
    try:
        text = text_of(value)[:60]
        return text if text.isprintable() else repr(text)
    except Exception:
        return f"a {type(value).__name__} that cannot be shown"


def did_you_mean(name: str, names: Sequence[str]) -> str:
    """ " Did you mean …?" for a name that is close to one of `names`, else which there are."""
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else f" There are {', '.join(names)}."


def _check_seconds(value: object, name: str) -> None:
    if value is None:
        return
    if not isinstance(value, (int, float, np.integer, np.floating)) or isinstance(value, bool) or value != value:
        raise ConfigError(f"{name}={value!r} is not a time.", hint="Give seconds as a number, such as 300, or None to wait for ever.")
    if value <= 0:
        raise ConfigError(f"{name}={value!r} leaves no time at all.", hint="Give seconds, such as 300.")


def _check_word(value: object, name: str, words: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in words:
        listed = ", ".join(f'"{word}"' for word in words[:-1]) + f' or "{words[-1]}"'
        raise ConfigError(f"{name}={value!r} is not known.", hint=f"Give {listed}.")
