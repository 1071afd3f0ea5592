"""Four numbers side by side, as one vector of the processor.

Linear interpolation at one place in four arrays at once: where the four are interleaved, their neighbours are
eight numbers in a row, and nothing is gathered. The compiler of numba does not find these operations by
itself, so they are written as vectors here. `symmetry` says which four views or images share their places.

Arrays are C-contiguous float32 with a last axis of four; an index counts quadruples from the array's start,
whatever its other axes, and must be unsigned.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

LANES = 4

_NUMBER = ir.FloatType()
_VECTOR = ir.VectorType(_NUMBER, LANES)
_FAST = ("fast",)
_vector_operation: Any = intrinsic


@_vector_operation
def add_between(_typing, sums, index, values, left, weight, gain):  # type: ignore[no-untyped-def]
    """``sums[index] += gain * (values[left] + weight * (values[left + 1] - values[left]))``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, index, values, left, weight, gain = arguments
        kinds = signature.args
        target = _place(context, builder, kinds[0], sums, index)
        at_left, at_right = _neighbours(context, builder, kinds[2], values, left)
        low, high = _load(builder, at_left), _load(builder, at_right)
        step = builder.fsub(high, low, flags=_FAST)
        between = builder.fadd(low, builder.fmul(_repeated(builder, weight), step, flags=_FAST), flags=_FAST)
        change = builder.fmul(_repeated(builder, gain), between, flags=_FAST)
        builder.store(builder.fadd(_load(builder, target), change, flags=_FAST), target, align=4)
        return context.get_dummy_value()

    return types.void(sums, index, values, left, weight, gain), generate


@_vector_operation
def share_between(_typing, sums, left, weight, values, index):  # type: ignore[no-untyped-def]
    """``sums[left] += (1 - weight) * values[index]; sums[left + 1] += weight * values[index]``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums, left, weight, values, index = arguments
        kinds = signature.args
        at_left, at_right = _neighbours(context, builder, kinds[0], sums, left)
        value = _load(builder, _place(context, builder, kinds[3], values, index))
        right = builder.fmul(_repeated(builder, weight), value, flags=_FAST)
        low = builder.fadd(_load(builder, at_left), builder.fsub(value, right, flags=_FAST), flags=_FAST)
        high = builder.fadd(_load(builder, at_right), right, flags=_FAST)
        builder.store(low, at_left, align=4)
        builder.store(high, at_right, align=4)
        return context.get_dummy_value()

    return types.void(sums, left, weight, values, index), generate


def _place(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    """Address of the quadruple `index` of `array`."""
    if kind.dtype != types.float32 or kind.layout != "C":
        raise TypeError(f"lanes are C-contiguous float32, not {kind}")
    start = builder.bitcast(context.make_array(kind)(context, builder, array).data, _NUMBER.as_pointer())
    place = builder.gep(start, [builder.mul(index, index.type(LANES))])
    return builder.bitcast(place, _VECTOR.as_pointer())


def _neighbours(context: Any, builder: Any, kind: Any, array: Any, left: Any) -> tuple[Any, Any]:
    right = builder.add(left, left.type(1))
    return _place(context, builder, kind, array, left), _place(context, builder, kind, array, right)


def _load(builder: Any, place: Any) -> Any:
    return builder.load(place, align=4)


def _repeated(builder: Any, number: Any) -> Any:
    """A vector of one float32 repeated."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.IntType(32)(0))
    indices = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, indices)
