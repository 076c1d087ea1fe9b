"""Compiled loops: float16 rows widened and multiplied, and coordinate descent.

Apart from who asks for them, so that a page whose numbers are all known never waits for the
compiler's import.
"""

from platform import machine
from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba.extending import intrinsic, overload

_HALF_BIAS = np.float32(2.0**112)  # a half's bits read as a float32 are 2**-112 of its value
_ROWS_IN_CACHE = 32  # of 8,192 numbers are 0.5 MB
_FAST = {"reassoc", "contract", "nsz"}


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """The float32 whose bits these are."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return nb.types.float32(nb.types.uint32), code


@intrinsic
def _by_instruction(typing_context: Any, bits: Any) -> Any:
    """The float32 of a half's bits (uint16), sixteen at once where vectors are that long."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return nb.types.float32(nb.types.uint16), code


@nb.njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _by_bits(half: np.uint16) -> np.float32:
    """The same for any processor, of finite halves; two thirds as fast."""
    wide = np.uint32(half)
    bits = (wide & np.uint32(0x7FFF)) << np.uint32(13)
    # Scaled at once: a bias left for the end would take small products below float32.
    return _as_float(bits | ((wide & np.uint32(0x8000)) << np.uint32(16))) * _HALF_BIAS


def _has_instruction() -> bool:
    """Whether the processor widens halves; without one LLVM calls a function that is not there."""
    return get_host_cpu_features().get("f16c", False) or machine() in {"arm64", "aarch64"}


_widened = _by_instruction if _has_instruction() else _by_bits


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _widen_row(row: np.ndarray, wide: np.ndarray) -> None:
    for j in range(row.shape[0]):
        wide[j] = _widened(row[j])


def _load_row(row: np.ndarray, wide: np.ndarray) -> None:
    """A row as float32, whether it is kept as float16 bits or as float32."""


@overload(_load_row, inline="always")
def _load_row_of(row: Any, wide: Any) -> Any:
    if row.dtype == nb.types.uint16:

        def widen(row: Any, wide: Any) -> Any:
            _widen_row(row, wide)

        return widen

    def copy(row: Any, wide: Any) -> Any:
        for j in range(row.shape[0]):
            wide[j] = row[j]

    return copy


def _number(stored: Any) -> Any:
    """A number of a row as float32, whether it is kept as float16 bits or as float32."""


@overload(_number, inline="always")
def _number_of(stored: Any) -> Any:
    if stored == nb.types.uint16:

        def widen(stored: Any) -> Any:
            return _widened(stored)

        return widen

    def same(stored: Any) -> Any:
        return stored

    return same


@nb.njit(nogil=True, cache=True, fastmath=_FAST, inline="always")
def _four_products(
    rows: np.ndarray, places: tuple[int, int, int, int], vector: np.ndarray
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """<row, vector> of the rows at four places.

    Each is summed in the order in which it would be alone. Four share every number read of the
    vector, and memory is asked for four rows at once: two to three times as fast as one by one.
    """
    first, second, third, fourth = places
    a, b, c, d = rows[first], rows[second], rows[third], rows[fourth]
    at_a = at_b = at_c = at_d = np.float32(0)
    for j in range(vector.shape[0]):
        value = vector[j]
        at_a += _number(a[j]) * value
        at_b += _number(b[j]) * value
        at_c += _number(c[j]) * value
        at_d += _number(d[j]) * value
    return at_a, at_b, at_c, at_d


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def products_of_one(halves: np.ndarray, vector: np.ndarray, out: np.ndarray) -> None:
    """out[i] = <halves[i], vector>: nothing is written but the answer."""
    last = halves.shape[0] - 1
    for i in range(0, last + 1, 4):
        second, third, fourth = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        four = _four_products(halves, (i, second, third, fourth), vector)
        out[i], out[second], out[third], out[fourth] = four


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def products(halves: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> None:
    """out[i, r] = <halves[i], vectors[r]>; halves (rows, dim) uint16 holds float16 bits.

    Row after row in blocks that stay in the cache, so that six vectors cost one read of memory;
    every product is summed as if it were the only one.
    """
    for begin in range(0, halves.shape[0], _ROWS_IN_CACHE):
        end = min(begin + _ROWS_IN_CACHE, halves.shape[0])
        for r in range(vectors.shape[0]):
            products_of_one(halves[begin:end], vectors[r], out[begin:end, r])


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def add_rows(halves: np.ndarray, factor: np.ndarray, out: np.ndarray) -> None:
    """out += sum_i factor[i] * halves[i], rows in order."""
    wide = np.empty(halves.shape[1], np.float32)
    for i in range(halves.shape[0]):
        if factor[i] != 0:
            _widen_row(halves[i], wide)
            for j in range(wide.shape[0]):
                out[j] += factor[i] * wide[j]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def descend(
    gram: np.ndarray,
    penalty: float,
    weights: np.ndarray,
    gradient: np.ndarray,
    slack: float,
    sweeps: int,
) -> None:
    """Cyclic coordinate descent in place; ends early when no coordinate moves.

    Minimises 1/2 w (gram + penalty) w - w p over w >= 0; `gradient` is up to date; `gram` is
    float64, or float32 where many atoms share it.
    """
    m = weights.shape[0]
    for _ in range(sweeps):
        moved = False
        for i in range(m):
            curve = gram[i, i] + penalty
            if (weights[i] == 0.0 and gradient[i] >= -slack) or curve <= 0.0:
                continue
            step = max(-weights[i], -gradient[i] / curve)
            if abs(step) * curve <= slack:
                continue
            moved = True
            weights[i] += step
            if weights[i] < 1e-300:
                weights[i] = 0.0
            for j in range(m):
                gradient[j] += step * gram[i, j]
            gradient[i] += step * penalty
        if not moved:
            break


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def row_products(rows: np.ndarray, places: np.ndarray, vector: np.ndarray, out: np.ndarray) -> None:
    """out[i] = <rows[places[i]], vector>; rows float16 bits or float32."""
    last = places.shape[0] - 1
    for i in range(0, last + 1, 4):
        second, third, fourth = min(i + 1, last), min(i + 2, last), min(i + 3, last)
        where = (places[i], places[second], places[third], places[fourth])
        out[i], out[second], out[third], out[fourth] = _four_products(rows, where, vector)


@nb.njit(nogil=True, cache=True)
def copy_rows(source: np.ndarray, places: np.ndarray, out: np.ndarray, where: np.ndarray) -> None:
    """out[where[i]] = source[places[i]]; NumPy would hold up all other threads for it."""
    for i in range(places.shape[0]):
        out[where[i]] = source[places[i]]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def row_lengths(
    rows: np.ndarray, direction: np.ndarray, along: np.ndarray, squares: np.ndarray
) -> None:
    """Of every row and checkpoint: how much lies along a direction, and the squared length.

    Args:
        rows: (m, n_checkpoints * width) float16 bits or float32.
        direction: (n_checkpoints, width) float32.
        along, squares: (m, n_checkpoints).
    """
    n_checkpoints, width = direction.shape
    wide = np.empty(rows.shape[1], np.float32)
    for i in range(rows.shape[0]):
        _load_row(rows[i], wide)
        for t in range(n_checkpoints):
            lean = square = np.float32(0)
            for j in range(width):
                value = wide[t * width + j]
                lean += value * direction[t, j]
                square += value * value
            along[i, t] = lean
            squares[i, t] = square


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def wide_rows(
    rows: np.ndarray,
    scale: np.ndarray,
    along: np.ndarray,
    direction: np.ndarray,
    out: np.ndarray,
) -> None:
    """out[i, t] = scale[t] * (rows[i, t] - along[i, t] * direction[t]), all of float32.

    Args:
        rows: (m, n_checkpoints * width) float16 bits or float32.
        scale: (n_checkpoints,); along: (m, n_checkpoints); direction: (n_checkpoints, width).
        out: (m, n_checkpoints * width).
    """
    n_checkpoints, width = direction.shape
    for i in range(rows.shape[0]):
        _load_row(rows[i], out[i])
        for t in range(n_checkpoints):
            for j in range(width):
                place = t * width + j
                out[i, place] = scale[t] * (out[i, place] - along[i, t] * direction[t, j])


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def folded_rows(
    rows: np.ndarray,
    scale: np.ndarray,
    along: np.ndarray,
    direction: np.ndarray,
    signs: np.ndarray,
    out: np.ndarray,
) -> None:
    """The wide rows times signs (dim,), cut into pieces as long as those of `out` and summed.

    Args:
        rows, scale, along, direction: as in `wide_rows`.
        out: (m, length) float32; the last piece may be shorter.
    """
    length, dim = out.shape[1], rows.shape[1]
    wide = np.empty((1, dim), np.float32)
    for i in range(rows.shape[0]):
        wide_rows(rows[i : i + 1], scale, along[i : i + 1], direction, wide)
        for j in range(length):
            out[i, j] = signs[j] * wide[0, j]
        for begin in range(length, dim, length):
            for j in range(min(length, dim - begin)):
                out[i, j] += signs[begin + j] * wide[0, begin + j]


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def add_rows_wide(
    rows: np.ndarray, places: np.ndarray, factor: np.ndarray, out: np.ndarray
) -> None:
    """out += sum_i factor[i] * rows[places[i]] in float64, four rows of places at a time.

    Rows of factor 0 are read, so leave them out; rows float16 bits or float32.
    """
    whole = places.shape[0] // 4 * 4
    for i in range(0, whole, 4):
        a, b = rows[places[i]], rows[places[i + 1]]
        c, d = rows[places[i + 2]], rows[places[i + 3]]
        by_a, by_b, by_c, by_d = factor[i], factor[i + 1], factor[i + 2], factor[i + 3]
        for j in range(out.shape[0]):
            two = by_a * _number(a[j]) + by_b * _number(b[j])
            out[j] += two + (by_c * _number(c[j]) + by_d * _number(d[j]))
    for i in range(whole, places.shape[0]):
        row, by = rows[places[i]], factor[i]
        for j in range(out.shape[0]):
            out[j] += by * _number(row[j])


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def descend_rows(
    rows: np.ndarray,
    places: np.ndarray,
    scale: np.ndarray,
    along: np.ndarray,
    length: np.ndarray,
    weights: np.ndarray,
    residual: np.ndarray,
    penalty: float,
    slack: float,
    sweeps: int,
) -> None:
    """Coordinate descent on the residual itself, in place; ends early when nothing moves.

    Atom i is, per checkpoint t, scale[t] * (rows[i, t] - along[i, t] * m[t]); the residual comes
    free of every m[t], and what the rows put into it along m[t] is kept in `lean`.

    Args:
        rows: (m, n_checkpoints * width) float16 bits or float32.
        places: (k,) which of them; scale: (n_checkpoints,); along: (m, n_checkpoints).
        length: (m,) squared lengths of the atoms; weights: (k,) float64.
        residual: (n_checkpoints, width) float32.
        penalty: ridge; slack: gradients below it do not count.
    """
    n_checkpoints, width = residual.shape
    wide = np.empty(rows.shape[1], np.float32)
    lean = np.zeros(n_checkpoints, np.float64)
    for _ in range(sweeps):
        moved = False
        for position in range(places.shape[0]):
            i = places[position]
            _load_row(rows[i], wide)
            proxy = 0.0
            for t in range(n_checkpoints):
                total = np.float32(0)
                for j in range(width):
                    total += wide[t * width + j] * residual[t, j]
                proxy += scale[t] * (total - lean[t] * along[i, t])
            gradient = penalty * weights[position] - proxy
            if weights[position] == 0.0 and gradient >= -slack:
                continue
            curve = length[i] + penalty
            if curve <= 0.0:
                continue
            step = max(-weights[position], -gradient / curve)
            if abs(step) * curve <= slack:
                continue
            moved = True
            weights[position] += step
            if weights[position] < 1e-300:
                weights[position] = 0.0
            for t in range(n_checkpoints):
                part = np.float32(step * scale[t])
                lean[t] -= step * scale[t] * along[i, t]
                for j in range(width):
                    residual[t, j] -= part * wide[t * width + j]
        if not moved:
            break
