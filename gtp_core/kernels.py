"""Compiled loops: float16 rows widened and multiplied, and coordinate descent.

Apart from who asks for them, so that a page whose numbers are all known never waits for the
compiler's import.
"""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_HALF_BIAS = np.float32(2.0**112)  # a half's bits read as a float32 are 2**-112 of its value
_FAST = {"reassoc", "contract", "nsz"}


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """The float32 whose bits these are."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return nb.types.float32(nb.types.uint32), code


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def _widen_row(row: np.ndarray, wide: np.ndarray) -> None:
    for j in range(row.shape[0]):
        half = np.uint32(row[j])
        bits = (half & np.uint32(0x7FFF)) << np.uint32(13)
        wide[j] = _as_float(bits | ((half & np.uint32(0x8000)) << np.uint32(16))) * _HALF_BIAS


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def products(halves: np.ndarray, vectors: np.ndarray, out: np.ndarray) -> None:
    """out[i, r] = <halves[i], vectors[r]>; halves (rows, dim) uint16 holds float16 bits."""
    if vectors.shape[0] == 1:
        products_of_one(halves, vectors[0], out[:, 0])
        return
    wide = np.empty(halves.shape[1], np.float32)
    for i in range(halves.shape[0]):
        _widen_row(halves[i], wide)
        for r in range(vectors.shape[0]):
            total = np.float32(0)
            for j in range(wide.shape[0]):
                total += wide[j] * vectors[r, j]
            out[i, r] = total


@nb.njit(nogil=True, cache=True, fastmath=_FAST)
def products_of_one(halves: np.ndarray, vector: np.ndarray, out: np.ndarray) -> None:
    """The case of one vector, which every round asks for: nothing is written but the answer."""
    for i in range(halves.shape[0]):
        total = np.float32(0)
        for j in range(halves.shape[1]):
            half = np.uint32(halves[i, j])
            bits = (half & np.uint32(0x7FFF)) << np.uint32(13)
            # Scaled at once: a bias left for the end would take small products below float32.
            value = _as_float(bits | ((half & np.uint32(0x8000)) << np.uint32(16))) * _HALF_BIAS
            total += value * vector[j]
        out[i] = total


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
    matrix: np.ndarray, weights: np.ndarray, gradient: np.ndarray, slack: float, sweeps: int
) -> None:
    """Cyclic coordinate descent in place; ends early when no coordinate moves."""
    m = weights.shape[0]
    for _ in range(sweeps):
        moved = False
        for i in range(m):
            if weights[i] == 0.0 and gradient[i] >= -slack:
                continue
            step = max(-weights[i], -gradient[i] / matrix[i, i])
            if abs(step) * matrix[i, i] <= slack:
                continue
            moved = True
            weights[i] += step
            if weights[i] < 1e-300:
                weights[i] = 0.0
            for j in range(m):
                gradient[j] += step * matrix[i, j]
        if not moved:
            break
