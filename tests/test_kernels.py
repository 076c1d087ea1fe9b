"""Promises of gtp_core.kernels that no room above shows on every processor."""

import numba as nb
import numpy as np
import pytest

from gtp_core import kernels

EVERY = np.arange(2**16, dtype=np.uint16)
WAYS = ["_by_bits"] + ["_by_instruction"] * kernels._has_instruction()


@pytest.mark.parametrize("name", WAYS)
def test_every_finite_half_is_widened_exactly(name):
    widen, out = getattr(kernels, name), np.empty(len(EVERY), np.float32)

    @nb.njit
    def work(halves, out):
        for i in range(len(halves)):
            out[i] = widen(halves[i])

    work(EVERY, out)
    finite = np.isfinite(EVERY.view(np.float16))
    wanted = EVERY.view(np.float16).astype(np.float32)
    assert finite.sum() > 60_000
    assert out[finite].tobytes() == wanted[finite].tobytes()
