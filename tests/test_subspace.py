"""Promises of the subspace: principal directions, kept on disk, and an end in full dimension."""

import shutil
from dataclasses import replace

import numpy as np
import pytest

from gtp_core import open_catalog, pose, select
from gtp_core.atoms import principal as fitting
from gtp_core.atoms import subspace
from gtp_core.atoms.principal import principal
from gtp_core.errors import MethodError, TaskError
from gtp_core.estimate import on_one_thread
from gtp_core.methods import Settings, prepare_subspace, used_settings
from gtp_core.methods.subspace import GatheredAtoms
from gtp_core.pursuit import Stop
from gtp_core.report import held_out, run_document
from gtp_core.report.rebuild import rebuild_command

fit = on_one_thread(principal)


def slow_decay(n: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit rows (n, width) float16 whose spectrum falls slowly, as gradients' does."""
    generator = np.random.default_rng(seed)
    turn = np.linalg.qr(generator.standard_normal((width, width)))[0]
    scales = np.arange(1, width + 1) ** -0.35
    rows = generator.standard_normal((n, width)) * scales @ turn
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


def spectrum_of(rows: np.ndarray) -> np.ndarray:
    return np.linalg.svd(rows.astype(np.float64), compute_uv=False) ** 2


@pytest.fixture
def problem(own_catalog):
    return pose(own_catalog, "maths")


# --- the basis -------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 10, 40])
def test_directions_hold_nearly_all_that_any_so_many_could(rank):
    rows = slow_decay(3000, 120)
    _, directions, spectrum = fit([rows], np.ones(3000, bool), None, rank)
    best = spectrum_of(rows)
    assert spectrum[:-1].sum() >= 0.995 * best[:rank].sum()
    assert spectrum[-1] == pytest.approx(best.sum(), rel=1e-5)
    held = np.linalg.norm(rows.astype(np.float64) @ directions.T) ** 2
    assert held == pytest.approx(spectrum[:-1].sum(), rel=1e-5)
    assert np.allclose(directions @ directions.T, np.eye(rank), atol=1e-5)
    assert (np.diff(spectrum[:-1]) <= 1e-9).all()


def test_more_rows_than_the_sample_are_all_heard(monkeypatch):
    """The last iteration takes all rows: it ends nearer to the best than the sample alone."""
    rows, rank = slow_decay(6000, 120, 1), 20
    monkeypatch.setattr(fitting, "_SAMPLE", 300)
    both = fit([rows], np.ones(6000, bool), None, rank)[2][:-1].sum()
    sample = rows[np.linspace(0, 5999, 300).astype(int)]
    alone = np.linalg.svd(sample.astype(float), full_matrices=False)[2][:rank]
    best = spectrum_of(rows)[:rank].sum()
    lost = best - both, best - np.linalg.norm(rows.astype(float) @ alone.T) ** 2
    assert 0 <= lost[0] < 0.5 * lost[1]


def test_a_rank_that_rows_do_not_reach_keeps_everything():
    generator = np.random.default_rng(0)
    rows = (generator.standard_normal((500, 4)) @ generator.standard_normal((4, 30))).astype("f2")
    low, directions, spectrum = fit([rows], np.ones(500, bool), None, 30)
    assert spectrum[:4].sum() == pytest.approx(spectrum[-1], rel=1e-4)
    assert np.allclose(low.astype(float) @ directions, rows.astype(float), atol=2e-2)


def test_what_is_removed_is_in_no_direction():
    rows = slow_decay(800, 40)
    shared = np.random.default_rng(1).standard_normal(40)
    shared /= np.linalg.norm(shared)
    free = rows.astype(float) - np.outer(rows.astype(float) @ shared, shared)
    for rank in (10, 40):
        low, directions, spectrum = fit([rows], np.ones(800, bool), shared, rank)
        assert np.abs(directions @ shared).max() < 1e-6
        assert spectrum[:-1].sum() >= 0.995 * spectrum_of(free)[:rank].sum()
        assert spectrum[-1] == pytest.approx(spectrum_of(free).sum(), rel=1e-5)
        assert np.allclose(low.astype(float), free @ directions.T, atol=1e-3)


def test_invalid_rows_have_no_say():
    rows, valid = slow_decay(500, 30), np.ones(500, bool)
    valid[[3, 77, 499]] = False
    other = rows.copy()
    other[~valid] = np.float16(np.nan)
    one, two = fit([rows], valid, None, 8), fit([other], valid, None, 8)
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    assert not one[0][~valid].any()


@pytest.mark.parametrize("cores", [1, 2, 5])
@pytest.mark.parametrize("cuts", [[], [1], [700, 1024, 1500, 1500]])
def test_threads_and_parts_do_not_change_a_byte(monkeypatch, tmp_path, cores, cuts):
    rows = slow_decay(2600, 64)
    expected = fit([rows], np.ones(2600, bool), None, 20)
    monkeypatch.setattr("gtp_core.trajectories._cores", lambda: cores)
    monkeypatch.setattr(fitting, "_AT_ONCE", 1 + cores)
    np.save(tmp_path / "rows.npy", rows)
    parts = np.split(np.load(tmp_path / "rows.npy", mmap_mode="r"), cuts)
    found = fit(parts, np.ones(2600, bool), None, 20)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(found, expected, strict=True))


def test_progress_ends_where_it_should(problem):
    heard = []
    prepare_subspace(problem, Settings(subspace="pca:4"), lambda *told: heard.append(told))
    done, totals, words = zip(*heard, strict=True)
    assert sorted(done) == list(done)
    assert (done[-1], set(totals)) == (totals[0], {totals[0]})
    assert words[-1] == "fitting the subspace, checkpoint 3 of 3"


# --- atoms in it -----------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 5, 16])
@pytest.mark.parametrize("direction", ["kept", "removed"])
def test_the_target_is_whole_and_influence_exact(own_catalog, direction, rank):
    problem = pose(own_catalog, "maths", common_direction=direction)
    assert problem.subspaces is not None
    for part in (problem, *(part for part, _ in problem.parts)):
        atoms, low = problem.subspaces.atoms(rank, part.target, part.atoms.candidates)
        assert (atoms.dim, len(low)) == (3 * rank + 1, 3 * rank + 1)
        assert np.linalg.norm(low) == pytest.approx(np.linalg.norm(part.target), rel=1e-5)
        found, exact = atoms.products(low[None]), part.atoms.products(part.target[None])
        usable = part.atoms.candidates
        scale = np.linalg.norm(part.target)
        assert np.abs(found - exact)[usable].max() < 1e-3 * scale


def test_the_whole_dimension_is_the_whole_truth(problem):
    """With as many directions as there are, every proxy is that of full dimension."""
    assert problem.subspaces is not None
    atoms, low = problem.subspaces.atoms(16, problem.target, problem.atoms.candidates)
    fitted = problem.subspaces.fitted(16)
    vectors = np.random.default_rng(0).standard_normal((3, problem.atoms.dim))
    vectors[0] = problem.target
    lowered = np.stack([np.append(fitted.lower(v), 0.0) for v in vectors])
    lowered[0] = low
    valid = problem.atoms.candidates
    near = np.abs(atoms.products(lowered) - problem.atoms.products(vectors))[valid]
    assert near.max() < 5e-3
    assert np.array_equal(atoms.rows(np.array([4, 2])) @ low, atoms.rows(np.array([4, 2])) @ low)
    block = atoms.block(np.array([4, 2, 9]))
    assert np.allclose(block.products(low), atoms.products(low[None])[[4, 2, 9], 0], atol=1e-5)


def test_energy_kept_is_that_of_the_rows(problem, own_catalog):
    energy = prepare_subspace(problem, Settings(subspace="pca:5"))
    assert energy is not None
    valid, trajectories = own_catalog.valid(), problem.atoms.trajectories
    fitted = problem.subspaces.fitted(5)
    for t, parts in enumerate(trajectories.parts):
        rows = np.concatenate(parts)[valid].astype(np.float64)
        rows -= np.outer(rows @ problem.atoms.direction[t], problem.atoms.direction[t])
        kept = np.linalg.norm(rows @ fitted.basis[t].T.astype(float)) ** 2
        assert energy[t] == pytest.approx(kept / np.linalg.norm(rows) ** 2, rel=1e-4)
        assert 0.3 < energy[t] < 1


def test_a_target_that_was_not_announced_is_refused(problem, says):
    with pytest.raises(TaskError) as error:
        problem.subspaces.atoms(4, problem.target + 1, problem.atoms.candidates)
    says(error.value, "not announced")


# --- the end in full dimension ---------------------------------------------------------------


@pytest.mark.parametrize("ridge", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rank", [1, 4, 16])
def test_weights_and_residuals_are_exact_in_full_dimension(problem, rank, ridge):
    chosen = select(problem, 8, settings=Settings(ridge=ridge, subspace=f"pca:{rank}"))
    rows = problem.atoms.rows(chosen.support).astype(np.float64)
    residual = problem.target - chosen.weights @ rows
    left = np.linalg.norm(residual) / np.linalg.norm(problem.target)
    assert chosen.residual_weighted == pytest.approx(left, rel=1e-9)
    assert chosen.rounds[-1].residual == pytest.approx(left, rel=1e-6)
    gradient = ridge * chosen.weights - rows @ residual
    assert np.abs(gradient).max() < 1e-5 * np.abs(rows @ problem.target).max()
    assert not set(chosen.pruned.tolist()) & set(chosen.support.tolist())


@pytest.mark.parametrize("budget", [3, 10])
def test_the_whole_dimension_chooses_as_without_a_subspace(problem, budget):
    plain = select(problem, budget)
    inside = select(problem, budget, settings=Settings(subspace="pca:16"))
    assert objective(problem, inside) <= objective(problem, plain) * (1 + 1e-3)


def test_the_end_is_no_worse_than_weights_fitted_to_the_first_choice(problem):
    from gtp_core.methods import subspace as methods

    for rank in (1, 2, 4):
        settings = Settings(ridge=0.1, subspace=f"pca:{rank}")
        atoms, low = problem.subspaces.atoms(rank, problem.target, problem.atoms.candidates)
        support = methods.pursue(atoms, low, 8, ridge=0.1)[0]
        first = methods.refitted(problem, support, 0.1)
        last = objective(problem, select(problem, 8, settings=settings))
        assert last <= first.objective * (1 + 1e-9)


def objective(problem, chosen) -> float:
    rows = problem.atoms.rows(chosen.support).astype(np.float64)
    left = problem.target - chosen.weights @ rows
    ridge = chosen.settings["ridge"]
    return 0.5 * float(left @ left) + 0.5 * ridge * float(chosen.weights @ chosen.weights)


def test_pins_bans_and_caps_hold_in_a_subspace(own_catalog):
    ids = own_catalog.sample_ids().to_list()
    problem = pose(own_catalog, "maths", pins=[ids[8], ids[30]], bans=[ids[2]], caps={"source": 3})
    for method in ("gtp", "gtp-hierarchical"):
        chosen = select(problem, 9, method=method, settings=Settings(subspace="pca:3"))
        support = chosen.support.tolist()
        assert {8, 30} <= set(support)
        assert not {2, 7, 20, 33} & set(support)
        assert np.bincount(problem.sources[support]).max() <= 3
        assert len(support) <= 9


def test_a_subspace_of_parts_works_as_well(own_catalog, monkeypatch):
    monkeypatch.setattr("gtp_core.methods.hierarchical.PART", 20)
    settings = Settings(subspace="pca:4")
    chosen = select(pose(own_catalog, "maths"), 6, method="gtp-hierarchical", settings=settings)
    assert 0 < len(chosen.support) <= 6
    assert chosen.residual_weighted < 1


@pytest.mark.parametrize("when", [1, 100])
def test_cancelling_in_either_dimension_gives_exact_weights(problem, when):
    heard = []

    def stop(done):
        heard.append(done)
        return len(heard) >= when

    settings = Settings(subspace="pca:4", ridge=0.1)
    chosen = select(problem, 8, settings=settings, on_round=stop)
    rows = problem.atoms.rows(chosen.support).astype(np.float64)
    gradient = 0.1 * chosen.weights - rows @ (problem.target - chosen.weights @ rows)
    assert np.abs(gradient).max() < 1e-5
    assert (chosen.stop is Stop.CANCELLED) == (len(heard) == when)


def test_uniform_weights_and_filling_go_on_from_what_was_pursued(problem):
    even = select(problem, 8, settings=Settings(subspace="pca:4", weights="uniform"))
    assert len(set(even.weights.tolist())) == 1
    full = select(problem, 30, settings=Settings(subspace="pca:4", fill="influence"))
    assert len(full.support) == 30


def test_gathered_atoms_are_the_same_atoms(problem):
    index = np.array([1, 5, 12, 45, 50])
    some = GatheredAtoms.of(problem.atoms, index)
    vectors = np.stack([problem.target, np.arange(problem.atoms.dim) / 10.0])
    assert np.allclose(some.products(vectors), problem.atoms.products(vectors)[index], atol=1e-5)
    assert np.array_equal(some.rows(np.array([3, 0])), problem.atoms.rows(np.array([45, 1])))
    assert some.strongest(problem.target, 5).tolist() == [
        some.places(np.array([i]))[0]
        for i in problem.atoms.strongest(problem.target, 60)
        if i in index
    ]


# --- kept beside the catalog -----------------------------------------------------------------


def test_a_second_run_does_no_work(own_catalog, monkeypatch):
    settings = Settings(subspace="pca:4")
    first = select(pose(own_catalog, "maths"), 8, settings=settings)
    monkeypatch.setattr(subspace, "principal", None)
    for task in ("maths", "dates"):  # a subspace belongs to the pool, not to a task
        again = select(pose(own_catalog, task), 8, settings=settings)
    again = select(pose(own_catalog, "maths"), 8, settings=settings)
    assert again.support.tobytes() == first.support.tobytes()
    assert again.weights.tobytes() == first.weights.tobytes()
    with pytest.raises(TypeError):
        select(pose(own_catalog, "maths", common_direction="kept"), 8, settings=settings)


def test_what_a_kill_left_out_alone_is_fitted_again(own_catalog, monkeypatch):
    settings, fitted = Settings(subspace="pca:4"), []
    problem = pose(own_catalog, "maths")
    select(problem, 8, settings=settings)
    folder = problem.subspaces.folder(4)
    before = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    (folder / "01-spectrum.npy").unlink()
    (folder / "02-coordinates.npy").write_bytes(b"no array")

    def counting(*given):
        fitted.append(1)
        return principal(*given)

    monkeypatch.setattr(subspace, "principal", counting)
    select(pose(own_catalog, "maths"), 8, settings=settings)
    assert len(fitted) == 2
    assert {p.name: p.read_bytes() for p in sorted(folder.iterdir())} == before


def test_another_store_or_rank_is_another_folder(own_catalog, small_store):
    problem = pose(own_catalog, "maths")
    other = open_catalog(small_store("other", seed=1))
    try:
        shelves = {
            problem.subspaces.folder(4).name,
            problem.subspaces.folder(5).name,
            pose(own_catalog, "maths", common_direction="kept").subspaces.folder(4).name,
            pose(other, "maths").subspaces.folder(4).name,
        }
    finally:
        other.close()
    assert len(shelves) == 4
    factors = pose(own_catalog, "dates", checkpoints={"step-0": 2.0})
    assert factors.subspaces.folder(4) == problem.subspaces.folder(4)


def test_held_out_fits_share_the_pass_that_looks_beside(problem, monkeypatch):
    prepare_subspace(problem, Settings(subspace="pca:4"))
    asked = []
    whole = type(problem.atoms).products

    def counting(self, vectors):
        asked.append(len(vectors))
        return whole(self, vectors)

    monkeypatch.setattr(type(problem.atoms), "products", counting)
    found = held_out(problem, 5, method="gtp", settings=Settings(subspace="pca:4"))
    assert found is not None
    assert sorted(asked) == [1] * 10 + [11]


# --- on the receipt, and refused -------------------------------------------------------------


def test_a_run_says_in_which_subspace_and_what_that_kept(own_catalog):
    problem = pose(own_catalog, "maths")
    plain, inside = (
        select(problem, 5, settings=Settings(subspace=name)) for name in ("none", "pca:4")
    )
    assert plain.settings["subspace"] == "none"
    assert "subspace_energy" not in plain.settings
    assert inside.settings["subspace"] == "pca:4"
    assert len(inside.settings["subspace_energy"]) == 3
    documents = [run_document(own_catalog, problem, each, None) for each in (plain, inside)]
    assert documents[0]["run"] != documents[1]["run"]
    without = replace(plain, settings={k: v for k, v in plain.settings.items() if k != "subspace"})
    assert run_document(own_catalog, problem, without, None)["run"] == documents[0]["run"]
    assert "--subspace pca:4" in rebuild_command(own_catalog, documents[1], "name")
    ranked = used_settings(problem, 5, "top-k", Settings(subspace="pca:7"))
    assert "subspace_energy" not in ranked


@pytest.mark.parametrize("name", ["pca", "pca:0", "pca:-3", "pca:4.5", "pca: 4", "svd:4", "", "4"])
def test_any_other_subspace_is_one_sentence(problem, says, name):
    with pytest.raises(MethodError) as error:
        select(problem, 5, settings=Settings(subspace=name))
    says(error.value, "pca:256")


def test_a_rank_above_the_dimension_is_refused(problem, says):
    with pytest.raises(MethodError) as error:
        select(problem, 5, settings=Settings(subspace="pca:17"))
    says(error.value, "16 dimensions")


def test_an_array_has_no_subspace(says):
    from gtp_core.atoms import pose_array

    with pytest.raises(MethodError) as error:
        select(pose_array(np.eye(4), np.ones(4)), 2, settings=Settings(subspace="pca:2"))
    says(error.value, "store")


def test_subtasks_each_is_refused_in_a_subspace(problem, says):
    with pytest.raises(MethodError) as error:
        select(problem, 5, settings=Settings(subspace="pca:2", subtasks="each"))
    says(error.value, "full dimension")


def test_a_workspace_elsewhere_is_where_it_is_kept(own_catalog, tmp_path):
    before = sorted(own_catalog.store.folder.rglob("*"))
    catalog = open_catalog(own_catalog.store, workspace=tmp_path / "elsewhere")
    try:
        problem = pose(catalog, "maths")
        prepare_subspace(problem, Settings(subspace="pca:2"))
        assert len(list(problem.subspaces.folder(2).iterdir())) == 9
        assert problem.subspaces.folder(2).is_relative_to(tmp_path / "elsewhere")
    finally:
        catalog.close()
    assert sorted(own_catalog.store.folder.rglob("*")) == before
    shutil.rmtree(tmp_path / "elsewhere")
