"""Files written whole, checked by SHA-256, and float16 matrices opened by memory map."""

import hashlib
import json
import math
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gtp_core.errors import StoreError

_DTYPES: dict[str, np.dtype] = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4")}
_MAX_HEADER_BYTES = 1 << 20
_CHUNK_BYTES = 8 << 20


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` that takes its place only if the block succeeds.

    A kill at any moment leaves either the old file or the new one, never a part of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, document: object) -> None:
    """Write a JSON document whole; the same document gives the same bytes."""
    with written_whole(path) as temporary:
        temporary.write_text(to_json(document), encoding="utf-8")


def to_json(document: object) -> str:
    """The one way JSON is written: two-space indent, unicode kept, newline at the end."""
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def write_rows(path: Path, *, unit: np.ndarray, norm: np.ndarray) -> str:
    """Write `unit` float16 (rows, dim) and `norm` float32 (rows,) as one safetensors file.

    The bytes are those of the safetensors library, which would first copy the rows; here they go
    to the file as they lie, and their SHA-256, which is returned, is taken on the way.
    """
    tensors: dict[str, np.ndarray] = {
        "norm": np.ascontiguousarray(norm, dtype=np.float32),
        "unit": np.ascontiguousarray(unit, dtype=np.float16),
    }
    digest = hashlib.sha256()
    with written_whole(path) as temporary, open(temporary, "wb") as handle:
        for piece in (_header_of(tensors), *map(_bytes_of, tensors.values())):
            for start in range(0, len(piece), _CHUNK_BYTES):
                chunk = piece[start : start + _CHUNK_BYTES]
                digest.update(chunk)
                handle.write(chunk)
    return digest.hexdigest()


def _header_of(tensors: dict[str, np.ndarray]) -> memoryview:
    """A safetensors header: its length, and JSON padded with spaces to a multiple of eight."""
    entries, start = {}, 0
    for name, tensor in tensors.items():
        kind = next(kind for kind, dtype in _DTYPES.items() if dtype == tensor.dtype)
        end = start + tensor.nbytes
        entries[name] = {"dtype": kind, "shape": tensor.shape, "data_offsets": [start, end]}
        start = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return memoryview(len(text).to_bytes(8, "little") + text)


def _bytes_of(tensor: np.ndarray) -> memoryview:
    return tensor.reshape(-1).view(np.uint8).data


def map_rows(path: Path, *, rows: int, dim: int) -> tuple[np.ndarray, np.ndarray]:
    """Memory-map the `unit` (rows, dim) and `norm` (rows,) tensors of a safetensors file.

    Nothing is read but the header, and nothing is copied (the safetensors library copies, or
    wants torch), so opening costs the same for a megabyte and for 20 GB.

    Raises:
        StoreError: the file is missing, is no safetensors file, or holds other shapes.
    """
    header, start = _read_header(path)
    unit = _map_tensor(path, header, start, "unit", "F16", (rows, dim))
    norm = _map_tensor(path, header, start, "norm", "F32", (rows,))
    _check_ends(path, header, start)
    return unit, norm


def _read_header(path: Path) -> tuple[dict, int]:
    try:
        with open(path, "rb") as handle:
            size = int.from_bytes(handle.read(8), "little")
            if not 2 <= size <= _MAX_HEADER_BYTES:
                raise ValueError("header size")
            header = json.loads(handle.read(size))
    except FileNotFoundError:
        raise StoreError(
            f"{path} is missing; the manifest lists it. Restore the file or rebuild the store."
        ) from None
    except (ValueError, RecursionError, OSError):
        header = None
    if not isinstance(header, dict):
        raise StoreError(
            f"{path} is not a safetensors file; the store format wants one. "
            "Restore the file or rebuild the store."
        )
    return header, 8 + size


def _check_ends(path: Path, header: dict, start: int) -> None:
    """Tensors must end where the file ends: a header one byte off would shift every number."""
    ends = [entry["data_offsets"][1] for entry in header.values() if _is_entry(entry)]
    if start + max(ends, default=0) != path.stat().st_size:
        raise StoreError(
            f"{path} holds more or fewer bytes than its own header says; they must agree. "
            "Restore the file or rebuild the store."
        )


def _map_tensor(
    path: Path, header: dict, start: int, name: str, kind: str, shape: tuple[int, ...]
) -> np.ndarray:
    entry = header.get(name)
    if entry is None or not _is_entry(entry):
        raise StoreError(
            f"{path} has no usable tensor '{name}'; every gradient file holds 'unit' and 'norm'. "
            "Rebuild the store."
        )
    found = (entry["dtype"], tuple(entry["shape"]))
    if found != (kind, shape):
        raise StoreError(
            f"{path}: tensor '{name}' is {found[0]} {found[1]}; the manifest wants {kind} {shape}. "
            "Restore the file or rebuild the store."
        )
    dtype = _DTYPES[kind]
    begin, end = entry["data_offsets"]
    wanted = math.prod(shape) * dtype.itemsize
    if end - begin != wanted or begin < 0 or start + end > path.stat().st_size:
        raise StoreError(
            f"{path}: tensor '{name}' needs {wanted:,} bytes and the file gives it "
            f"{end - begin:,}. Restore the file or rebuild the store."
        )
    if wanted == 0:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype=dtype, mode="r", offset=start + begin, shape=shape)


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    return (
        isinstance(entry.get("dtype"), str)
        and isinstance(shape, list)
        and all(isinstance(size, int) for size in shape)
        and isinstance(offsets, list)
        and len(offsets) == 2
        and all(isinstance(offset, int) for offset in offsets)
    )
