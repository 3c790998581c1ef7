"""Two rules that keep bytes right, held by walking the syntax trees: whose memory is written again, and who says how wide a value is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from streamload.reuse.scratch import Scratch, overwrite_all

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "streamload").rglob("*.py"))
TOOLS = [path for path in sorted((ROOT / "tools").rglob("*.py")) if "peers" not in path.parts]

MAKERS = {"empty", "zeros", "ones", "full", "empty_like", "zeros_like", "ndarray", "bytearray", "mmap", "create_string_buffer"}
"""What makes memory that can be written to."""
WRITTEN_AGAIN = {
    "progress.py: self._retired": "progress of workers that are gone",
    "direct_io.py: self._memory": "the ring, which `overwrite_all` reaches",
    "direct_io.py: self._requests": "what the system is asked for",
    "direct_io.py: self._answers": "what it answers",
    "files.py: self._map": "a file, read-only",
    "permutation.py: self._table": "written once, where it is made",
    "transform_records.py: self.offsets": "what a function is given ragged records by, while it is called",
    "transform_records.py: self.fields[field.name]": "what a function is given; made anew where it keeps something of it",
    "batch.py: self._valid": "the batch's own",
    "batch.py: self._source": "the batch's own",
    "block_shuffle.py: self.cuts": "written once, where it is made",
    "scratch.py: self._memory": "scratch memory itself",
    "shared_memory.py: self._map": "shared memory, to which slots, arena and tables have rules of their own",
    "slots.py: self._canaries": "the ends of slots",
    "step_queue.py: self._buffer": "a message, of which only numbers are kept",
    "slots.py: self.offsets[field.name]": "a slot",
    "ragged_collate.py: self._addresses": "made anew for each step",
    "archive.py: self.places[name]": "written once, where an archive is looked at",
    "walk.py: made.places[ending]": "written once, where an archive is looked at",
    "planning.py: made.values[LABEL]": "written once, where a folder is looked at",
    "augment_images.py: self._sizes": "sizes of the images of the step at hand",
}
"""Memory that an object holds, and why no view of it outlives what lies there. Readers have a `Scratch` instead."""

HAVE_WIDTHS = {
    "fingerprints",
    "schema",
    "fields",
    "blocks",
    "_stored",
    "runs",
    "best",
    "taken",
    "file",
    "files",
    "found",
    "empty",
    "stored",
    "arrays",
    "times",
}
"""Lists and mappings of files, fields, arrays and the like, which are asked for their sizes: none is an array of values."""
ARE_ARRAYS = {"metadata_json.py: found.values[number].dtype", "planning.py: details[0][1].dtype"}
"""Single places where an element is an array itself."""


def assignments(tree: ast.AST) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Every target of an assignment, and what is assigned."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for single in target.elts if isinstance(target, (ast.Tuple, ast.List)) else [target]:
                    yield single, node.value


def makes_memory(value: ast.expr) -> bool:
    """Whether an expression makes memory, and more than none."""
    for node in ast.walk(value):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        size = node.args[0] if node.args else None
        first = size.elts[0] if isinstance(size, ast.Tuple) and size.elts else size
        if name in MAKERS and not (isinstance(first, ast.Constant) and first.value == 0):
            return True
    return False


def held(tree: ast.AST) -> list[str]:
    """The attributes that are given memory."""
    return [
        ast.unparse(target)
        for target, value in assignments(tree)
        if isinstance(target.value if isinstance(target, ast.Subscript) else target, ast.Attribute) and makes_memory(value)
    ]


def asked_of_values(tree: ast.AST) -> list[str]:
    """Where a single element of something is asked for its size or its type."""
    found: list[str] = []
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Attribute) and node.attr in ("nbytes", "itemsize", "dtype", "tobytes")):
            continue
        inner = node.value
        if isinstance(inner, ast.Subscript):
            index = inner.slice.elts if isinstance(inner.slice, ast.Tuple) else [inner.slice]
            name = inner.value.attr if isinstance(inner.value, ast.Attribute) else getattr(inner.value, "id", "")
            if not any(isinstance(one, ast.Slice) for one in index) and name not in HAVE_WIDTHS:
                found.append(ast.unparse(node))
    return found


def test_memory_that_is_held_and_written_again_is_known():
    """Everything else that an object keeps is never written again, or is scratch memory, which is overwritten in the contract."""
    found = {f"{path.name}: {target}" for path in LIBRARY for target in held(ast.parse(path.read_text()))}
    assert found == set(WRITTEN_AGAIN)


def test_nothing_asks_a_value_for_its_width():
    """A value of fixed-length bytes or text has the width that is left without the zeros at its end: the field knows the whole."""
    assert np.array([b"ab", b"abcdefgh"])[0].nbytes == 2
    found = {f"{path.name}: {asked}" for path in (*LIBRARY, *TOOLS) for asked in asked_of_values(ast.parse(path.read_text()))}
    assert found == ARE_ARRAYS


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("self._room = np.empty(nbytes, np.uint8)", ["self._room"]),
        ("self._rooms = [np.zeros(0, np.uint8)] * 3", []),
        ("self._rooms[which] = np.empty(nbytes)", ["self._rooms[which]"]),
        ("self.a, b = bytearray(10), 3", ["self.a"]),
        ("room = np.empty(nbytes)", []),
    ],
)
def test_the_first_rule_sees_what_it_should(line: str, caught: list[str]):
    assert held(ast.parse(line)) == caught


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("width = part[name][0].nbytes", ["part[name][0].nbytes"]),
        ("width = array[k].itemsize", ["array[k].itemsize"]),
        ("data = array[k, 0].tobytes()", ["array[k, 0].tobytes"]),
        ("width = array[:1].nbytes", []),
        ("width = schema[name].nbytes", []),
        ("width = array.dtype.itemsize", []),
    ],
)
def test_the_second_rule_sees_what_it_should(line: str, caught: list[str]):
    assert asked_of_values(ast.parse(line)) == caught


def test_scratch_memory_is_overwritten_as_long_as_it_lives():
    """And not what is made after it has grown, or was let go of."""
    scratch = Scratch()
    room = scratch.room(10)
    room[:] = 1
    overwrite_all(7)
    assert room.tolist() == [7] * 10
    assert scratch.room(4).ctypes.data == room.ctypes.data
    scratch.close()
    overwrite_all(9)
    assert room.tolist() == [7] * 10
