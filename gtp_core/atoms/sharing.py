"""Several problems over one store, solved side by side: a pass over its gradients serves them all.

Pursuits of the parts of a task's examples ask for passes at about the same time. Each waits until
all that are still under way have asked; then one pass answers every vector.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Condition
from typing import TypeVar

import numpy as np

from gtp_core.atoms.matrix import Atoms, StoredAtoms
from gtp_core.atoms.problem import LARGE, Problem
from gtp_core.trajectories import Trajectories

_Answer = TypeVar("_Answer")


def together(
    problems: Sequence[Problem],
    work: Callable[[int, Problem], _Answer],
    *,
    at_once: int | None = None,
) -> list[_Answer]:
    """`work(position, problem)` of every problem, in their order.

    Side by side where a pass over the atoms costs seconds, one after the other elsewhere; the
    answers are the same bytes either way.

    Args:
        problems: over the same store.
        work: asks nothing of other problems.
        at_once: how many at most, where memory does not hold all of them.
    """
    answers: list[_Answer] = []
    count = at_once or len(problems)
    for start in range(0, len(problems), max(1, count)):
        group = problems[start : start + count]
        trajectories = _shared(group)
        if trajectories is None or len(group) == 1:
            answers += [work(start + i, problem) for i, problem in enumerate(group)]
        else:
            answers += _side_by_side(trajectories, group, start, work)
    return answers


def _shared(problems: Sequence[Problem]) -> Trajectories | None:
    """The trajectories that all these problems read, if a pass over them costs seconds."""
    atoms = [a for problem in problems for a in (problem.atoms, problem.less_atoms)]
    stored = [a.trajectories for a in atoms if isinstance(a, StoredAtoms)]
    if len(stored) < len(atoms) or any(t.parts is not stored[0].parts for t in stored):
        return None
    if any((t.eta != stored[0].eta).any() or t.lengths is not stored[0].lengths for t in stored):
        return None
    few = stored[0].n_samples * stored[0].dim <= LARGE
    return None if few else stored[0]


def _side_by_side(
    trajectories: Trajectories,
    problems: Sequence[Problem],
    start: int,
    work: Callable[[int, Problem], _Answer],
) -> list[_Answer]:
    meeting = _Meeting(trajectories, len(problems))

    def one(position: int) -> _Answer:
        try:
            return work(start + position, _attending(problems[position], meeting))
        finally:
            meeting.leave()

    with ThreadPoolExecutor(len(problems)) as pool:
        return list(pool.map(one, range(len(problems))))


def cancellable(problem: Problem, between: Callable[[], None]) -> Problem:
    """The same problem, whose passes call `between` from time to time.

    It may raise CancelledError: a pursuit then ends with its best round so far, and anything else
    leaves at once. Only a store's atoms are passed over in parts; atoms in memory take no time.
    """

    def heard(atoms: Atoms) -> Atoms:
        if not isinstance(atoms, StoredAtoms):
            return atoms
        return replace(atoms, trajectories=replace(atoms.trajectories, between=between))

    return replace(problem, atoms=heard(problem.atoms), less_atoms=heard(problem.less_atoms))


def _attending(problem: Problem, meeting: "_Meeting") -> Problem:
    """The same problem, whose passes are those of the meeting."""
    atoms, less = problem.atoms, problem.less_atoms
    assert isinstance(atoms, StoredAtoms)
    assert isinstance(less, StoredAtoms)
    whole = meeting.trajectories
    shared = _Attended(whole.parts, whole.eta, lengths=whole.lengths, meeting=meeting)
    return replace(
        problem,
        atoms=replace(atoms, trajectories=shared),
        less_atoms=replace(less, trajectories=shared),
    )


def consecutive(trajectories: Trajectories, begin: int, end: int) -> Trajectories:
    """A view of consecutive rows, counted from `begin`; a shared pass over them stays shared."""
    starts = np.cumsum([0] + [len(rows) for rows in trajectories.parts[0]])
    cuts = [(max(begin - s, 0), max(end - s, 0)) for s in starts[:-1].tolist()]

    def cut(arrays: tuple[tuple[np.ndarray, ...], ...]) -> tuple[tuple[np.ndarray, ...], ...]:
        return tuple(
            tuple(rows[a:b] for rows, (a, b) in zip(parts, cuts, strict=True)) for parts in arrays
        )

    lengths = None if trajectories.lengths is None else cut(trajectories.lengths)
    view = replace(trajectories, parts=cut(trajectories.parts), lengths=lengths)
    if isinstance(view, _Attended):
        return replace(view, begin=view.begin + begin)
    return view


@dataclass(frozen=True)
class _Attended(Trajectories):
    """Trajectories whose passes are shared.

    Attributes:
        meeting: where passes are asked for.
        begin: which of the meeting's rows is the first of these.
    """

    meeting: "_Meeting | None" = None
    begin: int = 0

    def products(self, vectors: np.ndarray) -> np.ndarray:
        assert self.meeting is not None
        return self.meeting.products(vectors, self.begin, self.begin + self.n_samples)


class _Meeting:
    """Where those under way wait for each other."""

    def __init__(self, trajectories: Trajectories, n_members: int) -> None:
        self.trajectories = trajectories
        self._members = n_members
        self._all_here = Condition()
        self._asked: list[_Question] = []

    def products(self, vectors: np.ndarray, begin: int, end: int) -> np.ndarray:
        """<atom_i, vector_r> of rows begin to end, once everybody has asked or left."""
        question = _Question(np.asarray(vectors), begin, end)
        with self._all_here:
            self._asked.append(question)
            self._answer()
            self._all_here.wait_for(lambda: question.done)
        if question.error is not None:
            raise question.error
        assert question.answer is not None
        return question.answer

    def leave(self) -> None:
        """This member asks no more, whatever the reason."""
        with self._all_here:
            self._members -= 1
            self._answer()

    def _answer(self) -> None:
        """One pass over all rows asked for, if nobody is still to come. The lock is held."""
        if not self._asked or len(self._asked) < self._members:
            return
        asked, self._asked = self._asked, []
        try:
            begin, end = min(q.begin for q in asked), max(q.end for q in asked)
            rows = consecutive(self.trajectories, begin, end)
            found = rows.products(np.vstack([q.vectors for q in asked]))
            ends = np.cumsum([len(q.vectors) for q in asked])[:-1]
            for q, piece in zip(asked, np.split(found, ends, axis=1), strict=True):
                q.answer = np.ascontiguousarray(piece[q.begin - begin : q.end - begin])
        except BaseException as error:
            for question in asked:
                question.error = error
        for question in asked:
            question.done = True
        self._all_here.notify_all()


@dataclass
class _Question:
    vectors: np.ndarray
    begin: int
    end: int
    answer: np.ndarray | None = None
    error: BaseException | None = None
    done: bool = False
