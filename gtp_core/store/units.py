"""Raw gradients as float16 unit rows and their norms, at the speed of the disk."""

from typing import Any, Protocol

import numpy as np

_COMPILED_FROM = 1 << 20  # numbers from which compiled code is worth loading the compiler
_BLOCK_NUMBERS = 1 << 21


class RowSource(Protocol):
    """Rows by slice: an array, or a file that reads only what it is asked for.

    Slices give (rows, dim) of any float type.
    """

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


def unit_rows(gradients: RowSource) -> tuple[np.ndarray, np.ndarray]:
    """Split raw gradients (rows, dim) into unit rows (float16) and Euclidean norms (float32).

    A row with a zero, NaN or infinite norm is invalid: its unit row is zero and its norm says why.
    Works block by block, so a source that is read from disk needs no room for all its rows.
    """
    rows, dim = gradients.shape
    unit = np.empty((rows, dim), np.float16)
    norm = np.empty(rows, np.float32)
    step = max(1, _BLOCK_NUMBERS // max(dim, 1))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        # What overflows or is no number is told by its norm, not by a warning.
        with np.errstate(invalid="ignore", over="ignore"):
            raw = np.asarray(gradients[part])
            _fill(raw, unit[part], norm[part], compiled=rows * dim >= _COMPILED_FROM)
    return unit, norm


def _fill(raw: np.ndarray, unit: np.ndarray, norm: np.ndarray, *, compiled: bool) -> None:
    if compiled and raw.dtype in (np.float32, np.float64):
        # Here, not above: numba takes a second to import, and small stores do without it.
        from gtp_core.store.narrow import narrow

        narrow(np.ascontiguousarray(raw), unit.view(np.uint16), norm)
        return
    unit[:], norm[:] = _plain_unit_rows(raw)


def _plain_unit_rows(gradients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition, in float64; `narrow` gives the same bytes."""
    raw = np.asarray(gradients, dtype=np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", raw, raw))
    norm = length.astype(np.float32)
    valid = np.isfinite(norm) & (norm > 0)
    scale = np.where(valid, length, 1.0)[:, None]
    unit = np.where(valid[:, None], raw / scale, 0.0).astype(np.float16)
    return unit, norm
