"""Random projections that are never stored: every block is drawn again from its number."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch

from gtp_core.collect.philox import random_bytes, random_words
from gtp_core.errors import CollectError

BLOCK = 4096
_KEPT_BYTES = 1 << 30
_SJLT_STREAM = 1 << 62  # far from the block numbers that are Rademacher's streams


class Projection(ABC):
    """A linear map of gradients (input_dim,) to rows (dim,) that nearly keeps inner products.

    Its matrix depends on type, seed, input_dim and dim only: samples, tasks and checkpoints that
    were collected apart, in any chunks and on any device, can be compared.

    Source: Johnson, Lindenstrauss (1984), Extensions of Lipschitz mappings into a Hilbert space.
    """

    type: ClassVar[str]

    def __init__(self, input_dim: int, dim: int, seed: int = 0) -> None:
        self.input_dim = input_dim
        self.dim = dim
        self.seed = seed

    @abstractmethod
    def add(self, rows: torch.Tensor, *, start: int, out: torch.Tensor) -> None:
        """Add to `out` (n, dim) what columns `start` onwards, `rows` (n, width), contribute."""

    def project(self, rows: torch.Tensor | np.ndarray) -> torch.Tensor:
        """Project rows (n, input_dim) to (n, dim) float32."""
        rows = torch.as_tensor(rows)
        if rows.ndim != 2 or rows.shape[1] != self.input_dim:
            raise ValueError(f"rows have shape {tuple(rows.shape)}; wanted (n, {self.input_dim})")
        out = torch.zeros((rows.shape[0], self.dim), device=rows.device)
        self.add(rows.float(), start=0, out=out)
        return out

    def document(self) -> dict[str, Any]:
        """What the manifest says of the projection."""
        return {
            "type": self.type,
            "seed": self.seed,
            "input_dim": self.input_dim,
            "dim": self.dim,
        }


class Rademacher(Projection):
    """Every entry is +1 or -1 over sqrt(dim): one random bit each, drawn in blocks of rows.

    Work is input_dim * dim multiplications a row.

    Source: Achlioptas (2003), Database-friendly random projections.
    """

    type = "rademacher"

    def __init__(self, input_dim: int, dim: int, seed: int = 0) -> None:
        super().__init__(input_dim, dim, seed)
        self._kept: dict[int, torch.Tensor] = {}

    def add(self, rows: torch.Tensor, *, start: int, out: torch.Tensor) -> None:
        """Add what columns `start` onwards contribute, block by block."""
        stop = start + rows.shape[1]
        for block in range(start // BLOCK, -(-stop // BLOCK)):
            first, last = max(start, block * BLOCK), min(stop, (block + 1) * BLOCK)
            signs = self._signs(block, rows.device)[first - block * BLOCK : last - block * BLOCK]
            # The factor goes to the smaller of the two matrices.
            out.addmm_(rows[:, first - start : last - start], signs, alpha=self.dim**-0.5)

    def _signs(self, block: int, device: torch.device) -> torch.Tensor:
        """Block number `block` of the signs: (BLOCK or what is left, dim) float32 of +-1.

        Kept from call to call only where all of them fit in 1 GB.
        """
        if block in self._kept:
            return self._kept[block]
        rows, width = min(BLOCK, self.input_dim - block * BLOCK), -(-self.dim // 8)
        packed = random_bytes(self.seed, block, rows * width, device=device).view(rows, width, 1)
        shifts = torch.arange(7, -1, -1, dtype=torch.uint8, device=device)
        bits = ((packed >> shifts) & 1).view(rows, width * 8)[:, : self.dim]
        signs = bits.float().mul_(2).sub_(1)
        if 4 * self.input_dim * self.dim <= _KEPT_BYTES:
            self._kept[block] = signs
        return signs


class Sjlt(Projection):
    """Every column has one entry, +1 or -1: linear in the number of parameters.

    Columns are taken `dim` at a time, and each such block goes to the `dim` places by a random
    permutation, so that no two of its columns collide. Two or four entries a column were tried:
    no smaller error, and so many times the work (benchmarks/LOG.md).

    Source: Kane, Nelson (2014), Sparser Johnson-Lindenstrauss transforms; Weinberger et al.
    (2009), Feature hashing, for the case of one entry.
    """

    type = "sjlt"

    def __init__(self, input_dim: int, dim: int, seed: int = 0) -> None:
        super().__init__(input_dim, dim, seed)
        self._kept: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def add(self, rows: torch.Tensor, *, start: int, out: torch.Tensor) -> None:
        """Add what columns `start` onwards contribute: a gather, so every device sums alike."""
        stop = start + rows.shape[1]
        first = start // self.dim
        blocks = -(-stop // self.dim) - first
        margins = (start - first * self.dim, (first + blocks) * self.dim - stop)
        whole = torch.nn.functional.pad(rows, margins)
        source, signs = self._drawn(first, blocks, rows.device)
        placed = whole.index_select(1, source).mul_(signs)
        out += placed.view(len(rows), blocks, self.dim).sum(dim=1)

    def _drawn(
        self, first: int, blocks: int, device: torch.device
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """For every place of every block, the column that lands there, and its sign.

        Kept from call to call only where they are few: five bytes a parameter, 1 GB at most.
        """
        key = (first, blocks)
        if key in self._kept:
            return self._kept[key]
        words = random_words(
            self.seed, _SJLT_STREAM, blocks * self.dim, start=first * self.dim, device=device
        ).view(blocks, self.dim)
        # The lowest bit is the sign; the rest, sorted, is the permutation.
        order = torch.sort(words >> 1, dim=1, stable=True).indices
        order += torch.arange(blocks, device=device)[:, None] * self.dim
        drawn = order.flatten().int(), ((words & 1) * 2 - 1).to(torch.int8).flatten()
        if 5 * self.input_dim <= _KEPT_BYTES:
            self._kept[key] = drawn
        return drawn


class Unprojected(Projection):
    """Rows as they are: for adapters so small that nothing is gained by projecting."""

    type = "none"

    def add(self, rows: torch.Tensor, *, start: int, out: torch.Tensor) -> None:
        """Add the columns where they belong."""
        out[:, start : start + rows.shape[1]] += rows


PROJECTIONS: dict[str, type[Projection]] = {
    kind.type: kind for kind in (Rademacher, Sjlt, Unprojected)
}


def make_projection(kind: str, *, input_dim: int, dim: int, seed: int = 0) -> Projection:
    """The projection of that name; `auto` is `none` where it is no larger, and else `sjlt`.

    Raises:
        CollectError: an unknown name, or a dimension that fits no projection.
    """
    if kind == "auto":
        kind = "none" if input_dim <= dim else "sjlt"
    if kind not in PROJECTIONS:
        raise CollectError(
            f"projection {kind!r} is unknown; it can be auto, {', '.join(PROJECTIONS)}."
        )
    if dim < 1:
        raise CollectError(f"dim is {dim}; a gradient row needs at least 1 number. Raise it.")
    return PROJECTIONS[kind](input_dim, input_dim if kind == "none" else dim, seed)
