"""The catalogue of faults is whole: every number has tests, and the tests are there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from faults.catalogue import CATALOGUE

TESTS = Path(__file__).parent.parent
SECTIONS = {"A": 26, "B": 26, "C": 16, "D": 31, "E": 23, "F": 9, "G": 4, "H": 18}


@cache
def functions_in(path: Path) -> dict[str, str]:
    """The test functions of a file, with what their docstrings say."""
    nodes = ast.walk(ast.parse(path.read_text()))
    found = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    return {node.name: ast.get_docstring(node) or "" for node in found}


def test_no_number_is_missing() -> None:
    """A1 to A26, B1 to B26, C1 to C16, D1 to D31, E1 to E23, F1 to F9, G1 to G4, H1 to H18."""
    wanted = {f"{section}{number}" for section, count in SECTIONS.items() for number in range(1, count + 1)}
    assert wanted <= set(CATALOGUE)


@pytest.mark.parametrize("number", CATALOGUE)
def test_the_tests_of_a_fault_exist(number: str) -> None:
    """Each by file and name."""
    assert CATALOGUE[number].tests
    for test in CATALOGUE[number].tests:
        file, _, name = test.partition("::")
        there = functions_in(TESTS / file)
        assert there
        assert name == "*" or name in there, test


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("test_*.py")), ids=lambda path: path.stem)
def test_a_test_that_claims_a_fault_is_in_its_entry(path: Path) -> None:
    """What a docstring says in its first words is what the table says."""
    if path == Path(__file__):
        return
    for name, said in functions_in(path).items():
        for number in re.findall(r"\b([A-H]\d+)\b", said.partition(": ")[0]):
            assert f"faults/{path.name}::{name}" in CATALOGUE[number].tests, f"{name} claims {number}"
