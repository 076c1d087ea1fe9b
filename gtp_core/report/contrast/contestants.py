"""Selections that are compared: of methods, saved runs and lists, all judged by one problem."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl

from gtp_core.atoms import DEFAULTS, Problem, together
from gtp_core.catalog import Catalog
from gtp_core.errors import RunError
from gtp_core.methods import METHODS, Settings, select
from gtp_core.pursuit import Round, Selection, Stop
from gtp_core.report.contrast.geometry import Likeness, Sums, least_left, likeness, sums
from gtp_core.report.given import GIVEN
from gtp_core.report.quality import HeldOut, combination, cosine
from gtp_core.report.verdicts import verdict_table

MOST_COMPARED = 4
_CHEAP = 2e7  # numbers in all atoms: 120,000 x 256 took 24 s on a busy machine, 4,000 x 1,024 six

_GEOMETRY = ("task", "common_direction", "gradients", "checkpoints", "subtask_weights")
_HALVES = ("n_splits", "split_seed")
_POOL = ("where", "pins", "bans", "caps")


@dataclass(frozen=True)
class Contestant:
    """One of the selections compared, with everything a comparison asks of it.

    Attributes:
        name: what it is called, different from all others of the comparison.
        selection: with residuals in the problem it is judged by.
        held: its held-out match there; None where it is not known.
        matches: (n_splits,) the match at every split, for its spread; None where not measured.
        verdicts: as `report.verdict_table` makes it, with `covered` and `gain` (null if unknown).
        sums: what it adds up to.
        likeness: how much its samples repeat each other.
        note: what must be known to read its numbers, in a sentence; empty where there is nothing.
    """

    name: str
    selection: Selection
    held: HeldOut | None
    matches: np.ndarray | None
    verdicts: pl.DataFrame
    sums: Sums
    likeness: Likeness
    note: str = ""

    @property
    def support(self) -> np.ndarray:
        """(n_selected,) chosen indices, strongest first."""
        return self.selection.support

    def __len__(self) -> int:
        return len(self.selection.support)


def contestant(
    catalog: Catalog,
    problem: Problem,
    selection: Selection,
    *,
    name: str,
    held: HeldOut | None = None,
    verdicts: pl.DataFrame | None = None,
    refit: bool | None = None,
    note: str = "",
) -> Contestant:
    """A selection that was made for this very problem, ready to be compared.

    Args:
        catalog: the open catalog.
        problem: what everyone is judged by.
        selection: by a method on this problem, or a list of `given`.
        name: what to call it.
        held: its held-out match, where it is known.
        verdicts: its table of verdicts, where it is known.
        refit: whether to fit it on every part of the validation examples once more, for the spread
            of its match over the splits; by default where that is cheap.
        note: what must be known to read its numbers.
    """
    matches = split_matches(problem, selection, refit=refit)
    table = verdict_table(catalog, problem, selection) if verdicts is None else verdicts
    return Contestant(
        name=name,
        selection=selection,
        held=held or (_held(problem, matches) if selection.method == GIVEN else None),
        matches=matches,
        verdicts=_complete(table),
        sums=sums(problem, selection.support, selection.weights),
        likeness=likeness(problem, selection.support),
        note=note,
    )


def from_run(
    catalog: Catalog,
    problem: Problem,
    run_id: str,
    *,
    name: str = "",
    refit: bool | None = None,
) -> Contestant:
    """A saved run, judged by this problem.

    A run that was made for another task or in another geometry keeps its samples and the ratios of
    its weights, which get the one factor that fits this target best; the note says so.

    Raises:
        RunError: no such run, or one of another store.
    """
    run, tables = catalog.read_run(run_id)
    if run.get("store_digest") != catalog.store.digest:
        raise RunError(
            f"run {run_id!r} was made on another store ({run.get('store_id')}); its samples are "
            "not these. Choose a run of this store."
        )
    try:
        saved, name = _saved(run, tables), name or run_id
    except (KeyError, TypeError, AttributeError, pl.exceptions.PolarsError):
        raise RunError(
            f"run {run_id!r} is damaged: something in its files is missing. Delete it and select "
            "again."
        ) from None
    if not _agree(run["settings"], problem, _GEOMETRY):
        return _stranger(catalog, problem, saved, name, refit)
    same_halves = _agree(run["settings"], problem, _HALVES)
    held = HeldOut(**run["held_out"]) if run["held_out"] and same_halves else None
    verdicts = tables["verdicts"]
    return contestant(catalog, problem, saved, name=name, held=held, verdicts=verdicts, refit=refit)


def with_spread(problem: Problem, one: Contestant, *, refit: bool | None = None) -> Contestant:
    """The same with its match at every split, if that was left out so far."""
    if one.matches is not None:
        return one
    return replace(one, matches=split_matches(problem, one.selection, refit=refit))


def split_matches(
    problem: Problem, selection: Selection, *, refit: bool | None = None
) -> np.ndarray | None:
    """The match at every split of the validation examples, (n_splits,).

    A method's selection is fitted anew on one part and matched with the other; a list, which
    nobody can fit anew, is matched as it is. None where nothing is held out, where the selection
    was made for another question or pool, and where fits are not cheap and not asked for.
    """
    if not problem.splits or len(selection.support) == 0:
        return None
    if selection.method == GIVEN:
        total = combination(problem, selection)
        return np.array([cosine(total, split.rest) for split in problem.held_out])
    if refit is None:
        refit = cheap_to_refit(problem)
    same = _agree(selection.settings, problem, (*_GEOMETRY, *_HALVES, *_POOL))
    if not (refit and same) or selection.method not in METHODS:
        return None
    known = {f.name for f in fields(Settings)} & set(selection.settings)
    settings = Settings(**{name: selection.settings[name] for name in known})
    budget, method = selection.settings["budget"], selection.method
    fitted = together(
        [part for part, _ in problem.parts],
        lambda _, part: select(part, budget, method=method, settings=settings),
        at_once=1,  # the rows of several large fits may not fit in memory together
    )
    pairs = zip(problem.parts, fitted, strict=True)
    return np.array([cosine(combination(part, found), rest) for (part, rest), found in pairs])


def cheap_to_refit(problem: Problem) -> bool:
    """Whether the spread over the splits is measured without being asked for."""
    return problem.atoms.n_samples * problem.atoms.dim <= _CHEAP


def named(names: Sequence[str]) -> list[str]:
    """The names, those that came before followed by a number, so that all differ."""
    found: list[str] = []
    for name in names:
        copies = sum(one == name for one in names[: len(found)])
        found.append(f"{name} ({copies + 1})" if copies else name)
    return found


def _stranger(
    catalog: Catalog, problem: Problem, saved: Selection, name: str, refit: bool | None
) -> Contestant:
    """A run that answered another question, judged by this one."""
    task, here = saved.settings["task"], problem.settings["task"]
    added = sums(problem, saved.support, saved.weights)
    factor, weighted = least_left(added.weighted, problem.target)
    judged = replace(
        saved,
        weights=saved.weights * factor,
        residual_weighted=weighted,
        residual_as_trained=least_left(added.plain, problem.target)[1],
    )
    # Where this very task was fitted to, in another geometry, its examples are not held out.
    unseen = task != here
    matches = None
    if unseen and problem.splits:
        matches = np.array([cosine(added.weighted, split.rest) for split in problem.held_out])
    about = f"task {task}" if unseen else "this task in another geometry"
    return Contestant(
        name=name,
        selection=judged,
        held=_held(problem, matches),
        matches=matches,
        verdicts=_complete(verdict_table(catalog, _without_pins(problem, saved), judged)),
        sums=replace(added, weighted=added.weighted * factor),
        likeness=likeness(problem, saved.support),
        note=f"{name} was chosen for {about}; here it is judged by {here}, its weights all times "
        "the one factor that fits this target best.",
    )


def _without_pins(problem: Problem, saved: Selection) -> Problem:
    """The problem with those pins alone that the selection has, so that no verdict is `pinned`
    for a sample it never took."""
    return replace(problem, pinned=problem.pinned[np.isin(problem.pinned, saved.support)])


def _saved(run: Mapping[str, Any], tables: Mapping[str, pl.DataFrame]) -> Selection:
    """A run's files as the selection they were made from."""
    chosen = tables["selection"].sort("rank")
    rounds = tables["rounds"].sort("round").drop("round")
    verdicts = tables["verdicts"]["verdict"]
    return Selection(
        method=run["method"],
        budget=run["n_selected"],
        support=chosen["row"].to_numpy().astype(np.int64),
        weights=chosen["weight"].to_numpy().astype(np.float64),
        n_filled=run["n_filled"],
        residual_weighted=run["residual_weighted"],
        residual_as_trained=run["residual_as_trained"],
        rounds=tuple(Round(**row) for row in rounds.to_dicts()),
        pruned=np.flatnonzero((verdicts == "pruned").to_numpy()),
        stop=Stop[run["stop"].upper()],
        settings=dict(run["settings"]),
    )


def _agree(settings: Mapping[str, Any], problem: Problem, names: Sequence[str]) -> bool:
    """Whether a run's settings say the same of these as the problem; silence is the default."""
    here = problem.settings
    return all(
        settings.get(name, DEFAULTS.get(name)) == here.get(name, DEFAULTS.get(name))
        for name in names
    )


def _held(problem: Problem, matches: np.ndarray | None) -> HeldOut | None:
    if matches is None:
        return None
    ceilings = [cosine(split.fit, split.rest) for split in problem.held_out]
    return HeldOut(float(matches.mean()), float(np.mean(ceilings)), len(matches))


def _complete(verdicts: pl.DataFrame) -> pl.DataFrame:
    """The table with `covered` and `gain`; null where a run was saved before there were any."""
    missing = [name for name in ("covered", "gain") if name not in verdicts.columns]
    return verdicts.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)
