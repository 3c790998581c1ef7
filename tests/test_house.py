"""The house keeps its own rules: floors, sizes, words, what an import costs, and what the README promises."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from time_limits import GUARD_SECONDS

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = sorted((ROOT / "streamload").rglob("*.py"))
TOOLS = sorted((ROOT / "tools").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
BENCH = sorted((ROOT / "bench").rglob("*.py"))
README = ROOT / "README.md"

MOST_LINES = 400
HEAVY = ("h5py", "pyarrow", "numba", "llvmlite", "imagecodecs", "cloudpickle", "torch", "jax", "tensorflow", "PIL", "rich")
VAGUE_NAMES = {"base", "common", "core", "helper", "helpers", "manager", "misc", "util", "utils"}
OTHER_WORDS = re.compile(r"\b(samples?|datapoints?|minibatch(es)?|data point|training items?|dataset rows?)\b", re.IGNORECASE)


def name_of(path: Path) -> str:
    """A path as it is written in the tree."""
    return str(path.relative_to(ROOT))


def imported(tree: ast.Module) -> set[str]:
    """Every module that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(modules: set[str], name: str) -> bool:
    """Whether `name`, or something in it, is among the modules."""
    return any(module == name or module.startswith(name + ".") for module in modules)


def blocks(language: str) -> list[str]:
    """The fenced blocks of one language in the README."""
    return re.findall(rf"^```{language}\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)


def test_a_room_imports_only_from_floors_below():
    """import-linter keeps its contracts, and no module stands outside the floors."""
    command = [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())"]
    done = subprocess.run([*command, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


TOOLS_FLOORS = """
[tool.importlinter]
root_package = "streamload"

[[tool.importlinter.contracts]]
name = "No import cycle between the modules of a folder of the tools, nor between folders"
type = "acyclic_siblings"
ancestors = ["streamload.tools", "streamload.tools.**"]

[[tool.importlinter.contracts]]
name = "Floors of the tools"
type = "layers"
containers = ["streamload.tools"]
exhaustive = true
layers = [
    "__main__ | examples",
    "commands | demonstration",
    "verification",
    "benchmark | convert",
    "files | chain_file | trainable",
    "progress",
    "console",
]
"""


def test_tools_import_without_cycles_and_only_from_floors_below(tmp_path: Path):
    """As they are installed, inside the library: in the tree, where they lie beside it, the linter does not find them."""
    (tmp_path / "streamload").mkdir()
    for path in (*(ROOT / "streamload").iterdir(), ROOT / "tools"):
        (tmp_path / "streamload" / path.name).symlink_to(path)
    (tmp_path / "pyproject.toml").write_text(TOOLS_FLOORS)
    command = "import sys; from importlinter.cli import lint_imports_command as main; sys.exit(main())"
    there = os.environ | {"PYTHONPATH": str(tmp_path)}
    lint = [sys.executable, "-c", command, "--no-cache"]
    done = subprocess.run(lint, cwd=tmp_path, env=there, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def kept(paths: list[Path], rule: Callable[[Path, str, ast.Module], Iterator[str]]) -> None:
    """Fail with everything that breaks a rule: `rule` says for a file, its text and its syntax tree what is wrong."""
    broken = [f"{name_of(path)}: {wrong}" for path in paths for wrong in rule(path, *parsed(path))]
    assert not broken, "\n".join(broken)


@cache
def parsed(path: Path) -> tuple[str, ast.Module]:
    """The text and the syntax tree of a file."""
    source = path.read_text()
    return source, ast.parse(source)


def test_the_library_never_imports_its_tools_tests_or_benchmarks():
    """Tools, tests and benchmarks stand on the library, not the other way round."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        modules = imported(tree)
        yield from (f"imports {name}" for name in ("streamload.tools", "tools", "tests", "bench") if within(modules, name))

    kept(LIBRARY, rule)


def test_a_module_is_small_and_says_what_it_is_for():
    """At most 400 lines, and a docstring that begins with a sentence."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        if (lines := len(source.splitlines())) > MOST_LINES:
            yield f"{lines} lines, {MOST_LINES} at most"
        docstring = ast.get_docstring(tree)
        if source.strip() and not docstring:
            yield "a module's docstring says what the room is for"
        elif docstring and not docstring.split("\n\n")[0].rstrip().endswith((".", ":")):
            yield f"the docstring does not begin with a sentence: {docstring!r}"

    kept(LIBRARY + TOOLS + TESTS + BENCH, rule)


def test_names_of_modules_say_something():
    """No room for odds and ends."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        yield from {part.removesuffix(".py") for part in path.relative_to(ROOT).parts} & VAGUE_NAMES

    kept(LIBRARY + TOOLS + TESTS + BENCH, rule)


def test_faults_are_real():
    """No test replaces what it tests: no mocks."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        modules = imported(tree)
        yield from (f"imports {name}" for name in ("unittest.mock", "mock") if within(modules, name))

    kept(TESTS, rule)


def test_nothing_is_a_stub():
    """What is there works: nothing raises NotImplementedError, no note says that the work is still to be done."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        yield from re.findall(r"NotImplementedError|\b(?:TODO|FIXME|XXX)\b", source)

    kept(LIBRARY, rule)


def test_docstrings_use_the_words_of_the_house():
    """A record is a record: never a sample, an item or a row of a dataset."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found = OTHER_WORDS.search(ast.get_docstring(node) or "")
                if found is not None:
                    yield f"line {getattr(node, 'lineno', 1)}: {found[0]!r}"

    kept(LIBRARY + TOOLS, rule)


def test_a_rule_that_is_broken_is_told_by_file():
    """Every complaint of every file is in the failure."""

    def rule(path: Path, source: str, tree: ast.Module) -> Iterator[str]:
        yield from ("first", "second")

    with pytest.raises(AssertionError, match=r"(?s)order/__init__\.py: first.*order/__init__\.py: second"):
        kept([ROOT / "tests" / "order" / "__init__.py"], rule)


def test_the_library_loads_numpy_and_nothing_heavier():
    """What opens files costs NumPy; a file format or a compiler is loaded when it is needed."""
    code = "import json, sys, streamload; streamload.open; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd="/", capture_output=True, text=True, check=True, env=environment())
    loaded = set(json.loads(done.stdout))
    assert "numpy" in loaded
    assert not loaded & set(HEAVY)


def test_few_names_are_public_and_all_of_them_exist():
    """One screen of names: under 25."""
    import streamload

    names = list(streamload.__all__)
    assert 0 < len(names) < 25
    assert len(names) == len(set(names))
    assert all(getattr(streamload, name) is not None for name in names)
    completed = dir(streamload)
    assert {*names, "StateError", "RandomCrop", "MixUp", "PadRagged"} <= set(completed), "tab completion offers errors and operations too"
    assert all(getattr(streamload, name) is not None for name in completed)


def test_every_package_is_listed_for_the_wheel():
    """pyproject names each folder that holds code, and no other."""
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {".".join(path.parent.relative_to(ROOT).parts) for path in LIBRARY}
    folders |= {".".join(["streamload", *path.parent.relative_to(ROOT).parts]) for path in TOOLS}
    assert listed == folders


def test_no_package_index_is_named():
    """Where packages come from is for pip's own settings to say."""
    for path in (ROOT / "pyproject.toml", ROOT / ".ci" / "run", *(ROOT / "tools").iterdir(), README):
        if path.is_file():
            assert not re.search(r"index-url|find-links|https?://[^\s\"')]*(pypi|/simple)", path.read_text()), path


def test_the_top_level_stays_as_it_is():
    """A newcomer sees six things."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a checkout")
    top = {line.partition("/")[0] for line in done.stdout.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= {"pyproject.toml", "README.md", "streamload", "bench", "tests", "tools"}


def test_the_versions_of_formats_are_those_that_the_changes_list():
    """The table of CHANGELOG.md says the versions that the code has, and where they stand."""
    rows = re.findall(r"^\| [^|]+ \| (\w+) \| `(\w+)` in `([^`]+)` \|", (ROOT / ".github" / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert len(rows) == 6
    for version, name, path in rows:
        assert re.search(rf'^{name} = (b"{version}"|{version})$', (ROOT / path).read_text(), re.MULTILINE), (version, name, path)
    ours = {path for path in (ROOT / "streamload").rglob("*.py") if re.search(r'^MAGIC = b"SL', path.read_text(), re.MULTILINE)}
    assert ours <= {ROOT / path for _, _, path in rows}


def test_contributing_names_files_that_are_there():
    """Every path that it says in full exists, but for rooms of frameworks, which are optional."""
    paths = re.findall(r"`((?:streamload|tools|tests|bench|\.github)/[\w./]+)`", (ROOT / ".github" / "CONTRIBUTING.md").read_text())
    assert len(paths) > 10
    assert not [path for path in paths if not (ROOT / path).exists() and path != "streamload/frameworks/"]


@pytest.mark.parametrize("command", ["./tools/demo", "./tools/test"])
def test_the_readme_shows_both_commands_on_its_first_screen(command: str):
    """What to type stands within the first 40 lines, and can be run."""
    assert command in "\n".join(README.read_text().splitlines()[:40])
    assert (ROOT / command).stat().st_mode & 0o111


def test_ci_runs_the_command_that_the_readme_names():
    """What CI passes is what a newcomer runs."""
    assert "./tools/test" in (ROOT / ".ci" / "run").read_text()
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_the_tour_in_the_readme_runs(tmp_path: Path):
    """Every Python block of the README, one after the other, in a script without a `__main__` guard."""
    script = tmp_path / "tour.py"
    script.write_text("\n".join(blocks("python")))
    command = [sys.executable, "-W", "error", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=GUARD_SECONDS, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert not re.search(r"Traceback|Warning|Exception|resource_tracker", done.stderr), done.stderr


def environment() -> dict[str, str]:
    """This process's environment, with the library on the path even where it is not installed."""
    return os.environ | {"PYTHONPATH": str(ROOT)}
