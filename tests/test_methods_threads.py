"""A promise of every method: the same bytes however many threads its algebra may take."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Atoms long enough that OpenBLAS shares out a product of two vectors among its threads.
ANSWERS = """
import hashlib
from dataclasses import replace
import numpy as np
from threadpoolctl import threadpool_info
from gtp_core.atoms import Split, pose_array
from gtp_core.methods import METHODS, Settings
from gtp_core.report import choose
from gtp_core.report.quality import reliability

generator = np.random.default_rng(0)
rows = generator.standard_normal((60, 30_000)).astype(np.float32)
rows /= np.linalg.norm(rows, axis=1, keepdims=True)
halves = rows[:30].sum(0) + 0.01 * generator.standard_normal((2, 30_000))
problem = pose_array(rows, halves)
problem = replace(problem, splits=(Split(halves[0], halves[1], halves[:1]),))
print(max(info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"))
asked = [(method, Settings()) for method in METHODS]
asked += [("gtp", Settings(weights="uniform")), ("gtp", Settings(subtasks="each"))]
for method, settings in asked:
    found, held = choose(problem, 8, method=method, settings=settings)
    left = found.residual_weighted, found.residual_as_trained
    told = [float(x).hex() for x in (*left, held.match)]
    bytes_ = found.support.tobytes() + found.weights.tobytes()
    print(method, hashlib.sha256(bytes_).hexdigest(), *told)
print(reliability(problem, 2).split_half.hex())
"""


def answers(threads: int) -> tuple[int, list[str]]:
    """How many threads BLAS has, and what it chose with them."""
    told = subprocess.run(
        [sys.executable, "-c", ANSWERS],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)},
        capture_output=True,
        text=True,
        check=True,
    )
    first, *rest = told.stdout.splitlines()
    return int(first), rest


def test_one_thread_and_two_give_the_same_bytes():
    (few, one), (_, two) = answers(1), answers(2)
    assert few == 1
    assert len(one) > 10
    assert one == two
