"""Matrices on disk that give rows by slice and keep nothing in memory."""

import ast
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gtp_core.errors import SourceError
from gtp_core.store import RowSource

NPY = b"\x93NUMPY"
_MAX_HEADER = 64 << 20
_FLOATS = {
    **dict.fromkeys(("float16", "<f2", "F16"), "float16"),
    **dict.fromkeys(("bfloat16", "<V2", "BF16", "|V2"), "bfloat16"),
    **dict.fromkeys(("float32", "<f4", "F32"), "float32"),
    **dict.fromkeys(("float64", "<f8", "F64"), "float64"),
}
ITEM_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def float_type(text: object, path: Path) -> str:
    """float16, bfloat16, float32 or float64, from any producer's name for it."""
    if isinstance(text, str) and text in _FLOATS:
        return _FLOATS[text]
    raise SourceError(
        f"{path} holds numbers of type {text!r}; gradients are float16, bfloat16, float32 or "
        "float64. Save them as one of these."
    )


def widened(raw: np.ndarray, kind: str) -> np.ndarray:
    """Numbers as float32 or float64; bfloat16 comes as its 16 bits."""
    if kind == "bfloat16":
        return (raw.view(np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)
    return raw if kind in ("float32", "float64") else raw.astype(np.float32)


@dataclass(frozen=True)
class FileRows:
    """Rows that lie in a file one after the other, from `offset` on."""

    path: Path
    kind: str
    rows: int
    dim: int
    offset: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows, self.dim

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.rows)
        dtype = np.dtype("<u2" if self.kind == "bfloat16" else f"<f{ITEM_BYTES[self.kind]}")
        out = np.empty((max(0, stop - start), self.dim), dtype)
        with open(self.path, "rb", buffering=0) as handle:
            handle.seek(self.offset + start * self.dim * dtype.itemsize)
            view = out.reshape(-1).view(np.uint8).data
            while view.nbytes:
                count = handle.readinto(view)
                if not count:
                    raise SourceError(f"{self.path} became shorter while it was read. Try again.")
                view = view[count:]
        return widened(out, self.kind)


def raw_rows(
    path: Path, *, kind: str, rows: int, dim: int, offset: int = 0, whole: bool = True
) -> FileRows:
    """Rows without a header; the file must hold exactly that many (`whole`), or at least.

    Raises:
        SourceError: the file is missing, or longer or shorter than its numbers.
    """
    wanted = offset + rows * dim * ITEM_BYTES[kind]
    if not path.is_file():
        raise SourceError(f"{path} is missing. Build the source again.")
    found = path.stat().st_size
    if found < wanted or (whole and found != wanted):
        raise SourceError(
            f"{path} has {found:,} bytes; {rows:,} rows of {dim:,} {kind} numbers take {wanted:,}. "
            "It is cut short or of another build: build it again."
        )
    return FileRows(path, kind, rows, dim, offset)


def is_npy(path: Path) -> bool:
    """Whether a file is NumPy's, told by its first bytes and not by its name."""
    with open(path, "rb") as handle:
        return handle.read(len(NPY)) == NPY


def npy_rows(path: Path) -> FileRows:
    """The matrix of an .npy file, under any name; nothing is unpickled.

    Raises:
        SourceError: no .npy file, or not a C-ordered matrix of floats.
    """
    try:
        with open(path, "rb") as handle:
            if handle.read(6) != NPY:
                raise ValueError("no .npy file")
            wide = handle.read(2)[0] > 1
            size = int.from_bytes(handle.read(4 if wide else 2), "little")
            if size > _MAX_HEADER:
                raise ValueError("header too long")
            header = ast.literal_eval(handle.read(size).decode("latin1").strip())
            offset = handle.tell()
        shape, order = header["shape"], header["fortran_order"]
        kind = float_type(header["descr"], path)
    except FileNotFoundError:
        raise SourceError(f"{path} is missing. Build the source again.") from None
    except (ValueError, SyntaxError, KeyError, TypeError, IndexError, MemoryError, RecursionError):
        raise SourceError(f"{path} is no usable .npy file. Build it again.") from None
    if not _is_matrix(shape) or order:
        raise SourceError(
            f"{path} holds an array of shape {shape}; wanted is a C-ordered matrix, one row per "
            "sample. Save it as one."
        )
    return raw_rows(path, kind=kind, rows=shape[0], dim=shape[1], offset=offset)


def safetensors_rows(path: Path, key: str | None = None) -> FileRows:
    """The one matrix of a safetensors file, or the one called `key`."""
    try:
        with open(path, "rb") as handle:
            size = int.from_bytes(handle.read(8), "little")
            if not 2 <= size <= _MAX_HEADER:
                raise ValueError("header size")
            header = json.loads(handle.read(size))
        tensors = {
            name: entry
            for name, entry in header.items()
            if name != "__metadata__" and len(entry["shape"]) == 2 and key in (None, name)
        }
        if len(tensors) != 1:
            raise ValueError("not one matrix")
        (entry,) = tensors.values()
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        kind = float_type(entry["dtype"], path)
        if not _is_matrix(shape) or end - start != math.prod(shape) * ITEM_BYTES[kind]:
            raise ValueError("offsets")
        if not 0 <= start <= end or 8 + size + end > path.stat().st_size:
            raise ValueError("offsets")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SourceError(
            f"{path} is not a safetensors file with one matrix of floats. Save one matrix per file."
        ) from None
    return FileRows(path, kind, shape[0], shape[1], 8 + size + start)


def _is_matrix(shape: object) -> bool:
    return (
        isinstance(shape, tuple | list)
        and len(shape) == 2
        and all(type(size) is int and 0 <= size < 1 << 48 for size in shape)
    )


@dataclass(frozen=True)
class Stacked:
    """Matrices of one width, one below the other."""

    parts: tuple[RowSource, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return sum(part.shape[0] for part in self.parts), self.parts[0].shape[1]

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.shape[0])
        pieces, above = [], 0
        for matrix in self.parts:
            rows = matrix.shape[0]
            low, high = max(start - above, 0), min(stop - above, rows)
            if low < high:
                pieces.append(np.asarray(matrix[low:high]))
            above += rows
        if not pieces:
            return np.empty((0, self.shape[1]), np.float32)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def stacked(parts: Sequence[RowSource], what: str) -> RowSource:
    """Matrices one below the other.

    Raises:
        SourceError: their widths differ.
    """
    widths = {part.shape[1] for part in parts}
    if len(widths) > 1:
        raise SourceError(
            f"{what} have rows of {' and '.join(map(str, sorted(widths)))} numbers; they must be "
            "of one width. Choose one with --dim, or build them alike."
        )
    return parts[0] if len(parts) == 1 else Stacked(tuple(parts))


@dataclass(frozen=True)
class Summed:
    """Row i is the sum of the rows offsets[i] to offsets[i+1] of another matrix (per token)."""

    base: RowSource
    offsets: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.offsets) - 1, self.base.shape[1]

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.shape[0])
        out = np.zeros((max(0, stop - start), self.shape[1]), np.float64)
        step = max(1, (1 << 21) // max(self.shape[1], 1))
        for row in range(start, stop):
            for low in range(int(self.offsets[row]), int(self.offsets[row + 1]), step):
                high = min(low + step, int(self.offsets[row + 1]))
                out[row - start] += np.asarray(self.base[low:high]).sum(axis=0, dtype=np.float64)
        return out


@dataclass(frozen=True)
class Scaled:
    """Columns times their factor; columns of factor zero are left out."""

    base: RowSource
    factors: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape[0], int(np.count_nonzero(self.factors))

    def __getitem__(self, part: slice) -> np.ndarray:
        kept = self.factors != 0
        return np.asarray(self.base[part])[:, kept] * self.factors[kept]


@dataclass(frozen=True)
class Multiplied:
    """Every row times its own factor (rows,)."""

    base: RowSource
    factors: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return self.base.shape

    def __getitem__(self, part: slice) -> np.ndarray:
        return np.asarray(self.base[part]) * self.factors[part, None]
