"""CIFAR-10 and CIFAR-100 as they are published: folders of binary batches, or of pickles, which can do nothing here but hold data."""

from __future__ import annotations

import os
import pickle
import pickletools
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from streamload.errors import CorruptDataError, UnsafeSourceError
from streamload.formats.names import natural_key
from streamload.schema import Field, Schema
from streamload.tools.convert.open_request import OpenRequest
from streamload.tools.convert.record_source_defaults import RecordSourceDefaults

IMAGE = (3, 32, 32)
IMAGE_NBYTES = 3072
LABELS = {1: ("label",), 2: ("coarse_label", "fine_label")}
"""Label bytes before an image in binary files."""
PICKLED = {"labels": "label", "fine_labels": "fine_label", "coarse_labels": "coarse_label"}
CLASSES = {"label_names": "label", "fine_label_names": "fine_label", "coarse_label_names": "coarse_label"}
"""Lists of words beside the batches: in a pickle, or a text file of that name each."""
WORDS = {"label_names": "batches.meta.txt", "fine_label_names": "fine_label_names.txt", "coarse_label_names": "coarse_label_names.txt"}
META = ("batches.meta", "meta")
NAMES = ("data_batch", "train", "test_batch", "test")
MOST_NBYTES = 1 << 30
"""A file larger than this is no batch of CIFAR."""


def matches(path: str) -> bool:
    """Whether it is a folder of CIFAR's training batches, or one of its files."""
    return bool(_batches(path))


def _batches(path: str) -> list[str]:
    """The files of a training set in order, or the one file that is named."""
    if os.path.isfile(path):
        name = os.path.basename(path)
        return [path] if name.startswith(NAMES) and (_binary(path) or _pickled(path)) else []
    if not os.path.isdir(path):
        return []
    for prefix in ("data_batch", "train"):
        files = [os.path.join(path, name) for name in os.listdir(path) if name == prefix or name.startswith((prefix + "_", prefix + "."))]
        found = sorted((file for file in files if os.path.isfile(file) and (_binary(file) or _pickled(file))), key=natural_key)
        if found:
            return found
    return []


def _binary(path: str) -> int:
    """Label bytes of each record of a binary file; 0 where it is none."""
    nbytes = os.path.getsize(path)
    if not path.endswith(".bin") or not 0 < nbytes < MOST_NBYTES:
        return 0
    # CIFAR-100's files have two label bytes, and their names say so better than sizes that both divide.
    order = (2, 1) if os.path.basename(path) in ("train.bin", "test.bin") else (1, 2)
    return next((labels for labels in order if nbytes % (IMAGE_NBYTES + labels) == 0), 0)


def _pickled(path: str) -> bool:
    if not 0 < os.path.getsize(path) < MOST_NBYTES:
        return False
    with open(path, "rb") as file:
        head = file.read(2)
    return len(head) == 2 and head[0] == 0x80 and head[1] in (2, 3, 4, 5)


def opened(request: OpenRequest, threads: int) -> Cifar:
    """The records of CIFAR's files."""
    return Cifar(request)


class Cifar(RecordSourceDefaults):
    """Images of 32 x 32 in colour and their labels; all of it is in memory, 180 MB at most."""

    format_name = "CIFAR"

    def __init__(self, request: OpenRequest) -> None:
        self.paths = _batches(request.path)
        parts = [_read_binary(path) if _binary(path) else _read_pickle(path) for path in self.paths]
        names = list(parts[0])
        for path, part in zip(self.paths, parts, strict=True):
            if list(part) != names:
                raise CorruptDataError(f"{path} holds {list(part)}, and {self.paths[0]} {names}.", hint="Is it of the same set?", path=path)
        self._arrays = {name: np.concatenate([part[name] for part in parts]) for name in names}
        self.title = request.path
        words = _words(os.path.dirname(self.paths[0]))
        labels = {name: one for name, one in self._arrays.items() if name in words and len(one)}
        self.classes = {name: words[name] for name, one in labels.items() if int(one.max()) < len(words[name])}
        few = [name for name in labels if name not in self.classes]
        self.left_out = {f"names of {name}": f"{len(words[name]):,} names, and labels up to {int(labels[name].max()):,}" for name in few}
        self.schema = Schema(tuple(Field(name, one.dtype, one.shape[1:]) for name, one in self._arrays.items()))

    def __len__(self) -> int:
        return len(self._arrays["image"])

    @property
    def files(self) -> list[str]:
        """All files that are read: batches, and the names of their labels."""
        folder = os.path.dirname(self.paths[0])
        words = [name for name in os.listdir(folder) if name in (*WORDS.values(), *META)]
        return [*self.paths, *(os.path.join(folder, name) for name in words)]

    @property
    def identity(self) -> list[Any]:
        """Sizes and times of the files."""
        return [[os.path.realpath(path), os.path.getsize(path), os.stat(path).st_mtime_ns] for path in self.paths]

    def take(self, records: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        """Arrays of the given records."""
        return {name: self.values(name, records) for name in self._arrays}

    def values(self, name: str, records: NDArray[np.int64]) -> NDArray[Any]:
        """One array's."""
        return self._arrays[name][records]


def _upright(flat: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Planes of colour as pixels: (records, 3072) to (records, 32, 32, 3)."""
    return np.ascontiguousarray(flat.reshape(-1, *IMAGE).transpose(0, 2, 3, 1))


def _read_binary(path: str) -> dict[str, NDArray[Any]]:
    count = _binary(path)
    rows = np.fromfile(path, np.uint8).reshape(-1, count + IMAGE_NBYTES)
    labels = {name: rows[:, at].astype(np.int64) for at, name in enumerate(LABELS[count])}
    return {"image": _upright(rows[:, count:])} | labels


def _words(folder: str) -> dict[str, list[str]]:
    """What the numbers of labels mean, by field, as files beside the batches say it; nothing where there are none."""
    found: dict[str, list[str]] = {}
    for name, beside in WORDS.items():
        path = os.path.join(folder, beside)
        if os.path.isfile(path) and os.path.getsize(path) < MOST_NBYTES:
            with open(path, encoding="utf-8", errors="replace") as file:
                found[CLASSES[name]] = [line.strip() for line in file if line.strip()]
    for path in (os.path.join(folder, beside) for beside in META):
        if os.path.isfile(path) and _pickled(path):
            held = _held(path)
            for name, called in CLASSES.items():
                if isinstance(held.get(name), list):
                    found[called] = [word.decode("utf-8", "replace") if isinstance(word, bytes) else str(word) for word in held[name]]
    return found


def _held(path: str) -> dict[Any, Any]:
    """The dict that a pickle holds, its names as text; an empty one where it holds something else."""
    with open(path, "rb") as file:
        try:
            held = Harmless(file, encoding="latin1").load()
        except UnsafeSourceError as error:
            raise UnsafeSourceError(f"{path}: {error.message}", hint=error.hint, path=path) from error
        except Exception as error:  # a damaged pickle can raise anything
            raise CorruptDataError(f"{path} is no pickle that can be read: {error}.", hint="Fetch it again.", path=path) from error
    if not isinstance(held, dict):
        return {}
    return {name.decode("latin1") if isinstance(name, bytes) else name: value for name, value in held.items()}


def _read_pickle(path: str) -> dict[str, NDArray[Any]]:
    held = _held(path)
    array = held.get("data")
    data = getattr(array, "values", None) if isinstance(array, _Array) else None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != IMAGE_NBYTES:
        raise CorruptDataError(
            f"{path} is a pickle, and not one of CIFAR's.", hint="Save the arrays as HDF5 where you trust it.", path=path
        )
    found: dict[str, NDArray[Any]] = {"image": _upright(data)}
    for name, called in PICKLED.items():
        if name in held:
            found[called] = np.array([int(value) for value in held[name]], np.int64)
            if len(found[called]) != len(data):
                raise CorruptDataError(
                    f"{path} holds {len(data):,} images and {len(found[called]):,} {name}.", hint="Fetch it again.", path=path
                )
    return found


_FORBIDDEN = frozenset(
    code[0]
    for code in (
        pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.PERSID, pickle.BINPERSID,
        pickle.NEXT_BUFFER, pickle.READONLY_BUFFER, pickle.EMPTY_SET, pickle.ADDITEMS, pickle.FROZENSET,
    )
)  # fmt: skip
"""Steps that make objects of classes, look outside the file, or make what is neither list nor dict."""


class Harmless(pickle._Unpickler):
    """A reader of pickles that admits arrays, lists, dicts, numbers, text and bytes: it calls no function that a file names.

    It is the one in Python, not the one in C, which a file can make take all memory by numbering its memos from a billion on.
    Steps that data do not need are unknown to it.
    """

    dispatch: ClassVar[dict[int, Any]] = {code: step for code, step in pickle._Unpickler.dispatch.items() if code not in _FORBIDDEN}

    def load(self) -> Any:
        """What the pickle holds. Raises UnsafeSourceError for a step that it may not take."""
        try:
            return super().load()
        except KeyError as error:
            code = error.args[0] if error.args else None
            if isinstance(code, int) and code in _FORBIDDEN:
                raise UnsafeSourceError(
                    f"its pickle takes a step that data do not need ({pickletools.code2op[chr(code)].name}).",
                    hint="Only arrays, lists, dicts and bytes are read. Save the arrays as HDF5 where you trust it.",
                ) from error
            raise

    def find_class(self, module: str, name: str) -> Any:
        """What a pickle may call: our own ways to make arrays. Raises UnsafeSourceError for anything else."""
        found = _ALLOWED.get((module.replace("numpy._core", "numpy.core"), name))
        if found is None:
            raise UnsafeSourceError(
                f"its pickle asks for {module[:80]}.{name[:80]}, which could run anything.",
                hint="Only arrays, lists, dicts and bytes are read. Save the arrays as HDF5 where you trust it.",
            )
        return found

    def persistent_load(self, pid: Any) -> Any:
        """Nothing lies outside the file."""
        raise UnsafeSourceError("its pickle refers to something outside the file.", hint="Save the arrays as HDF5 where you trust it.")


class _Numbers:
    """A dtype of a pickle, as far as it is one of numbers."""

    __slots__ = ("dtype",)

    def __init__(self, text: Any) -> None:
        self.dtype = np.dtype(text if isinstance(text, str) else bytes(text).decode("ascii"))
        if self.dtype.kind not in "biuf":
            raise UnsafeSourceError("its pickle holds an array of other things than numbers.", hint="Only arrays of numbers are read.")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """An array of a pickle: NumPy's own way to take up its state would believe whatever it says."""

    __slots__ = ("values",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, numbers, fortran, data = state
        held = data.encode("latin1") if isinstance(data, str) else bytes(data)
        self.values = np.frombuffer(held, numbers.dtype).reshape(shape, order="F" if fortran else "C")


class _Call:
    """Something that a pickle may call. It has no attributes that a pickle could change."""

    __slots__ = ()


class _Reconstruct(_Call):
    __slots__ = ()

    def __call__(self, *_: Any) -> _Array:
        return _Array()


class _Dtype(_Call):
    __slots__ = ()

    def __call__(self, text: Any, *_: Any) -> _Numbers:
        return _Numbers(text)


class _Encode(_Call):
    __slots__ = ()

    def __call__(self, text: str, *_: Any) -> bytes:
        return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], object] = {
    ("numpy.core.multiarray", "_reconstruct"): _Reconstruct(),
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Dtype(),
    ("_codecs", "encode"): _Encode(),
}
