"""Every hint that names an argument, a flag, a call or a command is given and followed, and leads on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import augment_hint_cases as augment_cases
import command_cases
import format_cases
import framework_cases
import hdf5_cases
import loading_cases
import pytest
from following import Case, Given, follow, unfollowed
from hint_sites import hint_texts

AREAS: dict[str, Callable[[Path], Iterator[Case]]] = {
    "streamload": loading_cases.cases,
    "streamload/formats": format_cases.cases,
    "streamload/formats/hdf5": hdf5_cases.cases,
    "streamload/frameworks": framework_cases.cases,
    "streamload/loader/ownership": framework_cases.cases,
    "streamload/transforms": augment_cases.cases,
    "tools": command_cases.cases,
}
"""Cases, by where the code is that they are about; the longest beginning counts."""


def area_of(module: str) -> str:
    """Which cases are about a module."""
    return max((area for area in AREAS if module.startswith(area)), key=len)


@pytest.mark.parametrize("area", AREAS)
def test_what_hints_name_is_followed_and_leads_on(area: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """No hint of this part of the code is left over."""
    monkeypatch.chdir(tmp_path)
    given: list[Given] = []
    wrong: list[str] = []
    for one in AREAS[area](tmp_path):
        try:
            given.append(follow(one))
        except AssertionError as error:
            wrong.append(str(error))
    named = [text for text in hint_texts() if text.kind == "named" and area_of(text.module) == area]
    assert named
    lacking = [*wrong, *unfollowed(named, given)]
    if lacking:
        pytest.fail("\n".join(lacking), pytrace=False)


def test_what_is_prose_is_told_by_rule():
    """Every hint is one of these; none is an exception by name."""
    kinds = Counter(text.kind for text in hint_texts())
    assert set(kinds) <= {"named", "others", "prose", "passed on"}
    assert kinds["named"] > 200
