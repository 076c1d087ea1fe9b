"""What a visitor may set: the budget, and everything under Settings."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from gtp_core.atoms import Problem
from gtp_core.methods import Settings, prepare_subspace
from gtp_core.report import ALIKE, AUTO, path_budgets
from pages import _address
from pages._show import choice, plain

_DEFAULT_SHARE = 0.05
_DEFAULT_BUDGET = 200  # samples, where 5 % of the pool would be more

_ALL = "all"
_CAPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SUBSPACES = ("none", "pca:64", "pca:128", "pca:256")
_RIDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)


def budget_of(place: Any, problem: Problem, n_candidates: int) -> str:
    """The budget: a slider over the prepared ones, or any budget typed into the settings."""
    options = path_budgets(n_candidates, problem.atoms.dim)
    wanted = min(round(n_candidates * _DEFAULT_SHARE), _DEFAULT_BUDGET)
    nearest = min(options, key=lambda option: abs(option - wanted))
    _address.stay_near("budget", options)
    _address.seed("budget", options, nearest)
    exact = st.session_state["exact"].strip()
    slid = place.select_slider(
        "Budget (samples)",
        options,
        key="budget",
        format_func=lambda option: f"{option:,}",
        disabled=bool(exact),
        help="The most samples you will take. Type any other budget under Settings.",
    )
    return exact or str(slid)


def settings_of(place: Any, checkpoints: Sequence[str]) -> tuple[Settings, dict[str, Any], str]:
    """The settings, how the problem is posed, and who decides about the ridge.

    Args:
        place: where the button is drawn that opens them.
        checkpoints: names of the store's.
    """
    _address.seed("exact", None, "")
    _address.seed("ridge", _RIDGES, Settings.ridge)
    with place.popover("Settings", icon=":material/settings:", width="stretch"):
        st.text_input(
            "Exact budget",
            key="exact",
            placeholder="500, 5% or 200000tok",
            help="Takes the place of the slider: samples, percent of the pool, or tokens.",
        )
        auto = choice(
            "Ridge set",
            ["by you", ALIKE, AUTO],
            "auto",
            about="Alike: the least ridge whose choice is as alike as the validation examples are. "
            "Auto: the ridge of the best held-out match at this budget. Both take a while.",
        )
        ridge = st.select_slider(
            "Together or alone (ridge)",
            _RIDGES,
            key="ridge",
            disabled=auto != "by you",
            help="0 matches the target jointly; growing it ends at ranking each sample alone.",
        )
        direction = choice(
            "Common direction",
            ["removed", "kept"],
            "direction",
            about="What all samples share says nothing about which of them to choose.",
        )
        gradients = choice(
            "Gradients",
            ["unit", "raw"],
            "gradients",
            about="unit: only directions count, as in LESS. raw: their lengths too, as in TRAK.",
        )
        fill = choice(
            "When fewer samples explain the target",
            ["none", "influence"],
            "fill",
            about="none: take fewer. influence: top up with the best ranked of the rest.",
        )
        weights = choice(
            "Samples will be trained",
            ["non-negative", "uniform"],
            "trained",
            words={"non-negative": "with weights", "uniform": "without"},
            about="Without: samples are chosen so that their plain sum points as the target does.",
        )
        subtasks = choice(
            "Subtasks are matched",
            ["mean", "each"],
            "subtasks",
            words={"mean": "by their mean", "each": "one by one"},
            about="One by one: every subtask has weights of its own on the same samples.",
        )
        _address.seed("cap", _CAPS, 0)
        cap = st.selectbox(
            "At most per source",
            _CAPS,
            key="cap",
            format_func=lambda most: f"{most:,}" if most else "any number",
        )
        copies = choice(
            "Exact copies",
            ["any", "one"],
            "copies",
            words={"any": "any number", "one": "at most one"},
            about="Samples with the very same prompt and completion.",
        )
        factors = _factors(checkpoints)
        _address.seed("used", [*factors], _ALL)
        used = st.selectbox(
            "Checkpoints",
            [*factors],
            key="used",
            help="Whose gradients are compared. Weigh them with `select --checkpoint NAME=FACTOR`.",
        )
        _address.seed("subspace", _SUBSPACES, "none")
        subspace = st.selectbox(
            "Subspace",
            _SUBSPACES,
            key="subspace",
            help="Pursue in each checkpoint's principal directions; it ends in full dimension.",
        )
    posed: dict[str, Any] = {"common_direction": direction, "gradients": gradients}
    posed["caps"] = ({"source": int(cap)} if cap else {}) | (
        {"duplicate": 1} if copies == "one" else {}
    )
    posed["checkpoints"] = factors[used]
    chosen = replace(Settings(), ridge=float(ridge), fill=fill, weights=weights, subspace=subspace)
    return replace(chosen, subtasks=subtasks), posed, auto


def _factors(checkpoints: Sequence[str]) -> dict[str, dict[str, float]]:
    """Which checkpoints may be compared, in words, and the factors that say so."""
    found: dict[str, dict[str, float]] = {_ALL: {}}
    if len(checkpoints) > 1:
        for name in checkpoints:
            found[f"only {name}"] = {other: 0.0 for other in checkpoints if other != name}
    if len(checkpoints) > 2:
        found |= {f"without {name}": {name: 0.0} for name in checkpoints}
    return found


def fit_subspace(problem: Problem, settings: Settings) -> None:
    """Fit the subspace, with progress, when nobody did before."""
    if settings.subspace == "none":
        return
    place = st.empty()

    def report(done: int, total: int, what: str) -> None:
        place.progress(done / total, text=plain(what.capitalize()))

    prepare_subspace(problem, settings, report)
    place.empty()
