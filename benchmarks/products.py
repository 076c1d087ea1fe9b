"""Products of float16 atoms with one vector: our fused loop against NumPy's and torch's casts.

    python -m benchmarks.products [rows] [dim]

Both columns run on one thread over the same array in memory; the answers are asserted equal to
float64's before the clock is read. Quote the ratio: absolute speed depends on the machine.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import torch

from gtp_core import kernels


def numpy_cast(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Cast 256 rows at a time to float32 and multiply."""
    pieces = [rows[i : i + 256].astype(np.float32) @ vector for i in range(0, len(rows), 256)]
    return np.concatenate(pieces)


def torch_cast(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Copy 64 rows at a time into a float32 buffer and multiply."""
    source, wide = torch.from_numpy(rows), torch.from_numpy(vector)
    buffer = torch.empty(64, rows.shape[1])
    pieces = []
    for i in range(0, len(rows), 64):
        block = source[i : i + 64]
        pieces.append(torch.mv(buffer[: len(block)].copy_(block), wide))
    return torch.cat(pieces).numpy()


def fused(rows: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """The project's own loop, on one thread."""
    out = np.empty((len(rows), 1), np.float32)
    kernels.products(rows.view(np.uint16), vector[None], out)
    return out[:, 0]


def seconds(work: Callable[[], np.ndarray], repeats: int = 5) -> float:
    """The fastest of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print GB/s of stored bytes, and the ratio to the fused loop."""
    parser = argparse.ArgumentParser(description="Products of float16 atoms with one vector.")
    parser.add_argument("rows", type=int, nargs="?", default=20_000)
    parser.add_argument("dim", type=int, nargs="?", default=4096)
    asked = parser.parse_args()
    n_rows, dim = asked.rows, asked.dim
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    rows = (generator.standard_normal((n_rows, dim)) / np.sqrt(dim)).astype(np.float16)
    vector = generator.standard_normal(dim).astype(np.float32)
    exact = rows.astype(np.float64) @ vector
    print(f"{n_rows:,} x {dim:,} float16, one thread")
    own = None
    for name, work in (("fused", fused), ("torch", torch_cast), ("numpy", numpy_cast)):
        assert np.allclose(work(rows, vector), exact, atol=1e-4), name
        taken = seconds(lambda work=work: work(rows, vector))
        own = own or taken
        print(f"{name:8} {rows.nbytes / taken / 1e9:6.1f} GB/s   {taken / own:5.1f} x the time")


if __name__ == "__main__":
    main()
