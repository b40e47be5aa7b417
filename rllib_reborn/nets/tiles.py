"""The innermost loops of :mod:`rllib_reborn.nets.kernels`, as instructions of LLVM that keep sums in registers, where numba
would keep them in memory.

Importing this module needs numba.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding  # type: ignore[import-untyped]
from llvmlite import ir
from numba.core import cgutils, types  # type: ignore[import-untyped]
from numba.extending import intrinsic  # type: ignore[import-untyped]

#: Columns of a tile: a register of 512 bits, or two of 256.
COLUMNS = 16
#: Rows of a tile. A register holds the sums of each row, or two: as many as a CPU needs to keep its multipliers busy.
ROWS = 8 if llvmlite.binding.get_host_cpu_features().get("avx512f", False) else 4

_VECTOR = ir.VectorType(ir.FloatType(), COLUMNS)


def _same_bits(of: Any, as_type: Any, llvm_type: Any) -> Any:
    """A compiled function from a number to the number of another type that has the same bits."""

    @intrinsic  # type: ignore[untyped-decorator]
    def same_bits(typing: Any, number: Any) -> Any:
        return as_type(of), lambda context, builder, sig, args: builder.bitcast(args[0], llvm_type)

    return same_bits


as_float = _same_bits(types.int32, types.float32, ir.FloatType())
as_int = _same_bits(types.float32, types.int32, ir.IntType(32))


def _data(context: Any, builder: Any, sig: Any, args: Any, number: int) -> Any:
    """Where the numbers of an argument, an array, are."""
    return context.make_array(sig.args[number])(context, builder, args[number]).data


def _fma(builder: Any) -> Any:
    """x * y + z of vectors."""
    return cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{COLUMNS}f32"
    )


def _load(builder: Any, base: Any, at: Any) -> Any:
    return builder.load(_place(builder, base, at), align=4)


def _place(builder: Any, base: Any, at: Any) -> Any:
    return builder.bitcast(builder.gep(base, [at]), _VECTOR.as_pointer())


def _make_tile(rows: int) -> Any:
    """``tile(out, out_at, out_row, x, x_at, x_row, x_column, w, w_at, w_row, depth)`` adds to a tile of ``out``::

        out[r, c] += sum over k of x[r, k] * w[k, c]        r < rows, c < COLUMNS, k < depth

    ``.._at`` is the number of the tile's first element in an array, ``.._row`` and ``x_column`` the numbers from one row or
    column to the next. Nothing is checked.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def tile(
        typing: Any,
        out: Any,
        out_at: Any,
        out_row: Any,
        x: Any,
        x_at: Any,
        x_row: Any,
        x_column: Any,
        w: Any,
        w_at: Any,
        w_row: Any,
        depth: Any,
    ) -> Any:
        n = types.intp
        return types.void(out, n, n, x, n, n, n, w, n, n, n), _write_tile

    def _write_tile(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, out_at, out_row, _, x_at, x_row, x_column, _, w_at, w_row, depth = args
        out, x, w = (_data(context, builder, sig, args, number) for number in (0, 3, 7))
        fma = _fma(builder)
        nothing = ir.Constant(_VECTOR, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [0] * COLUMNS)

        def row_of(at: Any, stride: Any, row: int) -> Any:
            return builder.add(at, builder.mul(stride, ir.Constant(stride.type, row)))

        sums = [cgutils.alloca_once(builder, _VECTOR) for _ in range(rows)]
        for row, total in enumerate(sums):
            builder.store(_load(builder, out, row_of(out_at, out_row, row)), total)
        with cgutils.for_range(builder, depth) as loop:
            of_w = _load(builder, w, builder.add(w_at, builder.mul(loop.index, w_row)))
            x_k = builder.add(x_at, builder.mul(loop.index, x_column))
            for row, total in enumerate(sums):
                number = builder.load(builder.gep(x, [row_of(x_k, x_row, row)]))
                first = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
                of_x = builder.shuffle_vector(first, nothing, everywhere)
                builder.store(builder.call(fma, [of_x, of_w, builder.load(total)]), total)
        for row, total in enumerate(sums):
            builder.store(builder.load(total), _place(builder, out, row_of(out_at, out_row, row)), align=4)
        return context.get_dummy_value()

    return tile


tile = _make_tile(ROWS)
# For the rows that are left. One row alone waits for its sum at every step; four keep a CPU busy.
four_rows, two_rows, one_row = _make_tile(4), _make_tile(2), _make_tile(1)


def _make_dot(of_absolutes: bool) -> Any:
    """``dot(x, x_at, w, w_at, columns)``: ``columns`` numbers of ``x`` times those of ``w``, or times their absolutes, and
    summed; ``columns`` is a multiple of COLUMNS, ``.._at`` the first number's place in an array. Nothing is checked."""

    @intrinsic  # type: ignore[untyped-decorator]
    def dot(typing: Any, x: Any, x_at: Any, w: Any, w_at: Any, columns: Any) -> Any:
        n = types.intp
        return types.float32(x, n, w, n, n), _write_dot

    def _write_dot(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        _, x_at, _, w_at, columns = args
        x, w = (_data(context, builder, sig, args, number) for number in (0, 2))
        fma = _fma(builder)
        absolute = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.fabs.v{COLUMNS}f32"
        )
        sums = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * COLUMNS))
        with cgutils.for_range_slice(
            builder, ir.Constant(columns.type, 0), columns, ir.Constant(columns.type, COLUMNS), columns.type
        ) as (at, _):
            of_w = _load(builder, w, builder.add(w_at, at))
            if of_absolutes:
                of_w = builder.call(absolute, [of_w])
            of_x = _load(builder, x, builder.add(x_at, at))
            builder.store(builder.call(fma, [of_x, of_w, builder.load(sums)]), sums)
        total = builder.load(sums)
        half = COLUMNS // 2
        while half:  # one half upon the other, always in the same order
            places = ir.Constant(ir.VectorType(ir.IntType(32), COLUMNS), [(k + half) % COLUMNS for k in range(COLUMNS)])
            total = builder.fadd(total, builder.shuffle_vector(total, total, places))
            half //= 2
        return builder.extract_element(total, ir.Constant(ir.IntType(32), 0))

    return dot


dot, dot_absolutes = _make_dot(of_absolutes=False), _make_dot(of_absolutes=True)
