"""Promises of gtp_core.atoms.sharing: passes shared, the same bytes, nobody left waiting."""

from dataclasses import replace

import pytest

from gtp_core.atoms import StoredAtoms, cancellable, pose, sharing, together
from gtp_core.errors import CancelledError
from gtp_core.methods import Settings, hierarchical, select
from gtp_core.pursuit import Stop
from gtp_core.report import choose, held_out
from gtp_core.trajectories import Trajectories


@pytest.fixture
def shared(monkeypatch):
    """Passes are shared however small the store is."""
    monkeypatch.setattr(sharing, "LARGE", 0)


@pytest.fixture
def passes(monkeypatch):
    """Vectors of every pass over the gradients."""
    counted: list[int] = []
    whole = Trajectories.products

    def products(self, vectors):
        counted.append(len(vectors))
        return whole(self, vectors)

    monkeypatch.setattr(Trajectories, "products", products)
    return counted


def bytes_of(selection):
    return selection.support.tobytes(), selection.weights.tobytes(), selection.rounds


@pytest.mark.parametrize("method", ["gtp", "top-k", "grad-match", "gtp-hierarchical"])
@pytest.mark.parametrize("direction", ["removed", "kept"])
@pytest.mark.parametrize("gradients", ["unit", "raw"])
def test_side_by_side_gives_the_bytes_of_one_after_the_other(
    catalog, shared, monkeypatch, method, direction, gradients
):
    monkeypatch.setattr(hierarchical, "PART", 20)
    problem = pose(catalog, "maths", common_direction=direction, gradients=gradients)
    everyone = [problem, *(part for part, _ in problem.parts)]

    def solve(_, some):
        return select(some, 12, method=method)

    found = together(everyone, solve)
    assert [bytes_of(s) for s in found] == [
        bytes_of(select(p, 12, method=method)) for p in everyone
    ]
    assert together(everyone, solve, at_once=2)[3].support.tolist() == found[3].support.tolist()


def test_the_held_out_match_needs_no_pass_of_its_own(catalog, shared, passes):
    problem = pose(catalog, "maths")
    alone = []
    for some in (problem, *(part for part, _ in problem.parts)):
        passes.clear()
        select(some, 12)
        alone.append(len(passes))
    passes.clear()
    selection, held = choose(problem, 12, method="gtp", settings=Settings())
    assert len(passes) == max(alone) < sum(alone)
    assert max(passes) == len(alone)
    assert bytes_of(selection) == bytes_of(select(problem, 12))
    assert held == held_out(problem, 12, method="gtp", settings=Settings())


def test_a_shared_pass_reads_the_rows_asked_for_and_no_others(catalog, shared, monkeypatch):
    problem = pose(catalog, "maths", gradients="raw")
    read: list[int] = []
    whole = Trajectories.products
    monkeypatch.setattr(
        Trajectories, "products", lambda self, v: read.append(self.n_samples) or whole(self, v)
    )

    def ask(position, some):
        view = sharing.consecutive(some.atoms.trajectories, 20, 50)
        inner = sharing.consecutive(view, 3 * position, 10 + position)
        return inner.products(some.target[None])

    found = together([problem] * 4, ask)
    assert read == [30 - 17]
    wanted = whole(problem.atoms.trajectories, problem.target[None])
    for position, products in enumerate(found):
        assert products.tobytes() == wanted[20 + 3 * position : 30 + position].tobytes()


def test_who_fails_keeps_nobody_waiting(catalog, shared):
    problem = pose(catalog, "maths")
    finished = []

    def solve(position, some):
        if position == 1:
            raise ValueError("not today")
        finished.append(select(some, 8))

    with pytest.raises(ValueError, match="not today"):
        together([problem] * 4, solve)
    assert len(finished) == 3


def test_a_pass_that_fails_fails_for_all(catalog, shared, monkeypatch):
    problem = pose(catalog, "maths")

    def broken(self, vectors):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Trajectories, "products", broken)
    failed = []

    def solve(position, some):
        try:
            return some.atoms.products(some.target[None])
        except OSError:
            failed.append(position)

    together([problem] * 3, solve)
    assert sorted(failed) == [0, 1, 2]


def test_stores_and_weighings_that_differ_are_not_mixed(catalog, shared):
    plain, other = (pose(catalog, "maths", checkpoints=c) for c in ({}, {"step-0": 0.5}))
    wanted = [p.atoms.products(p.target[None]) for p in (plain, other)]
    found = together([plain, other], lambda _, p: p.atoms.products(p.target[None]))
    assert [a.tobytes() for a in found] == [a.tobytes() for a in wanted]


# --- cancellation between the parts of a pass ------------------------------------------------


def stop_after(count: int):
    left = iter(range(count))

    def between():
        if next(left, None) is None:
            raise CancelledError("enough")

    return between


def test_a_cancelled_pursuit_keeps_its_best_round(catalog):
    problem = pose(catalog, "maths")
    asked: list[int] = []
    whole = select(cancellable(problem, lambda: asked.append(1)), 12, settings=Settings(ridge=0.01))
    assert isinstance(problem.atoms, StoredAtoms)
    parts = sum(map(len, problem.atoms.trajectories.parts))
    assert len(asked) % parts == 0  # asked before every part, not once a pass
    before = len(asked)
    found = select(cancellable(problem, stop_after(0)), 12, settings=Settings(ridge=0.01))
    assert (found.stop, len(found.support), found.residual_weighted) == (Stop.CANCELLED, 0, 1.0)
    for count in (parts, before // 2, before - 1):
        some = cancellable(problem, stop_after(count))
        found = select(some, 12, settings=Settings(ridge=0.01))
        assert found.stop is Stop.CANCELLED
        assert found.rounds == whole.rounds[: len(found.rounds)]
        assert len(found.rounds) < len(whole.rounds) or count == before - 1
    assert found.residual_weighted <= found.rounds[-1].residual + 1e-9


def test_a_cancelled_ranking_says_so(catalog):
    problem = replace(pose(catalog, "maths"), loaded_influence=None)
    with pytest.raises(CancelledError):
        select(cancellable(problem, stop_after(1)), 12, method="top-k")


def test_cancelling_side_by_side_ends_all_of_them(catalog, shared):
    problem = cancellable(pose(catalog, "maths"), stop_after(30))
    selection, held = choose(problem, 12, method="gtp", settings=Settings())
    assert selection.stop is Stop.CANCELLED
    assert held is None


@pytest.mark.parametrize("method", ["gtp", "top-k", "omp"])
def test_cancelled_while_fits_are_held_out_the_selection_is_kept(catalog, method):
    """A match over fits that were cut short was told as if it had been measured."""
    problem, asked = pose(catalog, "maths"), []
    whole = select(cancellable(problem, lambda: asked.append(1)), 12, method=method)
    some = cancellable(problem, stop_after(len(asked) + 2))
    selection, held = choose(some, 12, method=method, settings=Settings())
    assert bytes_of(selection) == bytes_of(whole)
    assert (selection.stop, held) == (Stop.CANCELLED, None)
