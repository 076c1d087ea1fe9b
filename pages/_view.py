"""What is open, as pages see it, and the answers about it, each computed once."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NoReturn

import streamlit as st

from gtp_core.atoms import Problem, pose
from gtp_core.catalog import Catalog, Standing
from gtp_core.figures import Theme
from gtp_core.methods import Settings, parse_budget, samples_of
from gtp_core.pursuit import Selection
from gtp_core.report import (
    ALIKE,
    AUTO,
    HeldOut,
    Reliability,
    Tuned,
    as_alike,
    between,
    choice_file,
    choose,
    from_path,
    kept_tuned,
    path_key,
    path_words,
    prepare_path,
    run_document,
    saved_choice,
    saved_path,
    tuned,
)
from pages import _start
from pages._jobs import edit_words, instead, running, work
from pages._show import one_sentence, plain

_SMALL_POOL = 20_000  # samples up to which the budget path is computed without being asked for
_WAITED_FOR = 2e8  # numbers in all atoms: 200 samples of them take some 3 s; of more, a job chooses
_BOTH = ("gtp", "top-k")  # what every page shows


@dataclass(frozen=True)
class View:
    """What is open: everything a page needs to draw itself.

    Attributes:
        catalog: the open store.
        problem: the pool posed against the chosen task.
        settings: the curator's settings.
        budget: as the curator gave it: samples, percent or tokens.
        reliability: of the task's target.
        theme: light or dark.
        tuned: what `auto` chose of the settings, if anything was left to it.
        edits: the pins and bans that the problem honours.
    """

    catalog: Catalog
    problem: Problem
    settings: Settings
    budget: str
    reliability: Reliability | None
    theme: Theme
    tuned: Tuned | None = None
    edits: Standing = field(default_factory=Standing)

    @cached_property
    def key(self) -> str:
        """What a cached answer depends on besides budget, method and settings."""
        return f"{digest_of(self.catalog)}-{sorted(self.problem.settings.items(), key=str)}"

    @property
    def task(self) -> str:
        """The chosen task."""
        return self.problem.settings["task"]

    @property
    def large(self) -> bool:
        """Whether a selection takes so long that nobody can wait for it before a page."""
        return self.problem.atoms.n_samples * self.problem.atoms.dim > _WAITED_FOR

    def waits(self) -> bool:
        """Whether a job has to choose what every page shows before this one can show it."""
        return self.large and any(self._known(method) is None for method in _BOTH)

    def select(self, method: str) -> Selection:
        """What a method chooses at the current budget."""
        found, _ = self._known(method) or self._solved(method)
        return self.tuned.noted(found) if self.tuned and method == "gtp" else found

    def exactly(self, method: str) -> tuple[Selection, HeldOut | None]:
        """Both, solved even where an estimate is at hand: what is saved and exported."""
        found, held = self._prepared(method) or self._solved(method)
        if self.tuned and method == "gtp":
            return self.tuned.noted(found), self.tuned.held
        return found, held

    def held_out(self, method: str) -> HeldOut | None:
        """The held-out match of a method at the current budget."""
        if self.tuned and method == "gtp":
            return self.tuned.held
        return (self._known(method) or self._solved(method))[1]

    def solve(self) -> None:
        """From now on the answer at this budget is the exact one."""
        st.session_state.setdefault("_exact", set()).add((self.key, self.budget))

    def solve_beside(self) -> None:
        """A job that computes the exact answer, while the page shows the estimate."""
        _work(self, _BOTH, label="Compute exactly", aside=True)

    def _solved(self, method: str) -> tuple[Selection, HeldOut | None]:
        if self.large:
            _wait_for(self, _BOTH if method in _BOTH else (method,))
        return _chosen(self.problem, self.budget, method, self.settings, key_of(self))

    def _known(self, method: str) -> tuple[Selection, HeldOut | None] | None:
        """What needs no solving: a prepared budget or, in a large pool, one between two of them."""
        found = self._prepared(method)
        path = None if found else _saved_path(self)
        asked = (self.key, self.budget) in st.session_state.get("_exact", set())
        if path is None or asked or self.catalog.store.n_samples <= _SMALL_POOL:
            return found
        return between(path, self.problem, self.budget, method, self.settings)

    def _prepared(self, method: str) -> tuple[Selection, HeldOut | None] | None:
        path, found = _saved_path(self), None
        if path is not None:
            found = from_path(path, self.problem, self.budget, method, self.settings)
        return _choice(self, method) if found is None and self.large else found

    def run_id(self, selection: Selection, held: HeldOut | None) -> str:
        """The id under which a selection is saved; the same selection has the same id."""
        return run_document(self.catalog, self.problem, selection, held)["run"]

    def prepared(self) -> Any:
        """The budget path if it was prepared before, or None."""
        return _saved_path(self)

    def path(self) -> Any:
        """Residual and held-out match over all budgets, or None until it is prepared."""
        return _path(self)


def digest_of(catalog: Catalog) -> str:
    return f"{catalog.store.digest}-{catalog.workspace}"


def key_of(view: View) -> str:
    """What a cached answer depends on besides budget, method and settings."""
    return view.key


def problem_of(
    catalog: Catalog, task: str, posed: dict[str, Any], edits: Standing, digest: str
) -> Problem:
    """The pool posed against a task with the pins and bans in force; another edit, another one."""
    # A hundred thousand ids: one hash here is a hundred times as fast as Streamlit's.
    edited = hashlib.sha256(repr(edits).encode(errors="backslashreplace")).hexdigest()
    return _problem(catalog, task, posed, edits, edited, digest)


@st.cache_resource(max_entries=16, show_spinner="Reading the task")
def _problem(
    _catalog: Catalog, task: str, posed: dict[str, Any], _edits: Standing, edited: str, digest: str
) -> Problem:
    return pose(_catalog, task, pins=_edits.pins, bans=_edits.bans, **posed)


@st.cache_resource(max_entries=256, show_spinner="Choosing samples")
def _chosen(
    _problem: Problem, budget: str, method: str, settings: Settings, key: str
) -> tuple[Selection, HeldOut | None]:
    return choose(_problem, budget, method=method, settings=settings)


@st.cache_resource(max_entries=64, show_spinner="Choosing the ridge")
def tuned_at(_problem: Problem, budget: str, settings: Settings, rule: str, key: str) -> Tuned:
    by_rule = as_alike if rule == ALIKE else tuned
    return by_rule(_problem, budget, method="gtp", settings=settings)


def tuned_of(view: View, rule: str) -> Tuned:
    """The ridge that a rule chooses at the current budget; of a large pool a job finds it."""
    if not view.large:
        return tuned_at(view.problem, view.budget, view.settings, rule, key_of(view))
    found = kept_tuned(_file(view, rule).with_suffix(".json"))
    return found if found is not None else _wait_for(view, _BOTH, rule)


def _file(view: View, who: str) -> Path:
    """Where a choice is kept; the ridge that was set is none of a rule's concern."""
    ruled = who in (ALIKE, AUTO)
    settings = replace(view.settings, ridge=Settings.ridge) if ruled else view.settings
    return choice_file(view.catalog, view.problem, settings, view.budget, who)


def _choice(view: View, method: str) -> tuple[Selection, HeldOut | None] | None:
    """What a job chose at the current budget, kept in memory once it is there."""
    try:
        return _kept_choice(view, view.budget, method, view.settings, key_of(view))
    except _NotPreparedError:
        return None


@st.cache_resource(max_entries=64, show_spinner=False)
def _kept_choice(
    _view: View, budget: str, method: str, settings: Settings, key: str
) -> tuple[Selection, HeldOut | None]:
    found = saved_choice(_view.catalog, _view.problem, settings, budget, method)
    if found is None:
        raise _NotPreparedError
    return found


def _wait_for(view: View, methods: tuple[str, ...], rule: str = "") -> NoReturn:
    """How far the job is that makes what the page needs, or a button for it; and no more page."""
    with one_sentence():
        if parse_budget(view.budget)[1] != "tok":
            n_candidates = int(view.problem.atoms.candidates.sum())
            samples_of(view.budget, len(view.problem.tokens), n_candidates)
        whole = running(view.catalog, _path_job(view))
        busy = _work(view, methods, rule, label="Choose the samples", unasked=not whole)
        if not busy and not rule:
            if all(view._prepared(method) for method in methods):  # it has ended just now
                st.rerun()
            st.caption("Or all budgets of the slider in one go: it takes long, then all are there.")
            _work_path(view, aside=True)
    _start.stop()


def _work(view: View, methods: tuple[str, ...], rule: str = "", **how: Any) -> bool:
    """A job that chooses at the current budget; whether it is under way."""
    name = f"choose-{_file(view, rule or '+'.join(methods)).stem}"
    words = [*path_words(view.problem, view.settings), f"--budget={view.budget}"]
    words += [f"--ridge={rule}"] if rule else [f"--method={method}" for method in methods]
    words += edit_words(view.catalog, view.edits, name)
    what = f"The selection for a budget of {plain(view.budget)}"
    if running(view.catalog, name):
        st.markdown(
            f"**The samples are being chosen** among {view.catalog.store.n_samples:,}. All their "
            "gradients are read, which takes from seconds to minutes. You may leave this page or "
            "reload it meanwhile."
        )
    how |= {"name": name, "before": lambda: instead(view.catalog, name)}
    work(view.catalog, "path", words, what, **how)
    return running(view.catalog, name)


def _saved_path(view: View) -> Any:
    """The prepared path, kept in memory once it is there."""
    try:
        return _kept_path(view, key_of(view), view.settings)
    except _NotPreparedError:
        return None


class _NotPreparedError(Exception):
    """Raised so that the absence of a path is not cached."""


@st.cache_resource(max_entries=16, show_spinner=False)
def _kept_path(_view: View, key: str, settings: Settings) -> Any:
    path = saved_path(_view.catalog, _view.problem, settings)
    if path is None:
        raise _NotPreparedError
    return path


def _path(view: View) -> Any:
    known = _saved_path(view)
    if known is not None:
        return known
    # Auto may choose another ridge at every budget, and each would have a path of its own; so
    # would every edit.
    asked = view.tuned is not None or view.edits != Standing()
    if asked or view.catalog.store.n_samples > _SMALL_POOL:
        _work_path(view)
        return None
    bar = st.progress(0.0, text="Preparing the budget path")

    def report(done: int, total: int, what: str) -> None:
        bar.progress(done / total, text=f"Preparing the budget path: {plain(what)}")

    table = prepare_path(view.catalog, view.problem, view.settings, report)
    bar.empty()
    return table


def _path_job(view: View) -> str:
    return f"path-{path_key(view.catalog, view.problem, view.settings)}"


def _work_path(view: View, *, aside: bool = False) -> None:
    words = path_words(view.problem, view.settings)
    how: dict[str, Any] = {"name": _path_job(view), "label": "Prepare the budget path"}
    work(view.catalog, "path", words, "The budget path", aside=aside, **how)
