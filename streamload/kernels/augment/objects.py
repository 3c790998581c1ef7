"""Machine code of kernels as object files: numba makes each once, and llvmlite alone loads it, in a tenth of the time.

Rules:

1. What an object needs of the process is looked up before it is loaded: code that lacks something would end the process.
2. Object files are made for one kind of processor, which is part of the name of the folder that they lie in.
3. A file whose digest is not its own is made anew, and so is one that another user owns or may write.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import struct
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from typing import Any

from streamload.kernels import kept_files
from streamload.storage.owned_files import Folder

NEVER_CALLED = "NRT_MemInfo_call_dtor"
"""What lets go of numba's own arrays, which code without any of them names all the same."""
_SYMBOLS, _SYMBOL_NBYTES, _SECTION_NBYTES = 2, 24, 64
"""The kind of an ELF section of symbols; sizes of its entries, and of headers of sections."""
_ENTRY = "streamload_{}"


@cache
def processor() -> str | None:
    """A few letters that stand for the processor that code is made for; None where objects are not for this system."""
    if sys.platform != "linux" or sys.byteorder != "little" or struct.calcsize("P") != 8:
        return None
    try:
        with open("/proc/cpuinfo", "rb") as file:
            said = file.read(1 << 14)
    except OSError:
        return None
    found = dict(re.findall(rb"^(model name|flags|Features|CPU part|CPU implementer)\s*:\s*(.*)$", said, re.MULTILINE)[::-1])
    asked = [os.environ.get(name) for name in ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES")]
    return hashlib.blake2b(f"{sorted(found.items())} {asked}".encode(), digest_size=6).hexdigest() if found else None


def compiled_object(name: str, function: Callable[..., None]) -> bytes | None:
    """The object file of a kernel, made by numba; None for one that numba's runtime has to be there for.

    None too where parts of numba that are not public are not what they were: such a version loads its code itself.
    """
    try:
        return _compiled_object(name, function)
    except (AttributeError, ImportError, TypeError):
        return None


def _compiled_object(name: str, function: Callable[..., None]) -> bytes | None:
    core: Any = import_module("numba.core")
    compiler, types = import_module("numba.core.compiler"), core.types
    target = import_module("numba.core.registry").cpu_target
    lock: Any = import_module("numba.core.compiler_lock").global_compiler_lock
    flags: Any = compiler.Flags()
    flags.no_cpython_wrapper, flags.no_cfunc_wrapper, flags.error_model, flags.nrt = True, True, "numpy", True
    numbers = (types.int64, types.int64)
    with lock:
        context = target.target_context
        made = compiler.compile_extra(target.typing_context, context, function, numbers, types.void, flags, {})
        library = context.codegen().create_library(f"entry_{name}")
        library.enable_object_caching()
        library.add_ir_module(_entry(library, context, made, name, numbers))
        library.add_linking_library(made.library)
        library.finalize()
        library.get_pointer_to_function(_ENTRY.format(name))
        data = bytes(library._get_compiled_object())
    return None if any(_is_of_numba(needed) for needed in needs(data)) else data


def _entry(library: Any, context: Any, made: Any, name: str, numbers: tuple[Any, ...]) -> Any:
    """A module whose function calls the compiled one, and looks at nothing that it returns: the frame says whether it came to its end."""
    ir, types = import_module("llvmlite.ir"), import_module("numba.core").types
    module, word = library.create_ir_module(f"entry_{name}"), ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [word, word]), _ENTRY.format(name))
    builder = ir.IRBuilder(function.append_basic_block())
    context.call_conv.call_function(builder, context.declare_function(module, made.fndesc), types.void, numbers, function.args)
    builder.ret_void()
    return module


def _is_of_numba(needed: str) -> bool:
    return needed != NEVER_CALLED and needed.startswith(("NRT_", "numba_", "Py"))


def needs(data: bytes) -> Iterator[str]:
    """The names that an object file leaves to the process. Raises ValueError for what is no object of 64-bit ELF."""
    if data[:5] != b"\x7fELF\x02":
        raise ValueError("no object file of 64-bit ELF")
    (first,), (size, count) = struct.unpack_from("<Q", data, 0x28), struct.unpack_from("<HH", data, 0x3A)
    if size != _SECTION_NBYTES:
        raise ValueError(f"headers of sections of {size} bytes")
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, first + number * size) for number in range(count)]
    for _, kind, _, _, begin, nbytes, link, *_ in sections:
        if kind != _SYMBOLS:
            continue
        texts = sections[link][4]
        for at in range(begin, begin + nbytes, _SYMBOL_NBYTES):
            name, _, _, where = struct.unpack_from("<IBBH", data, at)
            if name and not where:
                yield data[texts + name : data.index(b"\0", texts + name)].decode()


def write(folder: Folder, name: str, data: bytes) -> None:
    """Keep an object file. Raises OSError."""
    kept_files.write(folder, f"{name}.o", data)


def read(folder: Folder, name: str) -> bytes | None:
    """An object file that was kept; None where there is none, or what there is is damaged, or others may have written it."""
    return kept_files.read(folder, f"{name}.o")


class ObjectLoader:
    """Loads object files into this process, where their code stays."""

    def __init__(self) -> None:
        self._llvm: Any = import_module("llvmlite.binding")
        self._llvm.initialize_native_target()
        self._llvm.initialize_native_asmprinter()
        self._engines: list[Any] = []

    def load(self, name: str, data: bytes) -> int | None:
        """The address of a kernel's code; None where this process lacks something that it needs (rule 1)."""
        llvm = self._llvm
        try:
            needed = list(needs(data))
        except (ValueError, struct.error, IndexError):
            return None
        if NEVER_CALLED in needed and llvm.address_of_symbol(NEVER_CALLED) is None:
            llvm.add_symbol(NEVER_CALLED, ctypes.cast(ctypes.CDLL(None).abort, ctypes.c_void_p).value)
        if any(llvm.address_of_symbol(one) is None for one in needed):
            return None
        machine = llvm.Target.from_default_triple().create_target_machine()
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(data))
        engine.finalize_object()
        self._engines.append(engine)
        return engine.get_function_address(_ENTRY.format(name)) or None
