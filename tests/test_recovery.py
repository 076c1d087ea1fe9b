"""Proof of the pursuit: planted supports against theory, invariances, and problems at the edge.

Two guarantees are held to here, and one transition:

- **Coherence.** Greedy matching finds every non-negative combination of k unit atoms, whatever the
  weights, if k < (1 + 1 / mu) / 2 for the largest inner product mu of two atoms (Tropp 2004; with
  weights that must not be negative: Bruckstein, Elad, Zibulevsky 2008). With noise of length e it
  still finds them while the smallest weight is at least 2 e / (1 - (2 k - 1) mu) (Donoho, Elad,
  Temlyakov 2006). Up to 16 samples the pursuit grows by one at a time, so every such problem must
  be solved.
- **Numbers of dimensions.** 2 k ln(n) Gaussian dimensions do for n atoms with high probability
  (Tropp, Gilbert 2007). Cells of the diagram beyond that must be solved.
- Between there and k = dim, where a support is no longer determined, success must only fall as k
  grows or dimensions go.
"""

from math import log

import numpy as np
import pytest
from conftest import example_table, sample_table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dct
from scipy.optimize import nnls

from gtp_core import open_catalog, pose, select
from gtp_core.atoms import ArrayAtoms, pose_array
from gtp_core.methods import Settings
from gtp_core.pursuit import Stop, pursue
from gtp_core.store import Checkpoint, StoreWriter

N_ATOMS = 256
DIMS = (24, 48, 96, 160)
SPARSITIES = (1, 2, 4, 8, 14, 24, 40, 80)
TRIALS = 8
NOISE_OF_TRIALS = 2  # of 8: what a rate may rise by chance where it should not


def atoms_of(matrix: np.ndarray) -> ArrayAtoms:
    return ArrayAtoms(matrix, np.ones(len(matrix), bool))


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def spikes_and_waves(dim: int) -> np.ndarray:
    """Two orthonormal bases in one: 2 * dim atoms whose coherence is only sqrt(2 / dim)."""
    return np.vstack([np.eye(dim), dct(np.eye(dim), norm="ortho")])


def coherence_of(matrix: np.ndarray) -> float:
    inner = np.abs(matrix @ matrix.T)
    np.fill_diagonal(inner, 0.0)
    return float(inner.max())


def objective(matrix, target, ridge, support, weights) -> float:
    left = target - weights @ matrix[support]
    return 0.5 * float(left @ left) + 0.5 * ridge * float(weights @ weights)


# --- recovery against theory -----------------------------------------------------------------


@pytest.mark.parametrize("dim", [64, 256, 576])
@pytest.mark.parametrize("spread", [1.0, 1e3])
def test_coherence_guarantees_every_support(dim, spread):
    """Whatever the weights, here up to 1,000 apart: the guarantee does not ask."""
    matrix = spikes_and_waves(dim)
    most = int(np.ceil((1 + 1 / coherence_of(matrix)) / 2)) - 1
    assert most == {64: 3, 256: 6, 576: 8}[dim]
    generator = np.random.default_rng(dim)
    for sparsity in range(1, most + 1):
        for _ in range(6):
            support = np.sort(generator.choice(len(matrix), sparsity, replace=False))
            weights = spread ** generator.uniform(-0.5, 0.5, sparsity)
            found, fitted, *_ = pursue(atoms_of(matrix), weights @ matrix[support], sparsity)
            order = np.argsort(found)
            assert found[order].tolist() == support.tolist()
            assert np.allclose(fitted[order], weights, rtol=1e-6)


@pytest.mark.parametrize("dim", [64, 256])
def test_coherence_guarantees_a_support_under_noise(dim):
    matrix = spikes_and_waves(dim)
    coherence = coherence_of(matrix)
    most = int(np.ceil((1 + 1 / coherence) / 2)) - 1
    generator = np.random.default_rng(dim)
    for sparsity in range(1, most + 1):
        for _ in range(6):
            support = np.sort(generator.choice(len(matrix), sparsity, replace=False))
            weights = generator.uniform(1.0, 3.0, sparsity)
            noise = generator.standard_normal(dim)
            noise *= 0.499 * (1 - (2 * sparsity - 1) * coherence) / np.linalg.norm(noise)
            found, *_ = pursue(atoms_of(matrix), weights @ matrix[support] + noise, sparsity)
            assert sorted(found.tolist()) == support.tolist()


@pytest.fixture(scope="module")
def diagram() -> np.ndarray:
    """Solved problems of 8, (len(DIMS), len(SPARSITIES)), Gaussian atoms and weights 0.5 to 1.5."""
    solved = np.zeros((len(DIMS), len(SPARSITIES)), int)
    for i, dim in enumerate(DIMS):
        for j, sparsity in enumerate(SPARSITIES):
            for trial in range(TRIALS):
                generator = np.random.default_rng([dim, trial])
                matrix = unit(generator.standard_normal((N_ATOMS, dim)))
                support = generator.permutation(N_ATOMS)[:sparsity]
                target = generator.uniform(0.5, 1.5, sparsity) @ matrix[support]
                found, *_ = pursue(atoms_of(matrix), target, sparsity)
                solved[i, j] += set(found.tolist()) == set(support.tolist())
    return solved


def test_gaussian_atoms_of_enough_dimensions_are_always_recovered(diagram):
    checked = 0
    for i, dim in enumerate(DIMS):
        for j, sparsity in enumerate(SPARSITIES):
            if 2 * sparsity * log(N_ATOMS) <= dim:
                assert diagram[i, j] == TRIALS, (dim, sparsity, diagram)
                checked += 1
    assert checked >= 10


def test_success_only_falls_with_the_sparsity_and_rises_with_the_dimensions(diagram):
    assert (np.diff(diagram, axis=1) <= NOISE_OF_TRIALS).all(), diagram
    assert (np.diff(diagram, axis=0) >= -NOISE_OF_TRIALS).all(), diagram


def test_the_transition_lies_between_theory_and_what_is_determined(diagram):
    """Half of the problems are solved up to some k: above the guarantee, and below dim."""
    for i, dim in enumerate(DIMS):
        half = max(k for k, n in zip(SPARSITIES, diagram[i], strict=True) if n >= TRIALS / 2)
        assert dim / (2 * log(N_ATOMS)) <= half < dim
        beyond = [n for k, n in zip(SPARSITIES, diagram[i], strict=True) if k >= dim]
        assert not any(beyond)


@pytest.mark.parametrize("sparsity", [3, 9, 17, 40])
def test_growing_by_more_than_one_recovers_as_well(sparsity):
    """Above 16 samples several enter at a time; the exchanges mend what that gets wrong."""
    generator = np.random.default_rng(sparsity)
    matrix = unit(generator.standard_normal((1500, 512)))
    support = np.sort(generator.choice(1500, sparsity, replace=False))
    target = generator.uniform(0.5, 1.5, sparsity) @ matrix[support]
    found, *_ = pursue(atoms_of(matrix), target, sparsity)
    assert sorted(found.tolist()) == support.tolist()


# --- invariances -----------------------------------------------------------------------------


def noisy(seed: int, n: int = 240, dim: int = 48):
    """Coherent atoms and a target that no few of them reach."""
    generator = np.random.default_rng(seed)
    matrix = unit(generator.standard_normal((n, dim)) + 0.6 * generator.standard_normal(dim))
    return matrix, matrix[:30].mean(axis=0) + 0.1 * generator.standard_normal(dim)


@pytest.mark.parametrize("ridge", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_does_not_matter_whatever_the_ridge(seed, ridge):
    matrix, target = noisy(seed)
    one = pursue(atoms_of(matrix), target, 12, ridge=ridge)
    for order in (np.arange(240)[::-1], np.random.default_rng(seed).permutation(240)):
        two = pursue(atoms_of(matrix[order]), target, 12, ridge=ridge)
        assert order[two[0]].tolist() == one[0].tolist()
        assert np.allclose(two[1], one[1], rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1e-2, 50.0, 1e6])
def test_longer_atoms_only_shorten_the_weights(scale):
    """c * atoms with ridge c^2 * ridge is the same problem for weights / c."""
    matrix, target = noisy(1)
    one = pursue(atoms_of(matrix), target, 12, ridge=0.1)
    two = pursue(atoms_of(scale * matrix), target, 12, ridge=scale**2 * 0.1)
    assert two[0].tolist() == one[0].tolist()
    assert np.allclose(scale * two[1], one[1], rtol=1e-6)


def test_turning_the_space_changes_nothing():
    matrix, target = noisy(2)
    generator = np.random.default_rng(0)
    turn = np.linalg.qr(generator.standard_normal((60, 48)))[0]  # into more dimensions, too
    one = pursue(atoms_of(matrix), target, 12, ridge=0.1)
    two = pursue(atoms_of(matrix @ turn.T), turn @ target, 12, ridge=0.1)
    assert two[0].tolist() == one[0].tolist()
    assert np.allclose(two[1], one[1], rtol=1e-6)


@pytest.mark.parametrize("ridge", [0.0, 0.1])
@pytest.mark.parametrize("seed", range(4))
def test_copies_do_not_harm(seed, ridge):
    """A pool with every atom three times fits no worse; with a ridge copies may share a weight."""
    matrix, target = noisy(seed)
    one = pursue(atoms_of(matrix), target, 12, ridge=ridge)
    two = pursue(atoms_of(np.tile(matrix, (3, 1))), target, 12, ridge=ridge)
    copied = np.tile(matrix, (3, 1))
    assert objective(copied, target, ridge, *two[:2]) <= 1.05 * objective(
        matrix, target, ridge, *one[:2]
    )


def test_rows_that_cannot_be_chosen_change_nothing():
    """Zero, NaN and infinite rows between the others, wherever they are."""
    matrix, target = noisy(3)
    one = select(pose_array(matrix, target), 10, settings=Settings(ridge=0.1))
    generator = np.random.default_rng(0)
    bad = np.sort(generator.choice(300, 60, replace=False))
    whole = np.zeros((300, 48))
    good = np.setdiff1d(np.arange(300), bad)
    whole[good] = matrix
    whole[bad[0::4]] = np.nan
    whole[bad[1::4]] = np.inf
    whole[bad[2::4], 5] = -np.inf
    two = select(pose_array(whole, target), 10, settings=Settings(ridge=0.1))
    assert two.support.tolist() == good[one.support].tolist()
    assert two.weights.tobytes() == one.weights.tobytes()


# --- at the edge -----------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["gtp", "gtp-hierarchical"])
@pytest.mark.parametrize("fill", ["none", "influence"])
def test_a_target_orthogonal_to_everything_chooses_nobody(method, fill):
    generator = np.random.default_rng(0)
    matrix = np.hstack([generator.standard_normal((40, 8)), np.zeros((40, 4))])
    target = np.append(np.zeros(8), [1.0, -2.0, 0.5, 0.0])
    chosen = select(pose_array(matrix, target), 6, method=method, settings=Settings(fill=fill))
    assert len(chosen.support) - chosen.n_filled == 0
    assert chosen.n_filled == (6 if fill == "influence" else 0)
    assert chosen.stop is Stop.EXHAUSTED
    assert chosen.residual_weighted == 1.0
    assert chosen.residual_as_trained == 1.0


@pytest.mark.parametrize("budget", [1, 5, 11])
def test_equally_strong_atoms_go_by_their_index(budget):
    """No copies: atoms at right angles that all see the target alike."""
    problem = pose_array(np.eye(24), np.ones(24))
    for ridge in (0.0, 0.5, 100.0):
        chosen = select(problem, budget, settings=Settings(ridge=ridge))
        assert chosen.support.tolist() == list(range(budget))
        assert np.allclose(chosen.weights, 1 / (1 + ridge))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 30),
    rank=st.integers(1, 12),
    dim=st.integers(1, 20),
    ridge=st.sampled_from([0.0, 1e-3, 0.3]),
)
def test_a_budget_for_everyone_ends_at_the_convex_optimum(seed, n, rank, dim, ridge):
    """Atoms of any rank, a target in their span or out of it: no budget, no loss."""
    generator = np.random.default_rng(seed)
    matrix = generator.standard_normal((n, rank)) @ generator.standard_normal((rank, dim))
    matrix, target = unit(matrix), generator.standard_normal(dim)
    support, weights, *_ = pursue(atoms_of(matrix), target, n, ridge=ridge)
    best = np.zeros(n)
    if (matrix @ target).max() > 0:  # scipy's nnls fails where nothing helps
        stacked = np.vstack([matrix.T, np.sqrt(ridge) * np.eye(n)])
        best = nnls(stacked, np.append(target, np.zeros(n)), maxiter=50 * n)[0]
    lowest = objective(matrix, target, ridge, np.arange(n), best)
    found = objective(matrix, target, ridge, support, weights)
    assert found <= lowest + 2e-4 * 0.5 * float(target @ target)


@pytest.mark.parametrize("value", [2.0**-24, 6.1e-5, 1.0, 2047.0])
def test_half_precision_at_its_ends(value):
    """Atoms of the smallest subnormal, of subnormals beside ones, and of large numbers."""
    generator = np.random.default_rng(1)
    matrix = (value * generator.integers(-3, 4, (60, 12))).astype(np.float16)
    matrix[:, 0] += np.float16(1.0)
    wide = matrix.astype(np.float64)
    target = wide[[3, 17]].sum(axis=0)
    half = pursue(atoms_of(wide.astype(np.float32)), target, 2)
    full = pursue(atoms_of(wide), target, 2)
    assert half[0].tolist() == full[0].tolist()
    assert np.allclose(half[1], full[1], rtol=1e-4)


# --- through a store -------------------------------------------------------------------------


def store_of(folder, rows: np.ndarray, example: np.ndarray, step_sizes=(1.0,)):
    """A store with these gradients (n_checkpoints, n, dim), and one task of one example."""
    checkpoints = [Checkpoint(f"step-{t}", t, s) for t, s in enumerate(step_sizes)]
    dim = rows.shape[2]
    writer = StoreWriter(
        folder,
        name="planted",
        dim=dim,
        checkpoints=checkpoints,
        gradients={"samples": "sgd", "tasks": "sgd"},
        projection={"type": "none", "seed": 0, "input_dim": dim, "dim": dim},
        model={"id": "none", "adapter": {}},
        producer={"name": "tests", "version": "1"},
    )
    names = [c.name for c in checkpoints]
    writer.add_part(sample_table(range(rows.shape[1])), dict(zip(names, rows, strict=True)))
    examples = example_table("task", {"": 1})
    writer.add_task("task", examples, dict(zip(names, example[:, None], strict=True)))
    return writer.finish()


def stored_problem(folder, *given, **options):
    catalog = open_catalog(store_of(folder, *given, **options))
    return catalog, pose(catalog, "task", common_direction="kept")


@pytest.mark.parametrize("subspace", ["none", "pca:48", "pca:20"])
def test_a_store_of_one_checkpoint_gives_back_what_was_planted(tmp_path, subspace):
    """Gradients 60 orders of magnitude apart in length: their units are what counts."""
    generator = np.random.default_rng(0)
    rows = unit(generator.standard_normal((200, 48)))
    support = np.array([5, 60, 123])
    target = np.array([1.0, 0.7, 1.3]) @ rows[support]
    lengths = 10.0 ** generator.uniform(-30, 30, (200, 1))
    catalog, problem = stored_problem(tmp_path / "store", (lengths * rows)[None], target[None])
    chosen = select(problem, 3, settings=Settings(ridge=0.0, subspace=subspace))
    catalog.close()
    assert sorted(chosen.support.tolist()) == support.tolist()
    assert chosen.residual_weighted < 2e-3  # float16 rows, so the target is not met exactly


def test_a_store_of_one_sample_chooses_it_or_nobody(tmp_path):
    row = np.random.default_rng(0).standard_normal((2, 1, 16))
    for sign, wanted in ((1.0, [0]), (-1.0, [])):
        folder = tmp_path / f"store{sign}"
        catalog, problem = stored_problem(folder, row, sign * row[:, 0], step_sizes=(1.0, 3.0))
        chosen = select(problem, 1, settings=Settings(ridge=0.0))
        catalog.close()
        assert chosen.support.tolist() == wanted
        assert chosen.weights == pytest.approx([1.0] * len(wanted), rel=1e-3)


def test_invalid_rows_of_a_store_change_nothing(tmp_path):
    generator = np.random.default_rng(0)
    rows, example = generator.standard_normal((2, 80, 24)), generator.standard_normal((2, 24))
    sizes = (1.0, 0.5)
    catalog, problem = stored_problem(tmp_path / "clean", rows, example, step_sizes=sizes)
    clean = select(problem, 8, settings=Settings(ridge=0.1))
    catalog.close()
    good = np.setdiff1d(np.arange(90), [0, 3, 4, 30, 55, 56, 70, 71, 88, 89])
    whole = np.zeros((2, 90, 24))
    whole[:, good] = rows
    whole[0, 3], whole[1, 4], whole[0, 30, 2], whole[1, 88] = np.nan, np.inf, -np.inf, np.nan
    catalog, problem = stored_problem(tmp_path / "dirty", whole, example, step_sizes=sizes)
    dirty = select(problem, 8, settings=Settings(ridge=0.1))
    catalog.close()
    assert dirty.support.tolist() == good[clean.support].tolist()
    assert dirty.weights.tobytes() == clean.weights.tobytes()


def test_subnormal_numbers_of_a_store_are_heard(tmp_path):
    """Beside one large coordinate the others are float16 subnormals, and they decide."""
    generator = np.random.default_rng(0)
    rows = np.zeros((1, 120, 30))
    rows[0, :, 0] = 1.0
    rows[0, :, 1:] = 2.0**-24 * generator.integers(-300, 301, (120, 29))
    stored = rows[0].astype(np.float16).astype(np.float64)
    target = stored[11] - stored[11, 0] * np.eye(30)[0] * (1 - 1e-6)
    catalog, problem = stored_problem(tmp_path / "store", rows, target[None])
    found = int(np.argmax(problem.atoms.products(problem.target[None])[:, 0]))
    exact = int(np.argmax(stored @ unit(target)))
    catalog.close()
    assert found == exact == 11
