"""The tabs of the page Why, each computed when it is opened."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from gtp_core.figures import (
    cosines_figure,
    covered_figure,
    examples_figure,
    sample_checkpoints_figure,
    subtasks_figure,
    timeline_figure,
    waterfall_figure,
)
from gtp_core.report import (
    Case,
    Examples,
    Forced,
    Judged,
    Solved,
    alike,
    by_subtask,
    contribution,
    covering,
    examples_of,
    forced,
    forced_sentence,
    gains_of_chosen,
    moved,
    neighbours,
    pulled,
    served,
    served_sentence,
    solved_again,
    solved_table,
    step_around,
    timeline,
    timeline_sentence,
    where_it_points,
    word_diff,
)
from pages import _frame
from pages._reasons import go, key_for
from pages._view import key_of

Tab = Callable[[_frame.View, Judged, Case], None]


def contribution_tab(view: _frame.View, known: Judged, one: Case) -> None:
    """What it adds, and its place by that among the chosen."""
    _frame.show(waterfall_figure(contribution(known, one), view.theme), "waterfall")
    st.caption(
        "Every step has the best non-negative weights at the run's ridge. "
        f"By gain it {'is' if one.place is not None else 'would be'} number {one.gain_rank:,} "
        f"beside the {len(known.gain):,} chosen."
    )
    with st.expander("The chosen by gain", key="by-gain", on_change="rerun") as shown:
        if shown.open:
            _frame.table(gains_of_chosen(view.catalog, known), "gains-of-chosen", height=300)


def checkpoints_tab(view: _frame.View, known: Judged, one: Case) -> None:
    """Where along the training it points towards the target."""
    table = where_it_points(view.catalog, known, one)
    _frame.show(sample_checkpoints_figure(table, view.theme), "sample-checkpoints")


def neighbours_tab(view: _frame.View, known: Judged, one: Case) -> None:
    """Who covers it, who is like it, and how its text differs from the nearest."""
    _frame.show(covered_figure(covering(one), one.chance, view.theme), "covered-by")
    near, cosines = neighbours(view.catalog, known, one)
    names = [one.sample_id, *near["sample_id"].to_list()]
    _frame.show(cosines_figure(names, cosines, view.theme), "cosines")
    st.caption("Cosines of whole trajectories in full dimension; no position on a map is used.")
    for name, cosine in near.select("sample_id", "cosine").rows():
        label = _frame.plain(f"{name} (cosine {cosine:.3f})")
        st.button(label, key=f"near-{name}", type="tertiary", on_click=go, args=(name,))
    if near.is_empty():
        return
    nearest = near["sample_id"][0]
    with st.expander("Word by word against the nearest", key="diff", on_change="rerun") as shown:
        if shown.open:
            _diff(view, one, nearest)


def _diff(view: _frame.View, one: Case, nearest: str) -> None:
    other = view.catalog.texts(view.catalog.rows_of([nearest])).row(0, named=True)
    for role, here, there in (
        ("Prompt", one.prompt, other["prompt"]),
        ("Completion", one.completion, other["completion"]),
    ):
        segments = word_diff(here, there)
        st.caption(f"{role}: {alike(segments):.0%} of the words are in both")
        _frame.table(segments, f"diff-{role}")
    st.caption(_frame.plain(f"here: {one.sample_id}; there: {nearest}. The first 600 words."))


def timeline_tab(view: _frame.View, known: Judged, one: Case) -> None:
    """Where along the budgets it enters, and who comes and goes between two of them."""
    path, method = view.path(), known.selection.method
    if path is not None:
        table = timeline(path, method, one.row)
        st.markdown(_frame.plain(timeline_sentence(table)))
        budget = len(known.selection.support)
        _frame.show(timeline_figure(table, budget, view.theme), "timeline")
        budgets = table["budget"].to_list()
        if len(budgets) > 1 and table.height:
            _moved(view, path, method, budgets, step_around(table, budget))
    if one.verdict == "pruned":
        st.caption("It entered the support in some round and was pruned in a later one.")
    st.caption(
        f"{len(known.selection.rounds):,} rounds. {known.selection.stop} Which samples were in "
        "after each round is not kept; the Budget lab draws how many entered and left."
    )


def _moved(
    view: _frame.View, path: Any, method: str, budgets: list[int], here: tuple[int, int]
) -> None:
    start, end = st.select_slider(
        "Who enters and who leaves between two budgets",
        budgets,
        value=here,
        key="between",
        format_func=lambda budget: f"{budget:,}",
    )
    if start == end:
        st.caption("Choose two different budgets.")
        return
    table = moved(view.catalog, view.problem, path, method, view.settings, (start, end))
    entered = table.filter(change="entered").height
    st.caption(f"From {start:,} to {end:,}: {entered:,} entered, {table.height - entered:,} left.")
    _frame.table(table, "moved", height=260)


def validation_tab(view: _frame.View, known: Judged, one: Case) -> None:
    """Which examples it pulls, which subtasks, and which examples nothing serves."""
    examples = _examples(view.catalog, view.problem, key_of(view))
    if not examples.rows.size:
        st.caption("The target is the pool's own mean: there are no validation examples.")
        return
    _frame.show(examples_figure(pulled(known, one, examples), view.theme), "pulled-examples")
    if 1 < len(examples.subtasks) == len(view.problem.columns):
        table = by_subtask(known, one, examples.subtasks)
        _frame.show(subtasks_figure(table, view.theme), "sample-subtasks")
    with st.expander(
        "Every example: how well the selection serves it", key="served", on_change="rerun"
    ) as shown:
        if shown.open:
            coverage = _served(known, examples, *key_for(view, known.selection.method))
            st.markdown(_frame.plain(served_sentence(coverage)))
            _frame.table(coverage, "served-table", height=300)


def forcing_tab(view: _frame.View, known: Judged, one: Case) -> None:
    """What forcing it in or out would do: quickly, and by solving again."""
    if one.verdict == "invalid":
        st.caption("It has no usable gradient, so it can neither be forced in nor be missed.")
        return
    key = key_for(view, known.selection.method)
    told = _forced(known, one.row, *key)
    st.markdown(_frame.plain(forced_sentence(view.catalog, known, told)))
    st.caption(
        "Approximate: all others stay chosen and only their weights are solved again. Solving the "
        "whole problem again is exact, and others may come and go."
    )
    out = one.place is not None
    if st.button(
        f"Solve again {'without it' if out else 'with it'}",
        key="solve-again",
        icon=":material/calculate:",
    ):
        st.session_state["_solved"] = (one.row, key)
    if st.session_state.get("_solved") == (one.row, key):
        with _frame.one_sentence():
            _solved_again(view, known, _solved(known, one.row, *key))


def _solved_again(view: _frame.View, known: Judged, told: Solved) -> None:
    old, new = known.selection, told.selection
    before, after = view.held_out(old.method), told.held
    left, right = st.columns(2)
    left.metric(
        "Residual, solved again",
        f"{new.residual_weighted:.4f}",
        delta=f"{new.residual_weighted - old.residual_weighted:+.4f}",
        delta_color="off",
        border=True,
    )
    right.metric(
        "Held-out match, solved again",
        f"{after.match:.3f}" if after else "not known",
        delta=f"{after.match - before.match:+.3f}" if after and before else None,
        delta_color="off",
        border=True,
    )
    st.caption(f"{len(told.entered):,} samples enter and {len(told.left):,} leave.")
    _frame.table(solved_table(view.catalog, known, told), "solved-again")


@st.cache_resource(max_entries=32, show_spinner=False)
def _forced(_known: Judged, row: int, method: str, budget: str, key: str, settings: Any) -> Forced:
    return forced(_known, row)


@st.cache_resource(max_entries=16, show_spinner="Solving again")
def _solved(_known: Judged, row: int, method: str, budget: str, key: str, settings: Any) -> Solved:
    return solved_again(_known, row, settings)


@st.cache_resource(max_entries=8, show_spinner="Reading the examples")
def _examples(_catalog: Any, _problem: Any, key: str) -> Examples:
    return examples_of(_catalog, _problem)


@st.cache_resource(max_entries=8, show_spinner="Looking through the pool for every example")
def _served(
    _known: Judged, _examples: Examples, method: str, budget: str, key: str, settings: Any
) -> Any:
    return served(_known, _examples)


TABS: dict[str, Tab] = {
    "Contribution": contribution_tab,
    "Checkpoints": checkpoints_tab,
    "Neighbours": neighbours_tab,
    "Timeline": timeline_tab,
    "Validation side": validation_tab,
    "If I…": forcing_tab,
}


def show(view: _frame.View, known: Judged, one: Case) -> None:
    """All tabs; only the one that is open is drawn."""
    places = st.tabs(list(TABS), key="tab", on_change="rerun")
    for place, draw in zip(places, TABS.values(), strict=True):
        if place.open:
            with place, _frame.one_sentence():
                draw(view, known, one)
