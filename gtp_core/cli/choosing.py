"""The command `select`: by a method, or a list that someone else chose."""

import argparse
import inspect
import re
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from gtp_core.atoms import POOL, Problem, pose
from gtp_core.catalog import Catalog, Standing
from gtp_core.cli.common import Answer, ids_in, open_store_of, report_progress, store_argument
from gtp_core.cli.interrupting import unless_interrupted, until_interrupted
from gtp_core.errors import GTPError, MethodError, TaskError
from gtp_core.methods import IN_SUBSPACES, METHODS, Settings, label, prepare_subspace, select
from gtp_core.pursuit import Round, Selection, Stop
from gtp_core.report import (
    ALIKE,
    AUTO,
    GIVEN,
    HeldOut,
    Tuned,
    as_alike,
    auto_sentence,
    choose,
    fill_sentence,
    given,
    read_ids,
    save,
    tuned,
)

_DIALS = {field.name: field.default for field in fields(Settings)}
_METHOD = "gtp"
_CHOSEN = ("ridge", "subspace")  # settings that may be `auto`
_DECIDES = ("budget", "method", *_DIALS, "where", "pin", "ban")
_DECIDES += ("cap_source", "cap_cluster", "one_per_duplicate")
"""Options that decide who is chosen: None unless told, so that a list can refuse them."""


def select_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of `select`: one per setting, and what the problem is."""
    store_argument(verb)
    methods = "; ".join(f"{name}: {label(name)}" for name in METHODS)
    verb.add_argument("--budget", help="500, 5%% or 200000tok; needed unless --ids is given")
    verb.add_argument("--method", help=f"{methods} (default: {_METHOD})")
    posing_arguments(verb)
    verb.add_argument(
        "--ids", metavar="FILE", help="save this list as a run to compare with, choosing nothing"
    )
    verb.add_argument("--name", help="what to call the list of --ids; part of the run's id")


def posing_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments that say what the problem is, and one per setting."""
    verb.add_argument(
        "--task",
        action="append",
        required=True,
        metavar="TASK",
        help="validation task to match; several: a,b or a=2,b=1 or --task a --task b; "
        f"{POOL}: the pool's own mean",
    )
    for name, default in _DIALS.items():
        verb.add_argument(f"--{name.replace('_', '-')}", **_dial(name, default))
    verb.add_argument(
        "--common-direction", help=f"removed or kept (default: removed; for {POOL} kept)"
    )
    verb.add_argument(
        "--gradients",
        default="unit",
        help="unit compares directions, as LESS does; raw keeps their lengths, as TRAK does",
    )
    for flag, number, text in (
        ("--checkpoint", "FACTOR", "multiply a checkpoint's step size; 0 leaves it out"),
        ("--subtask-weight", "WEIGHT", "weigh a subtask (or task/subtask); 0 leaves it out"),
    ):
        verb.add_argument(flag, action="append", metavar=f"NAME={number}", help=text)
    verb.add_argument("--where", metavar="SQL", help="only samples that meet this condition")
    verb.add_argument("--pin", metavar="FILE", help="sample ids that must be chosen, one a line")
    verb.add_argument("--ban", metavar="FILE", help="sample ids that must not be, one a line")
    verb.add_argument("--cap-source", type=int, metavar="N", help="at most N samples per source")
    verb.add_argument(
        "--cap-cluster", type=int, metavar="N", help="at most N per cluster of near-duplicates"
    )
    verb.add_argument(
        "--one-per-duplicate",
        action="store_true",
        default=None,
        help="at most one of samples with the same prompt and completion",
    )
    verb.add_argument(
        "--ignore-edits", action="store_true", help="leave pins and bans of the edit log aside"
    )


def _dial(name: str, default: Any) -> dict[str, Any]:
    """What argparse needs to know of a setting; its words are those of its docstring."""
    told = re.search(
        rf"^    {name}: (.+?)(?=\n    \S|\Z)", inspect.getdoc(Settings) or "", re.M | re.S
    )
    words = " ".join(told[1].split()).partition(". ")[0].rstrip(".") if told else ""
    known = f"default: {default}" + (f"; {AUTO}: by held-out match" if name in _CHOSEN else "")
    if name == "ridge":
        known += f"; {ALIKE}: the least whose choice is as alike as the validation examples are"
    text = f"{words} ({known})".replace("%", "%%")
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction, "default": None, "help": text}
    kind = number if name == "ridge" else type(default)
    return {"type": kind, "default": None, "metavar": name.upper(), "help": text}


def number(text: str) -> float | str:
    """A number, or who chooses it."""
    return text if text in (AUTO, ALIKE) else float(text)


def select_samples(options: argparse.Namespace) -> Answer:
    """Choose, or take the list that was given, and save the run."""
    _check(options)
    catalog = open_store_of(options)
    start = time.perf_counter()
    held: HeldOut | None = None
    if options.ids is None:
        problem, selection, held = _chosen(catalog, options)
    else:
        problem = _pose(catalog, options, n_splits=0)
        selection = given(catalog, problem, read_ids(options.ids), name=options.name)
    run = save(catalog, problem, selection, held)
    answer = {
        **run,
        "sample_ids": catalog.sample_ids().gather(selection.support).to_list(),
        "weights": selection.weights.tolist(),
        "seconds": round(time.perf_counter() - start, 3),
    }
    return answer, _lines(answer, selection)


def _check(options: argparse.Namespace) -> None:
    """Refuse options that cannot go together before the store is touched."""
    told = [name for name in _DECIDES if getattr(options, name) is not None]
    if options.ids is not None and told:
        flag = "--" + told[0].replace("_", "-")
        raise GTPError(
            f"--ids takes a list as it is, so {flag} has nothing to decide. Leave one of them out."
        )
    if options.ids is None and options.name is not None:
        raise GTPError("--name is for a list of --ids. Give the list, or leave the name out.")
    if options.ids is None and options.budget is None:
        raise GTPError(
            "the following arguments are required: --budget. "
            "See `python -m gtp_core select --help`."
        )


def _chosen(
    catalog: Catalog, options: argparse.Namespace
) -> tuple[Problem, Selection, HeldOut | None]:
    settings, auto = settings_of(options)
    problem = problem_of(catalog, options, settings)
    method = _METHOD if options.method is None else options.method
    if method == GIVEN:
        raise MethodError(f"method {GIVEN!r} is a list of yours. Give it with --ids FILE.")
    if method in IN_SUBSPACES:
        prepare_subspace(problem, settings, report_progress)
    if auto:
        return _tuned(problem, options, method)
    with until_interrupted(problem, _print_round) as (heard, told_round):
        selection, held = choose(
            heard, options.budget, method=method, settings=settings, on_round=told_round
        )
    return problem, selection, held


def settings_of(options: argparse.Namespace) -> tuple[Settings, tuple[str, ...]]:
    """The settings that were told, and the names of those that are left to `auto` or `alike`."""
    told = {name: getattr(options, name) for name in _DIALS}
    auto = tuple(name for name in _CHOSEN if told[name] in (AUTO, ALIKE))
    told.update(dict.fromkeys(auto))
    return Settings(**{name: value for name, value in told.items() if value is not None}), auto


def problem_of(catalog: Catalog, options: argparse.Namespace, settings: Settings) -> Problem:
    """The pool posed as the options of `posing_arguments` say."""
    standing = Standing() if options.ignore_edits else catalog.standing()
    caps = {
        "source": options.cap_source,
        "cluster": options.cap_cluster,
        "duplicate": 1 if options.one_per_duplicate else None,
    }
    return _pose(
        catalog,
        options,
        where=options.where,
        pins=[*ids_in(options.pin), *standing.pins],
        bans=[*ids_in(options.ban), *standing.bans],
        caps={name: most for name, most in caps.items() if most is not None},
        seed=settings.seed,
    )


def _tuned(
    problem: Problem, options: argparse.Namespace, method: str
) -> tuple[Problem, Selection, HeldOut | None]:
    """Settings by held-out match or likeness, and what they choose."""
    with unless_interrupted(problem, report_progress) as (heard, further, told_round):
        found = _compared(heard, options, method=method, progress=further, on_round=told_round)
    with until_interrupted(problem, _print_round) as (heard, told_round):
        selection = select(
            heard, options.budget, method=method, settings=found.settings, on_round=told_round
        )
    held = None if selection.stop is Stop.CANCELLED else found.held
    return problem, found.noted(selection), held


def _compared(problem: Problem, options: argparse.Namespace, **told: Any) -> Tuned:
    """What the rules that `options` name have found, one after the other."""
    settings, auto = settings_of(options)
    scores: dict[str, Mapping[str, float]] = {}
    if options.ridge == ALIKE:
        found = as_alike(problem, options.budget, settings=settings, **told)
        settings, scores = found.settings, dict(found.scores)
        auto = tuple(name for name in auto if name != "ridge")
    if auto:
        found = tuned(problem, options.budget, settings=settings, auto=auto, **told)
    return replace(found, scores=scores | dict(found.scores))


def _pose(catalog: Catalog, options: argparse.Namespace, **rest: Any) -> Problem:
    return pose(
        catalog,
        ",".join(options.task),
        common_direction=options.common_direction,
        gradients=options.gradients,
        checkpoints=_numbers("--checkpoint", options.checkpoint),
        subtask_weights=_numbers("--subtask-weight", options.subtask_weight),
        **rest,
    )


def _numbers(flag: str, told: Sequence[str] | None) -> dict[str, float]:
    """`NAME=NUMBER` as told, by name; the last equals sign counts, for names may hold others."""
    found: dict[str, float] = {}
    for text in told or ():
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = None
        if not name or value is None:
            raise TaskError(f"{flag} {text!r} is not NAME=NUMBER. Write one like {flag} name=2.")
        if name in found:
            raise TaskError(f"{flag} {name!r} is told twice. Tell it once.")
        found[name] = value
    return found


def _lines(answer: dict[str, Any], selection: Selection) -> list[str]:
    is_given = selection.method == GIVEN
    settings = answer["settings"]
    residuals = (
        f"residual {answer['residual_weighted']:.4f} weighted, "
        f"{answer['residual_as_trained']:.4f} as trained"
    )
    lines = [f"run {answer['run']}"]
    if POOL in settings["task"]:
        lines.append(f"common direction {settings['common_direction']}: {POOL} lies along it")
    if is_given:
        lines += [f"{answer['n_selected']:,} samples as listed", residuals]
        lines.append("held-out match not known: nobody says what the list was fitted to")
        return [*lines, f"saved in {answer['seconds']:.2f} s"]
    lines += [
        f"chosen {answer['n_selected']:,} of budget {answer['budget']} "
        f"({answer['n_filled']:,} filled)",
        residuals,
        f"held-out match {_match(answer['held_out'], answer['stop'])}",
    ]
    if "groups" in settings:
        lines.append(fill_sentence(selection))
    if AUTO in settings:
        lines.append(auto_sentence(settings[AUTO], settings))
    return [*lines, f"{selection.stop} ({answer['seconds']:.2f} s)"]


def _match(held: dict[str, Any] | None, stop: str) -> str:
    if not held and stop == Stop.CANCELLED.name.lower():
        return "not known: cancelled"
    if not held:
        return "not known: the task has fewer than two examples"
    return f"{held['match']:.3f} of a ceiling of {held['ceiling']:.3f} over {held['splits']} fits"


def _print_round(round_: Round) -> None:
    if sys.stderr.isatty():
        print(f"residual {round_.residual:.4f}", file=sys.stderr)
