"""Pieces of machine code that kernels are made of: vectors of bytes and floats, addresses, and calls by address."""

# pyright: basic
# llvmlite comes without types.

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

BYTE, SHORT, INT, LONG = (ir.IntType(bits) for bits in (8, 16, 32, 64))
FLOAT, HALF = ir.FloatType(), ir.HalfType()
INNER = {"nogil": True, "error_model": "numpy"}
"""Options of functions that kernels call; they are compiled into whoever calls them."""
Builder = Kind = Value = NumbaType = Any
"""What makes instructions, the type of a value and a value of the code that is made, as llvmlite has them; a type of numba's."""
Intrinsic = tuple[Any, Callable[..., Any]]
"""What numba is told of an intrinsic: its signature, and what generates its code."""
f32, i32, u8, u16, u32, u64 = np.float32, np.int32, np.uint8, np.uint16, np.uint32, np.uint64


def compiled_for(kind: object) -> Callable[[Callable[..., Any]], Any]:
    """`njit` for a function that is made anew for each kind of element, under a name of its own.

    Machine code of several kernels meets in one process, some of it out of the cache, and a symbol that is there already is not
    loaded again: of two functions of one name, made by processes that counted alike, the second would be the first.
    """

    def compile_function(function):
        function.__qualname__ += f"_{getattr(kind, '__name__', kind)}"
        return njit(**INNER)(function)

    return compile_function


def vector(kind: Kind, lanes: int) -> Kind:
    """The type of `lanes` values of a kind."""
    return ir.VectorType(kind, lanes)


def fill(kind: Kind, value: int) -> Value:
    """A vector of one number."""
    return ir.Constant(kind, [value] * kind.count)


def pick(b: Builder, x: Value, y: Value, indices: Sequence[int]) -> Value:
    """Lanes of x and y put together by number; those of y are counted on."""
    return b.shuffle_vector(x, y, ir.Constant(vector(INT, len(indices)), list(indices)))


def spread(b: Builder, value: Value, lanes: int) -> Value:
    """One value in every lane."""
    empty = ir.Constant(vector(value.type, lanes), ir.Undefined)
    return pick(b, b.insert_element(empty, value, INT(0)), empty, [0] * lanes)


def load(b: Builder, address: Value, kind: Kind, align: int = 1) -> Value:
    """A value of a kind from an address."""
    return b.load(b.inttoptr(address, kind.as_pointer()), align=align)


def store(b: Builder, value: Value, address: Value, align: int = 1) -> Value:
    """A value to an address."""
    return b.store(value, b.inttoptr(address, value.type.as_pointer()), align=align)


def literal(kind: NumbaType) -> int | None:
    """The number that the compiler knows an argument to be, or None."""
    return getattr(kind, "literal_value", None)


def accumulate(b: Builder, count: Value, written_out: int | None, total: Value, add: Callable[[Value, Value], Value]) -> Value:
    """add(turn, total) for every turn below count: written out where the count is known, else a loop of at least one turn."""
    if written_out is not None:
        for turn in range(written_out):
            total = add(LONG(turn), total)
        return total
    before, loop, after = b.block, b.append_basic_block("turn"), b.append_basic_block("after")
    b.branch(loop)
    b.position_at_end(loop)
    turn, so_far = b.phi(LONG), b.phi(total.type)
    turn.add_incoming(LONG(0), before)
    so_far.add_incoming(total, before)
    total, following = add(turn, so_far), b.add(turn, LONG(1))
    turn.add_incoming(following, loop)
    so_far.add_incoming(total, loop)
    b.cbranch(b.icmp_signed("<", following, count), loop, after)
    b.position_at_end(after)
    return total


@intrinsic
def pointer(typing_context: Any, address: NumbaType) -> Intrinsic:
    """An integer address as a pointer."""
    return types.voidptr(types.int64), lambda c, b, s, a: b.inttoptr(a[0], cgutils.voidptr_t)


@intrinsic
def fence(typing_context: Any) -> Intrinsic:
    """What was streamed past the caches is seen by others before what is written from here on."""
    return types.void(), lambda c, b, s, a: (b.fence("seq_cst"), c.get_dummy_value())[1]


@intrinsic
def fma(typing_context: Any, x: NumbaType, y: NumbaType, z: NumbaType) -> Intrinsic:
    """x * y + z, rounded once: so does PyTorch."""
    return types.float32(types.float32, types.float32, types.float32), lambda c, b, s, a: b.fma(*a)


@intrinsic
def call(typing_context: Any, kernel: NumbaType, frame: NumbaType, parameters: NumbaType) -> Intrinsic:
    """Call the kernel at an address."""

    def generate(c, b, s, a):
        kind = ir.FunctionType(ir.VoidType(), [LONG, LONG])
        b.call(b.inttoptr(a[0], kind.as_pointer()), [a[1], a[2]])
        return c.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


@intrinsic
def address(typing_context: Any, place: NumbaType) -> Intrinsic:
    """A pointer as an integer."""
    return types.int64(types.voidptr), lambda c, b, s, a: b.ptrtoint(a[0], LONG)


_take = types.ExternalFunction("malloc", types.voidptr(types.uintp))
_leave = types.ExternalFunction("free", types.void(types.voidptr))


@njit(**INNER)
def room(nbytes):
    """The address of so much memory, at a multiple of 64, which `leave` lets go of. Arrays of numba's own would need its runtime.

    Where there is none, the kernel ends, and leaves its frame UNFINISHED.
    """
    whole = address(_take(np.uintp(nbytes + 128)))
    if whole == 0:
        raise MemoryError
    at = (whole + 128) & ~63
    carray(pointer(at - 8), 1, np.int64)[0] = whole
    return at


@njit(**INNER)
def leave(at):
    """Let go of what `room` gave."""
    _leave(pointer(carray(pointer(at - 8), 1, np.int64)[0]))


copy = types.ExternalFunction("memcpy", types.voidptr(types.voidptr, types.voidptr, types.uintp))
"""copy(to, source, nbytes)"""
