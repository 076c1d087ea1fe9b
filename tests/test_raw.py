"""Promises of raw gradients: lengths kept in every product, row and block, and nowhere else."""

from contextlib import closing

import numpy as np
import pytest
from conftest import build_store

from gtp_core.atoms import cancellable, pose
from gtp_core.catalog import open_catalog
from gtp_core.errors import GTPError, MethodError, TaskError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.report import choose, run_document
from gtp_core.report.rebuild import rebuild_command

GEOMETRIES = pytest.mark.parametrize("direction", ["removed", "kept"])


def brute(catalog, task, direction):
    """Atoms and target of raw gradients, densely and in float64, each up to one factor."""
    store = catalog.store
    sizes = np.array([c.step_size for c in store.checkpoints])
    eta, means = sizes / sizes.sum(), catalog.common_direction()
    valid, atoms, aims = catalog.valid(), [], []
    for t, checkpoint in enumerate(store.checkpoints):
        parts = [store.part_rows(p, t) for p in range(len(store.manifest.parts))]
        unit, norm = (np.concatenate(pieces).astype(float) for pieces in zip(*parts, strict=True))
        example, length = (piece.astype(float) for piece in store.task_rows(task, t))
        assert checkpoint.name
        for rows, own, found in ((unit[valid], norm[valid], atoms), (example, length, aims)):
            whole = rows * own[:, None]
            if direction == "removed":
                whole = whole - np.outer(whole @ means[t], means[t])
            found.append(np.sqrt(eta[t]) * whole)
    return np.hstack(atoms), np.hstack(aims)


def same_direction(found, wanted):
    return np.allclose(found / np.linalg.norm(found), wanted / np.linalg.norm(wanted), atol=2e-3)


@GEOMETRIES
def test_atoms_are_gradients_with_their_lengths(catalog, direction):
    problem = pose(catalog, "dates", common_direction=direction, gradients="raw")
    index = np.flatnonzero(catalog.valid())
    atoms, aims = brute(catalog, "dates", direction)
    rows = problem.atoms.rows(index).astype(float)
    assert same_direction(rows, atoms)
    assert same_direction(problem.target, aims.mean(0))
    products = problem.atoms.products(problem.target[None])[index, 0]
    assert np.allclose(products, rows @ problem.target, rtol=1e-4, atol=1e-6)
    block = problem.atoms.block(index[:20])
    assert np.allclose(block.products(problem.target), products[:20], rtol=1e-4, atol=1e-6)
    ones = np.ones(20)
    assert np.allclose(block.combine(np.arange(20), ones), rows[:20].sum(0), atol=1e-5)
    lengths = (problem.less_atoms.rows(index).astype(float) ** 2).sum(1)
    assert lengths.mean() == pytest.approx(1.0, rel=1e-3)


def test_top_k_ranks_by_plain_inner_products(catalog):
    problem = pose(catalog, "dates", gradients="raw")
    atoms, aims = brute(catalog, "dates", "kept")
    scores = atoms @ aims.mean(0)
    found = select(problem, 25, method="top-k").support
    valid = np.flatnonzero(catalog.valid())
    best = scores[np.searchsorted(valid, found)]
    room = 1e-3 * np.abs(scores).max()
    assert (np.diff(best) <= room).all()
    assert best.min() >= np.sort(scores)[::-1][24] - room


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_them(catalog, method):
    problem = pose(catalog, "maths", gradients="raw")
    selection = select(problem, 10, method=method)
    assert 0 < len(selection.support) <= 10
    assert catalog.valid()[selection.support].all()
    rows = problem.atoms.rows(selection.support).astype(float)
    left = np.linalg.norm(problem.target - selection.weights @ rows)
    wanted = left / np.linalg.norm(problem.target)
    assert selection.residual_weighted == pytest.approx(wanted, rel=1e-4)


def test_the_same_lengths_make_no_difference(tmp_path):
    store = build_store(tmp_path / "store", invalid={}, step_sizes=(1.0,))
    with closing(open_catalog(store, workspace=tmp_path)) as catalog:
        lengths = store.norms()
        unit, raw = (pose(catalog, "maths", gradients=g) for g in ("unit", "raw"))
        factor = lengths[:, 0].astype(float) / np.sqrt((lengths**2).mean())
        index = np.arange(store.n_samples)
        wanted = unit.atoms.rows(index) * factor[:, None]
        assert np.allclose(raw.atoms.rows(index), wanted, atol=1e-5)


def test_the_run_names_them_and_its_command_says_so(catalog):
    for gradients in ("unit", "raw"):
        problem = pose(catalog, "maths", gradients=gradients)
        selection, held = choose(problem, 8, method="gtp", settings=Settings())
        run = run_document(catalog, problem, selection, held)
        assert run["settings"]["gradients"] == gradients
        said = "--gradients raw" in rebuild_command(catalog, run, "x")
        assert said is (gradients == "raw")


def test_a_pass_over_them_can_be_heard(catalog):
    heard: list[int] = []
    problem = cancellable(pose(catalog, "maths", gradients="raw"), lambda: heard.append(1))
    assert np.isfinite(problem.atoms.products(problem.target[None])).all()
    assert heard


def test_what_does_not_go_together_is_one_sentence(catalog):
    with pytest.raises(TaskError, match="unit"):
        pose(catalog, "pool:mean", gradients="raw")
    with pytest.raises(TaskError, match="unit"):
        pose(catalog, "maths", gradients="long")
    with pytest.raises(MethodError, match="subspace"):
        select(pose(catalog, "maths", gradients="raw"), 5, settings=Settings(subspace="pca:4"))
    assert issubclass(MethodError, GTPError)
