"""Finds the part of an object of the user's that cannot be pickled, and names it in the user's words."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

DEEPEST = 6
"""Levels of nesting that are searched."""


def part_that_cannot_travel(name: str, part: object) -> str | None:
    """The innermost part of `part` that cannot be pickled, as its path from `name` and its type; None if all of it can.

    Searches attributes, elements, and of functions the variables that they use, their defaults, and the object of a method.
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
    """Takes the buffers of arrays, which can always be sent, so that they are not copied here."""


def _parts(name: str, part: object) -> Iterator[tuple[str, object]]:
    """The parts of a part, each as (path, value)."""
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
    """The variables that a function uses, each as (path, value): of the function around it, of its module, and its defaults."""
    code, used = function.__code__, cast(Any, function)
    for variable, cell in zip(code.co_freevars, used.__closure__ or (), strict=True):
        try:
            yield f"the variable {variable!r} of {name}", cell.cell_contents
        except ValueError:
            pass  # The variable has no value yet.
    for variable in code.co_names:
        if variable in used.__globals__:
            yield f"the variable {variable!r} of {name}", used.__globals__[variable]
    for number, value in enumerate((*(used.__defaults__ or ()), *(used.__kwdefaults__ or {}).values())):
        yield f"default {number} of {name}", value
