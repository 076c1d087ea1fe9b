"""A Rademacher projection that is never stored: every block is drawn again from its number."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

BLOCK = 4096


@dataclass(frozen=True)
class Projection:
    """A random matrix (input_dim, dim) of +-1/sqrt(dim), which nearly keeps inner products.

    Entry (i, j) depends on the seed, i and j only, so samples, tasks and checkpoints that were
    collected apart can be compared. The matrix exists one block of `BLOCK` rows at a time.

    Source: Johnson, Lindenstrauss (1984); Rademacher entries by Achlioptas (2003).
    """

    input_dim: int
    dim: int
    seed: int = 0

    def project(self, rows: np.ndarray) -> np.ndarray:
        """Project rows (n, input_dim) to (n, dim) float32."""
        if rows.ndim != 2 or rows.shape[1] != self.input_dim:
            raise ValueError(f"rows have shape {rows.shape}; wanted (n, {self.input_dim})")
        out = np.zeros((rows.shape[0], self.dim), np.float32)
        for start, block in self._blocks():
            out += rows[:, start : start + len(block)].astype(np.float32, copy=False) @ block
        return out * np.float32(self.dim**-0.5)

    def document(self) -> dict[str, Any]:
        """What the manifest says of the projection."""
        return {
            "type": "rademacher",
            "seed": self.seed,
            "input_dim": self.input_dim,
            "dim": self.dim,
        }

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        for start in range(0, self.input_dim, BLOCK):
            rows = min(BLOCK, self.input_dim - start)
            yield start, _signs(self.seed, start // BLOCK, rows=rows, dim=self.dim)


def _signs(seed: int, block: int, *, rows: int, dim: int) -> np.ndarray:
    """Block number `block` of the signs: (rows, dim) float32 of +-1, one random bit each."""
    width = -(-dim // 8)
    generator = np.random.Generator(np.random.Philox(key=[seed, block]))
    bits = np.frombuffer(generator.bytes(rows * width), np.uint8).reshape(rows, width)
    signs = np.unpackbits(bits, axis=1, count=dim).astype(np.float32)
    signs *= 2
    signs -= 1
    return signs
