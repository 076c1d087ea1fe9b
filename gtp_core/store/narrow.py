"""A compiled loop: float32 or float64 rows made float16 unit rows, bit for bit as NumPy would."""

from typing import Any

import numba as nb
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

_SMALLEST_NORMAL = np.uint32(113 << 23)  # bits of 2**-14 as float32: below, float16 is subnormal
_ALIGN = np.uint32(126 << 23)  # bits of 0.5: adding it shifts a subnormal's digits into place
_REBIAS = np.uint32(112 << 23)


@intrinsic
def _as_float(typing_context: Any, bits: Any) -> Any:
    """The float32 whose bits these are."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return nb.types.float32(nb.types.uint32), code


@intrinsic
def _bits_of(typing_context: Any, value: Any) -> Any:
    """The bits of a float32."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return nb.types.uint32(nb.types.float32), code


@nb.njit(nogil=True, cache=True)
def _length(row: np.ndarray) -> float:
    """Euclidean length in float64; eight sums side by side, so that vectors are used."""
    a = b = c = d = e = f = g = h = 0.0
    whole = row.shape[0] - row.shape[0] % 8
    for j in range(0, whole, 8):
        a += np.float64(row[j]) * np.float64(row[j])
        b += np.float64(row[j + 1]) * np.float64(row[j + 1])
        c += np.float64(row[j + 2]) * np.float64(row[j + 2])
        d += np.float64(row[j + 3]) * np.float64(row[j + 3])
        e += np.float64(row[j + 4]) * np.float64(row[j + 4])
        f += np.float64(row[j + 5]) * np.float64(row[j + 5])
        g += np.float64(row[j + 6]) * np.float64(row[j + 6])
        h += np.float64(row[j + 7]) * np.float64(row[j + 7])
    for j in range(whole, row.shape[0]):
        a += np.float64(row[j]) * np.float64(row[j])
    return np.sqrt((a + b) + (c + d) + (e + f) + (g + h))


@nb.njit(nogil=True, cache=True)
def narrow(raw: np.ndarray, halves: np.ndarray, norm: np.ndarray) -> None:
    """raw (rows, dim) -> float16 bits of raw / length in halves (rows, dim), lengths in norm.

    The quotient goes to float32 rounded to odd (an inexact even number becomes its odd neighbour
    towards the exact value), after which the rounding to float16 is that of a single rounding.
    """
    for i in range(raw.shape[0]):
        length = _length(raw[i])
        norm[i] = length
        if not np.isfinite(norm[i]) or norm[i] <= 0.0:
            halves[i] = 0
            continue
        for j in range(raw.shape[1]):
            exact = np.float64(raw[i, j]) / length
            single = np.float32(exact)
            bits = _bits_of(single)
            sign = bits & np.uint32(0x80000000)
            bits ^= sign
            back = np.float64(single)
            even = (bits & np.uint32(1)) == np.uint32(0)
            if even and back != exact:
                bits = bits - np.uint32(1) if abs(back) > abs(exact) else bits + np.uint32(1)
            odd = np.uint32((bits >> np.uint32(13)) & np.uint32(1))
            normal = (bits - _REBIAS + np.uint32(0xFFF) + odd) >> np.uint32(13)
            tiny = _bits_of(_as_float(bits) + _as_float(_ALIGN)) - _ALIGN
            half = normal if bits >= _SMALLEST_NORMAL else tiny
            halves[i, j] = np.uint16(half | (sign >> np.uint32(16)))
