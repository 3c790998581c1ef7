"""Which part of what the user gave cannot be sent to another process, as the user knows it."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

DEEPEST = 6
"""How far a part is looked into."""


def part_that_cannot_travel(name: str, part: object) -> str | None:
    """The innermost part of `part` that does not pickle, by its path from `name` and its type; None where all of it does.

    Looked into are attributes, elements, and of functions the variables that they use, their defaults and their object.
    """
    if _travels(part):
        return None
    for _ in range(DEEPEST):
        inner = next(((path, value) for path, value in _parts(name, part) if not _travels(value)), None)
        if inner is None:
            break
        name, part = inner
    return f"{name} ({type(part).__name__})"


def _travels(part: object) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(part, protocol=5, buffer_callback=_left_out)
    except Exception:
        return False
    return True


def _left_out(_: object) -> None:
    """Takes a buffer of an array, which travels by itself: nothing need be copied to see whether it can."""


def _parts(name: str, part: object) -> Iterator[tuple[str, object]]:
    """What a part consists of, each with its path."""
    if isinstance(part, types.MethodType):
        yield f"the object of {name}", part.__self__
    elif isinstance(part, types.FunctionType):
        yield from _variables(name, part)
    elif isinstance(part, functools.partial):
        held = cast("functools.partial[Any]", part)
        yield from ((f"argument {number} of {name}", value) for number, value in enumerate(held.args))
        yield from ((f"argument {key!r} of {name}", value) for key, value in held.keywords.items())
        yield f"the function of {name}", held.func
    elif isinstance(part, Mapping):
        yield from ((f"{name}[{key!r}]", value) for key, value in cast("Mapping[Any, object]", part).items())
    elif isinstance(part, (list, tuple, set, frozenset)):
        yield from ((f"{name}[{number}]", value) for number, value in enumerate(cast("list[object]", part)))
    else:
        held_by = dict(getattr(part, "__dict__", None) or {})
        slots = [slot for kind in type(part).__mro__ for slot in (getattr(kind, "__slots__", None) or ())]
        held_by |= {slot: getattr(part, slot) for slot in slots if isinstance(slot, str) and hasattr(part, slot)}
        yield from ((f"{name}.{attribute}", value) for attribute, value in held_by.items())


def _variables(name: str, function: Callable[..., Any]) -> Iterator[tuple[str, object]]:
    """What a function uses from outside: variables of the function around it, of its module, and defaults."""
    code, used = function.__code__, cast(Any, function)
    for variable, cell in zip(code.co_freevars, used.__closure__ or (), strict=True):
        try:
            yield f"the variable {variable!r} of {name}", cell.cell_contents
        except ValueError:
            pass  # It has not been given a value yet.
    for variable in code.co_names:
        if variable in used.__globals__:
            yield f"the variable {variable!r} of {name}", used.__globals__[variable]
    for number, value in enumerate((*(used.__defaults__ or ()), *(used.__kwdefaults__ or {}).values())):
        yield f"default {number} of {name}", value
