"""Every place in the code that gives an error a hint, and every text that it can give there, found by reading the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import streamload
import streamload.tools

ROOTS = {"streamload": Path(streamload.__file__).parent, "tools": Path(streamload.tools.__file__).parent}
NAMED = re.compile(
    r"\b[a-z_]+=(?!=)|(?<![\w-])--[a-z]|\b[A-Za-z_.]+\((?!s\))"
    r"|streamload (?:info|head|show|plan|verify|doctor|tune|report|bench|convert|init)\b"
)
"""What makes a hint more than prose: an argument, a flag, a call, or a command of the project."""
OTHERS = re.compile(r"`[^`]*`|\bpip install[^.]*|--(?:sort|user|scope)\S*|\w+ (?:scheduler|worker)\b")
"""Commands of other programs: they are theirs to test."""
OURS = re.compile(r"`streamload [^`]*`")
FORMATTED = re.compile(r"\{[a-z]+\}")
"""Where `str.format` puts in a value."""
HOLE = "\0"
"""Stands in a text where the code puts in a value."""
MOST_STEPS = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class HintText:
    """One text that one place can give as a hint."""

    module: str
    """The path of its module, as "streamload/source.py"."""
    site: tuple[int, int]
    """First and last line of the call that is given the hint."""
    text: str
    """With HOLE where values go."""

    @property
    def kind(self) -> str:
        """ "named": an argument, flag, call or command is in it; "others": of other programs only; "prose"; "passed on": no own text."""
        if not self.text.strip(HOLE + " "):
            return "passed on"
        own = " ".join((*OURS.findall(self.text), OTHERS.sub(" ", self.text)))
        if NAMED.search(own):
            return "named"
        return "others" if OTHERS.search(self.text) else "prose"

    def is_in(self, hint: str) -> bool:
        """Whether a hint that was given can be this text."""
        return re.search(".*".join(map(re.escape, self.text.strip().split(HOLE))), hint, re.DOTALL) is not None

    def __str__(self) -> str:
        return f"{self.module}:{self.site[0]}: {self.text.replace(HOLE, '{}')}"


@cache
def modules() -> dict[str, Path]:
    """All modules of the library and its tools, by the names that texts have."""
    found: dict[str, Path] = {}
    for name, root in ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            if ROOTS["tools"] not in path.parents or name == "tools":
                found[f"{name}/{path.relative_to(root)}"] = path
    return found


@cache
def text_of(module: str) -> str:
    """The text of a module."""
    return modules()[module].read_text()


@cache
def nodes(module: str) -> tuple[ast.AST, ...]:
    """All parts of a module, each knowing the function and the statements that it lies in; the module itself comes first."""
    found: list[ast.AST] = []

    def visit(node: ast.AST, within: ast.FunctionDef | None, block: tuple[ast.AST, ...]) -> None:
        node.within, node.block = within, block  # type: ignore[attr-defined]
        found.append(node)
        inner = node if isinstance(node, ast.FunctionDef) else within
        for value in (value for _, value in ast.iter_fields(node)):
            children = [one for one in value if isinstance(one, ast.AST)] if isinstance(value, list) else [value]
            statements = tuple(children) if children and isinstance(children[0], ast.stmt) else block
            for child in children if isinstance(value, (list, ast.AST)) else ():
                visit(child, inner, statements)

    visit(ast.parse(text_of(module)), None, ())
    return tuple(found)


def called_name(node: ast.Call) -> str:
    """The last name of what is called."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


@cache
def calls(name: str) -> list[tuple[str, ast.Call]]:
    """All calls of a function, by its last name."""
    some = [module for module in modules() if f"{name}(" in text_of(module)]
    return [(module, node) for module in some for node in nodes(module) if isinstance(node, ast.Call) and called_name(node) == name]


@cache
def functions(name: str) -> list[tuple[str, ast.FunctionDef]]:
    """All functions of a name."""
    some = [module for module in modules() if f"def {name}(" in text_of(module)]
    return [(module, node) for module in some for node in nodes(module) if isinstance(node, ast.FunctionDef) and node.name == name]


def texts_of(node: ast.expr, module: str, steps: int = MOST_STEPS) -> Iterator[str]:
    """Every text that an expression can have; HOLE where that cannot be read from the code."""
    match node:
        case ast.Constant(value=str(value)):
            yield FORMATTED.sub(HOLE, value)
        case ast.JoinedStr():
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else HOLE for part in node.values)
        case ast.IfExp():
            yield from texts_of(node.body, module, steps)
            yield from texts_of(node.orelse, module, steps)
        case ast.BinOp(op=ast.Add()):
            yield from (a + b for a in texts_of(node.left, module, steps) for b in texts_of(node.right, module, steps))
        case ast.BoolOp(op=ast.Or()):
            for value in node.values:
                yield from texts_of(value, module, steps)
        case ast.BinOp(op=ast.Mult()):
            yield from texts_of(node.left, module, steps)
        case ast.Name() if steps:
            yield from named_texts(node, module, steps - 1)
        case ast.Call() if steps:
            yield from returned_texts(node, steps - 1)
        case _:
            yield HOLE


def named_texts(node: ast.Name, module: str, steps: int) -> Iterator[str]:
    """Texts that a name stands for: what is assigned to it in its function, given as an argument, or a constant."""
    function = getattr(node, "within", None)
    assigned = list(assigned_to(node.id, module, function))
    if function is not None and not assigned:
        names = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
        keywords = [one.arg for one in function.args.kwonlyargs]
        if node.id in names or node.id in keywords:
            yield from given_texts(function, node.id, names, steps)
            return
        assigned = list(assigned_to(node.id, module, None))
    beside = [one for one in assigned if one.block == node.block and one.lineno < node.lineno]  # type: ignore[attr-defined]
    for value in beside[-1:] or assigned:
        yield from texts_of(value, module, steps)
    if not assigned:
        yield from imported_texts(node.id, module, steps)


def imported_texts(name: str, module: str, steps: int) -> Iterator[str]:
    """Texts of a constant that another module has."""
    for node in nodes(module):
        if isinstance(node, ast.ImportFrom) and node.module and any((one.asname or one.name) == name for one in node.names):
            for suffix in (".py", "/__init__.py"):
                other = node.module.replace("streamload.tools", "tools").replace(".", "/") + suffix
                if other in modules():
                    for value in assigned_to(name, other, None):
                        yield from texts_of(value, other, steps)
                    return
    yield HOLE


def assigned_to(name: str, module: str, function: ast.FunctionDef | None) -> Iterator[ast.expr]:
    """Expressions that are assigned to a name in a function, or at the top of a module."""
    for node in nodes(module):
        if isinstance(node, ast.Assign) and node.within is function:  # type: ignore[attr-defined]
            for target in node.targets:
                if isinstance(target, ast.Name) and target.id == name:
                    yield node.value
                elif isinstance(target, ast.Tuple):
                    for at, one in enumerate(target.elts):
                        if isinstance(one, ast.Name) and one.id == name:
                            yield from unpacked(node.value, at)


def unpacked(value: ast.expr, at: int) -> Iterator[ast.expr]:
    """The part of a tuple that is assigned to a name, of each way that the tuple can come about."""
    if isinstance(value, ast.Tuple):
        yield value.elts[at]
    elif isinstance(value, ast.IfExp):
        yield from unpacked(value.body, at)
        yield from unpacked(value.orelse, at)
    else:
        made = ast.copy_location(ast.Constant(value=HOLE), value)
        made.within, made.block = value.within, value.block  # type: ignore[attr-defined]
        yield made


def given_texts(function: ast.FunctionDef, name: str, names: list[str], steps: int) -> Iterator[str]:
    """Texts that callers give for a parameter; those given by keyword as `hint` are places of their own."""
    at = names.index(name) if name in names else None
    is_method = bool(names) and names[0] in ("self", "cls")
    for module, call in calls(function.name):
        for keyword in call.keywords:
            if keyword.arg == name and name != "hint":
                yield from texts_of(keyword.value, module, steps)
        place = None if at is None else at - is_method
        if place is not None and place < len(call.args):
            yield from texts_of(call.args[place], module, steps)


def returned_texts(node: ast.Call, steps: int) -> Iterator[str]:
    """Texts that a function of ours returns."""
    found = functions(called_name(node))
    if not found or len(found) > 2:
        yield HOLE
        return
    for module, function in found:
        for inner in ast.walk(function):
            if isinstance(inner, ast.Return) and inner.value is not None:
                yield from texts_of(inner.value, module, steps)


@cache
def hint_texts() -> tuple[HintText, ...]:
    """Every text of every place."""
    found: dict[HintText, None] = {}
    for module in modules():
        for node in nodes(module) if "hint=" in text_of(module) else ():
            if not isinstance(node, ast.Call):
                continue
            for keyword in node.keywords:
                if keyword.arg == "hint":
                    for text in texts_of(keyword.value, module):
                        one = HintText(module=module, site=(node.lineno, node.end_lineno or node.lineno), text=text)
                        found[one] = None
    return tuple(found)
