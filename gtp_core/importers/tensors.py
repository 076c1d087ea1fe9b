"""Torch files, opened as data only: a pickle that would run something is refused and runs nothing.

Torch is imported where a file is opened, so that the other formats do without it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gtp_core.errors import SourceError
from gtp_core.importers.matrices import ITEM_BYTES, float_type, widened

_MOST_IN_MEMORY = 256 << 20  # bytes of an old torch file, which cannot be mapped
_AHEAD_BYTES = 32 << 20


@dataclass(frozen=True)
class TorchRows:
    """The one matrix in a torch file, mapped anew for every slice so that no page stays."""

    path: Path
    kind: str
    rows: int
    dim: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows, self.dim

    def __getitem__(self, part: slice) -> np.ndarray:
        import torch

        self._ask_ahead(part.indices(self.rows)[0])
        tensor = load_tensor(self.path)
        if tuple(tensor.shape) != self.shape:
            raise SourceError(f"{self.path} changed while it was read. Try again.")
        piece = tensor[part].contiguous()
        raw = piece.view(torch.int16).numpy() if self.kind == "bfloat16" else piece.numpy()
        return np.array(widened(raw, self.kind))  # a copy: the map goes with the tensor

    def _ask_ahead(self, row: int) -> None:
        """Have the disk read what comes next: pages of a map are fetched one by one otherwise.

        Only a hint, so it need not know where exactly in the file the rows lie: near its end.
        """
        width = self.dim * ITEM_BYTES[self.kind]
        with open(self.path, "rb") as handle:
            size = os.fstat(handle.fileno()).st_size
            start = max(0, size - self.rows * width) + row * width
            os.posix_fadvise(handle.fileno(), start, _AHEAD_BYTES, os.POSIX_FADV_WILLNEED)


def torch_rows(path: Path) -> TorchRows:
    """The matrix of floats in a torch file; its rows are not read yet.

    Raises:
        SourceError: missing, unsafe, damaged, or no matrix of floats.
    """
    tensor = load_tensor(path)
    kind = float_type(str(tensor.dtype).removeprefix("torch."), path)
    if tensor.ndim != 2 or tensor.layout is not _strided() or tensor.is_meta:
        raise SourceError(
            f"{path} holds a tensor of shape {tuple(tensor.shape)}; wanted is one dense matrix, "
            "a row per sample. Save one matrix per file."
        )
    return TorchRows(path, kind, tensor.shape[0], tensor.shape[1])


def _strided() -> Any:
    import torch

    return torch.strided


def load_tensor(path: Path) -> Any:
    """The tensor in a torch file, memory-mapped, with `weights_only=True` and nothing else."""
    import torch

    if not path.is_file():
        raise SourceError(f"{path} is missing. Build the source again.")
    try:
        found = _load(path)
    except Exception as error:  # torch raises a dozen kinds at damaged and at hostile files
        raise SourceError(
            f"{path} cannot be opened as plain tensors ({type(error).__name__}); it is damaged, "
            "or it would run code. Nothing of it was run: build it again."
        ) from None
    if not isinstance(found, torch.Tensor):
        raise SourceError(
            f"{path} holds {type(found).__name__}; wanted is one tensor. Save one matrix per file."
        )
    return found.detach()


def _load(path: Path) -> Any:
    import torch

    with open(path, "rb") as handle:
        is_zip = handle.read(2) == b"PK"
    if not is_zip and path.stat().st_size > _MOST_IN_MEMORY:
        raise ValueError("old format")
    return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
