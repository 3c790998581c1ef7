"""Gives what is wrong, does what the hint of the error says, and holds it against the places in the code that the hint can be from."""

from __future__ import annotations

import contextlib
import inspect
import io
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from command_line import in_this_thread
from hint_sites import HintText, hint_texts, modules

import streamload as sl
from streamload.errors import StreamloadError
from streamload.tools.__main__ import main
from streamload.tools.convert import executors

OUT = object()
"""In place of a value: the argument is left out."""
NAMES: dict[str, Any] = {**{name: getattr(sl, name) for name in sl.__all__}, "sl": sl}
MENTIONED = re.compile(r"\b([a-z_]+)=(?!=)|(?<![\w-])(--[a-z][a-z-]*)")
"""Arguments and flags in a text."""

Cure = str | tuple[str, Mapping[str, Any] | Callable[[], object]]
"""Words of a hint: arguments that are taken as they stand there; or with the values for what they leave open, or what they say to do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A call, what is wrong with it, and each way out that the hint of its error says."""

    call: Callable[..., object]
    wrong: Mapping[str, Any]
    cures: tuple[Cure, ...]
    leads_on: bool
    """Whether what is wrong stays wrong, and the next error says more."""


def case(call: Callable[..., object], wrong: Mapping[str, Any], *cures: Cure, leads_on: bool = False) -> Case:
    """A case in one line."""
    return Case(call=call, wrong=wrong, cures=cures, leads_on=leads_on)


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """A hint that was given, where in the code, and the words of it that were followed."""

    hint: str
    module: str
    line: int
    followed: frozenset[str]

    def can_be(self, text: HintText) -> bool:
        """Whether it is this text: from its place, or from one that passes on what others say."""
        if not text.is_in(self.hint):
            return False
        sites = [one for one in hint_texts() if one.module == self.module and one.site[0] <= self.line <= one.site[1]]
        passing = not sites or any(one.kind == "passed on" for one in sites) or self.module == "streamload/errors.py"
        return passing or (text.module == self.module and text.site[0] <= self.line <= text.site[1])


@contextlib.contextmanager
def watched() -> Iterator[dict[int, tuple[StreamloadError, str, int]]]:
    """Where in the code each error is made, by its identity."""
    made: dict[int, tuple[StreamloadError, str, int]] = {}
    plain, paths = StreamloadError.__init__, {str(path): name for name, path in modules().items()}

    def noting(self: StreamloadError, message: str, *, hint: str = "", **details: Any) -> None:
        plain(self, message, hint=hint, **details)
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_name in ("noting", "__init__") and frame.f_code.co_filename not in paths:
            frame = frame.f_back
        if frame is not None:
            made[id(self)] = (self, paths.get(frame.f_code.co_filename, ""), frame.f_lineno)

    StreamloadError.__init__ = noting  # type: ignore[method-assign]
    try:
        yield made
    finally:
        StreamloadError.__init__ = plain  # type: ignore[method-assign]


def error_of(call: Callable[..., object], arguments: Mapping[str, Any]) -> StreamloadError | None:
    """What a call is refused with; None where it is not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = call(**arguments)
        except StreamloadError as error:
            return error
    close = getattr(made, "close", None)
    if callable(close):
        close()
    return None


def follow(one: Case) -> Given:
    """Give what is wrong, and follow each of the ways out; raises AssertionError for one that is not in the hint, or does not lead on."""
    with watched() as made:
        error = error_of(one.call, one.wrong)
    assert error is not None, f"nothing is wrong with {one.wrong}"
    followed: set[str] = set()
    for cure in one.cures:
        words, then = cure if isinstance(cure, tuple) else (cure, None)
        assert words in error.hint, f"{words!r} is not in the hint of: {error}"
        followed |= mentioned(words)
        if callable(then):
            then()
            continue
        values = eval(f"dict({words})", dict(NAMES)) if then is None else then
        arguments = {name: value for name, value in {**one.wrong, **values}.items() if value is not OUT}
        again = error_of(one.call, arguments)
        assert again is None or (one.leads_on and str(again) != str(error)), f"{words!r} of: {error}\nleads to: {again}"
    _, module, line = made.get(id(error), (None, "", 0))
    return Given(hint=error.hint, module=module, line=line, followed=frozenset(followed))


def mentioned(text: str) -> set[str]:
    """Arguments and flags that a text names."""
    return {argument or flag for argument, flag in MENTIONED.findall(text)}


def command(*words: object) -> Callable[..., object]:
    """A command as a call; its options are given as `more`, words at the prompt."""

    def call(more: str = "", without: Sequence[str] = ()) -> None:
        said, told = io.StringIO(), io.StringIO()
        here = pytest.MonkeyPatch.context()
        with here as patch, watched() as made, contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            patch.setattr(executors, "ProcessExecutor", in_this_thread)
            try:
                code = main([*(str(word) for word in words if word not in without), *shlex.split(more)])
            except SystemExit as ended:
                code = int(ended.code or 0)
        errors = [error for error, _, _ in made.values() if error.hint and error.hint in said.getvalue() + told.getvalue()]
        if code and errors:
            raise errors[-1]
        assert not code or not errors, told.getvalue()

    return call


def unfollowed(texts: Sequence[HintText], given: Sequence[Given]) -> list[str]:
    """What of these texts no case has led to, or has led to without following all that they name."""
    lacking: list[str] = []
    for text in texts:
        found = [one for one in given if one.can_be(text)]
        left = mentioned(text.text) - set[str]().union(*(one.followed for one in found)) if found else set[str]()
        if not found:
            lacking.append(f"never given: {text}")
        elif left:
            lacking.append(f"not followed, {', '.join(sorted(left))}: {text}")
    return lacking
