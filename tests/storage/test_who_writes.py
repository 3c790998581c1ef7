"""One module creates, replaces and deletes files: the syntax trees of the library and of the tools hold no such call elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALONE = "streamload/storage/owned_files.py"

MODULES = {
    "os": {
        *("chmod", "chown", "fchmod", "fchown", "ftruncate", "lchmod", "lchown", "link", "makedirs", "mkdir", "mkfifo", "mknod", "remove"),
        *("removedirs", "removexattr", "rename", "renames", "replace", "rmdir", "setxattr", "symlink", "truncate", "unlink", "utime"),
    },
    "shutil": {
        *("chown", "copy", "copy2", "copyfile", "copymode", "copystat", "copytree", "make_archive", "move", "rmtree", "unpack_archive"),
    },
    "tempfile": {
        *("NamedTemporaryFile", "SpooledTemporaryFile", "TemporaryDirectory", "TemporaryFile", "mkdtemp", "mkstemp", "mktemp"),
    },
    "np": {"save", "savetxt", "savez", "savez_compressed"},
    "pq": {"write_table", "write_to_dataset", "write_metadata"},
}
"""Functions that write, by the module that has them."""
METHODS = {
    *("chmod", "extractall", "hardlink_to", "imwrite", "lchmod", "mkdir", "rename", "rmdir", "savefig", "symlink_to", "tofile", "touch"),
    *("unlink", "write_bytes", "write_text"),
}
"""Methods of paths, arrays and pictures that write."""
OPENERS = {"open", "File", "ZipFile", "OSFile", "memmap", "TarFile", "fdopen", "BZ2File", "GzipFile", "LZMAFile", "FileIO"}
"""What opens a file in the mode that is its second argument, or is called so."""
LIBRARIES = ("io", "gzip", "bz2", "lzma", "codecs", "h5py", "zipfile", "tarfile")
FLAGS = {"O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND", "O_TMPFILE"}

ALLOWED: dict[tuple[str, str], str] = {
    ("streamload/processes/fault_points.py", "open 'r+'"): "empties the file by which a test says where to die; only with one",
    ("streamload/memory/shared_memory.py", "os.ftruncate"): "gives memory without a name its size",
    ("streamload/formats/hdf5/inspector_process.py", "os.ftruncate"): "gives memory without a name its size",
    ("streamload/formats/hdf5/inspector_process.py", "os.open O_WRONLY"): "/dev/null",
    ("streamload/processes/child_process.py", "os.open O_WRONLY"): "/dev/null",
    ("tools/__main__.py", "os.open O_WRONLY"): "/dev/null",
    ("tools/__main__.py", "os.open O_RDWR"): "/dev/null",
    ("tools/commands/init.py", "open 'x'"): "the script that was asked for, exclusively: what is there is never replaced",
    ("tools/__main__.py", "open 'w'"): "a descriptor that is open",
    ("tools/benchmark/cgroup.py", "mkdir"): "a control group, which is the kernel's",
    ("tools/benchmark/cgroup.py", "rmdir"): "a control group, which is the kernel's",
    ("tools/benchmark/cgroup.py", "write_text"): "settings of a control group, which is the kernel's",
    ("tools/files/page_cache.py", "write_text"): "/proc/sys/vm/drop_caches",
    ("tools/convert/writers/hdf5.py", "h5py.File 'x'"): "in a folder that is held, exclusively; HDF5 takes nothing but paths",
    ("tools/convert/writers/hdf5.py", "h5py.File 'r+'"): "the file that was made just before",
    ("tools/convert/writers/hdf5.py", "os.open O_RDWR"): "the file that was made just before",
    ("tools/convert/writers/npz.py", "zipfile.ZipFile 'w'"): "into an open file",
    ("tools/files/direct_io.py", "os.open ?"): "a file that the caller has made; never creates",
    ("tools/demonstration/dataset.py", "h5py.File 'x'"): "in a temporary folder of this run, exclusively",
    ("tools/examples/train_jax.py", "write_bytes"): "the checkpoint that was asked for",
    ("tools/commands/conversion_gain.py", "tempfile.TemporaryDirectory"): "a folder of its own",
    ("tools/commands/conversion_gain.py", "pq.write_table"): "in that folder",
    ("tools/benchmark/competitors.py", "h5py.File 'x'"): "under a name that nothing has, which the module deletes or renames",
}
"""Who writes all the same, what, and why that cannot touch what is not ours."""


def called(node: ast.Call) -> tuple[str, str]:
    """The name before the dot, and the name of what is called."""
    if isinstance(node.func, ast.Attribute):
        within = node.func.value
        return (within.id if isinstance(within, ast.Name) else within.attr if isinstance(within, ast.Attribute) else "?"), node.func.attr
    return "", node.func.id if isinstance(node.func, ast.Name) else "?"


def mode_of(node: ast.Call, name: str) -> str | None:
    """The mode in which a call opens a file: "?" where only running it tells; None where it reads."""
    of_a_path = name == "open" and isinstance(node.func, ast.Attribute) and called(node)[0] not in LIBRARIES
    position = 2 if name == "memmap" else 0 if of_a_path else 1
    given = next((one.value for one in node.keywords if one.arg == "mode"), None)
    if given is None and len(node.args) > position:
        given = node.args[position]
    if given is None:
        return None
    if not isinstance(given, ast.Constant):
        # Of a method it may be anything: records of a source, a window of a plan.
        return "?" if name in ("open", "File") and (isinstance(node.func, ast.Name) or called(node)[0] in LIBRARIES) else None
    return str(given.value) if isinstance(given.value, str) and set(given.value) & set("wax+") else None


def writing(tree: ast.AST) -> Iterator[str]:
    """The calls that create, replace or delete, by what they are."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        within, name = called(node)
        if within == "os" and name == "open":
            flags = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)} & FLAGS
            known = any(isinstance(one, ast.Attribute) and one.attr == "O_RDONLY" for one in ast.walk(node))
            if flags or not known:
                yield f"os.open {' '.join(sorted(flags)) or '?'}"
        elif name in MODULES.get(within, ()):
            yield f"{within}.{name}"
        elif name in METHODS and within not in MODULES:
            yield name
        elif (
            name == "replace"
            and isinstance(node.func, ast.Attribute)
            and within not in ("os", "dataclasses")
            and len(node.args) == 1
            and not node.keywords
        ):
            yield "Path.replace"
        elif name in OPENERS and within != "os" and not (name == "open" and within in ("streamload", "sl")):
            mode = mode_of(node, name)
            if mode is not None:
                yield f"{within}.{name} {mode!r}".lstrip(".")


def sources() -> list[Path]:
    """All modules of the library and of the tools."""
    return sorted({*(ROOT / "streamload").rglob("*.py"), *(ROOT / "tools").rglob("*.py")})


def test_nobody_else_creates_replaces_or_deletes():
    """What is allowed is listed with its reason, and is there."""
    found = {(str(path.relative_to(ROOT)), call) for path in sources() for call in writing(ast.parse(path.read_text()))}
    found = {(path, call) for path, call in found if path != ALONE}
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set()


@pytest.mark.parametrize(
    "text",
    [
        "os.unlink(path)",
        "os.open(path, os.O_WRONLY | os.O_CREAT)",
        "os.open(path, flags)",
        "shutil.rmtree(path)",
        "tempfile.mkdtemp()",
        "open(path, 'wb')",
        "open(path, mode)",
        "open(path, mode='a')",
        "path.open('w')",
        "Path('x').write_text('y')",
        "path.unlink(missing_ok=True)",
        "path.replace(other)",
        "h5py.File(path, 'w')",
        "zipfile.ZipFile(path, 'x')",
        "gzip.open(path, 'wt')",
        "gzip.open(path, mode)",
        "np.save(path, array)",
        "array.tofile(path)",
        "np.memmap(path, np.uint8, 'w+')",
    ],
)
def test_such_a_call_is_found(text: str):
    """Of each kind one."""
    assert len(list(writing(ast.parse(text)))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open('rb')",
        "os.open(path, os.O_RDONLY | os.O_CLOEXEC)",
        "text.replace('a', 'b')",
        "replace(value, name=1)",
        "gzip.open(path)",
        "h5py.File(path)",
        "np.memmap(path, np.uint8, 'r')",
        "sl.open(path, 'image')",
    ],
)
def test_what_reads_is_not(text: str):
    """Nor what only looks like it."""
    assert not list(writing(ast.parse(text)))
