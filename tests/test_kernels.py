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


@pytest.mark.parametrize("dim", [1, 7, 48, 1000])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_product_does_not_depend_on_the_rows_beside_it(kind, dim):
    """Rows are multiplied four at a time; equal atoms must have equal proxies everywhere."""
    generator = np.random.default_rng(dim)
    rows = generator.standard_normal((23, dim)).astype(kind)
    bits = rows.view(np.uint16) if kind is np.float16 else rows
    vector = generator.standard_normal(dim).astype(np.float32)
    alone = np.empty(23, np.float32)
    for i in range(23):
        kernels.row_products(bits, np.array([i]), vector, alone[i : i + 1])
    assert np.allclose(alone, rows.astype(np.float64) @ vector, rtol=1e-4, atol=1e-4)
    for places in (np.arange(23), np.arange(1, 20), np.arange(23)[::-1], np.array([5, 5, 9])):
        together = np.empty(len(places), np.float32)
        kernels.row_products(bits, places, vector, together)
        assert together.tobytes() == alone[places].tobytes()
    if kind is np.float16:
        for begin in range(4):
            found = np.empty(23 - begin, np.float32)
            kernels.products_of_one(bits[begin:], vector, found)
            assert found.tobytes() == alone[begin:].tobytes()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 6, 17])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_weighted_sums_of_rows_are_those_in_float64(kind, count):
    generator = np.random.default_rng(count)
    rows = generator.standard_normal((20, 50)).astype(kind)
    bits = rows.view(np.uint16) if kind is np.float16 else rows
    places, factor = generator.choice(20, count), generator.standard_normal(count)
    out = np.ones(50)
    kernels.add_rows_wide(bits, places, factor, out)
    assert np.allclose(out, 1 + factor @ rows[places].astype(np.float64), rtol=1e-14, atol=1e-14)
