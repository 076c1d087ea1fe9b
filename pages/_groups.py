"""Groups of duplicates: the figures, the table, and one group at a time with its keys."""

from typing import Any

import streamlit as st

from gtp_core.figures import Picture
from gtp_core.figures.duplicates import sizes_figure, threshold_figure
from gtp_core.neighbors import (
    WHICH,
    Decision,
    Groups,
    Neighbors,
    Shown,
    accepting,
    score_histogram,
    shown_groups,
    size_table,
    threshold_curve,
    threshold_steps,
)
from gtp_core.report.standins import Weighed, groups_judged
from pages import _address, _edits, _frame, _group, _keepers
from pages._view import View

Supports = dict[str, Any]


def threshold_picture(view: View, known: Neighbors, basis: str, threshold: float) -> Picture:
    """What a threshold on one basis would mean, beside others."""
    curve, histogram = _curve(known, basis, str(known.folder))
    measure = "cosine of trajectories" if basis == "gradient" else "Jaccard similarity"
    return threshold_figure(curve, histogram, view.theme, threshold=threshold, measure=measure)


@st.cache_resource(max_entries=8, show_spinner=False)
def _curve(_known: Neighbors, basis: str, folder: str) -> tuple[Any, Any]:
    likeness = _known.likenesses[basis]
    return threshold_curve(likeness), score_histogram(likeness)


def sizes(view: View, groups: Groups) -> None:
    """How many groups there are of every size; a click on one shows only these."""
    table = size_table(groups)
    picture = sizes_figure(table, view.theme)
    key = f"sizes-{st.session_state.setdefault('_sized', 0)}"
    st.plotly_chart(
        picture.figure,
        key=key,
        alt=picture.alt,
        config={"displaylogo": False, "displayModeBar": False},
        theme=None,
        on_select=lambda: _sized(key),
        selection_mode="points",
    )
    _address.seed("size", [0, *table["size"].to_list()], 0)
    counts = dict(table.rows())
    st.selectbox(
        "Groups of",
        [0, *counts],
        key="size",
        format_func=lambda size: f"{size:,} members ({counts[size]:,})" if size else "any size",
    )


def _sized(key: str) -> None:
    points = st.session_state[key]["selection"]["points"]
    if points:
        st.session_state["size"] = int(points[0]["x"])
        st.session_state["_sized"] += 1  # or the click would be sent again with every rerun


def headline(decision: Decision, table: Any, said: str) -> None:
    """How many go, that each has its keeper, and twins of text and gradient crossed."""
    gone = decision.dropped.height
    st.markdown(
        f"**{gone:,} of {decision.n_samples:,} samples go, "
        f"{decision.n_samples - gone:,} stay.** {_frame.plain(said)}"
    )
    names = {
        (True, True): "Twin text, twin gradient",
        (True, False): "Twin text only",
        (False, True): "Twin gradient only",
        (False, False): "Neither",
    }
    for place, row in zip(st.columns(4), table.to_dicts(), strict=True):
        place.metric(names[row["text"], row["gradient"]], f"{row['n']:,}", border=True)


def review(view: View, decision: Decision, basis: str, supports: Supports, key: str) -> None:
    """The table of groups, what may be done to many of them, and the one in focus."""
    weighed = _keepers.weighed(view)
    _bulk(view, decision, basis)
    words = {**WHICH, "taken": "taken more than once by GTP or top-k"}
    which = _frame.choice("Show", list(WHICH), "which", words=words)
    shown = _judged(view, weighed, decision, basis, supports, st.session_state["size"], which, key)
    count = decision.groups[basis].count
    st.caption(
        f"{shown.count:,} of {count:,} groups, those first of which most rows go. {shown.left_out}"
        "A chain holds members that are not alike themselves: of those, more than one may stay. "
        "Click a cell, or press J and K."
    )
    if isinstance(weighed, str):
        st.caption(_frame.plain(f"Verdicts and exchanges are not known: {weighed}"))
    if shown.table.is_empty():
        st.caption("No group is left of this kind.")
        return
    firsts = shown.table["first"].to_list()
    focus = _address.text("group")
    place = firsts.index(focus) if focus in firsts else 0
    _table(shown, basis, place, firsts)
    _group.show(view, weighed, decision, basis, supports, shown, place)


def _bulk(view: View, decision: Decision, basis: str) -> None:
    """Accept many groups as one edit: their keepers stay, whatever the rule."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        steps = threshold_steps(decision.groups[basis].likeness)
        _address.seed("accept", steps, min(steps, key=lambda step: abs(step - 0.98)))
        least = steps[0]
        if len(steps) > 1:
            label = "Accept all groups in which every pair is at least"
            least = float(st.select_slider(label, steps, key="accept"))
        count, rows = accepting(decision, basis, least)
        st.button(
            f"Accept {count:,} groups",
            key="accept-all",
            icon=":material/done_all:",
            disabled=not count,
            help="Their keepers become yours: they stay, whatever the rule. It is one edit.",
            on_click=_make,
            args=(view, "keeper", rows),
        )


def _make(view: View, what: str, rows: Any) -> None:
    _edits.make(view.catalog, what, view.catalog.texts(rows)["sample_id"].to_list())


@st.cache_resource(max_entries=32, show_spinner=False)
def _judged(
    _view: View,
    _weighed: Weighed | str,
    _decision: Decision,
    basis: str,
    _supports: Supports,
    size: int,
    which: str,
    key: str,
) -> Shown:
    shown = shown_groups(_view.catalog, _decision, basis, _supports, size=size, which=which)
    if isinstance(_weighed, str):
        return shown
    return groups_judged(_view.catalog, _weighed, _decision.groups[basis], shown)


def _table(shown: Shown, basis: str, place: int, firsts: list[str]) -> None:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    key = f"groups-{basis}-{st.session_state.setdefault('_clicked', 0)}"
    st.dataframe(
        shown.marked(place).to_arrow(),
        hide_index=True,
        key=key,
        on_select=lambda: _clicked(key, firsts),
        selection_mode="single-cell",
        height=300,
        alt="Groups of duplicates, those first of which most rows go",
        column_config={
            " ": text(width=30),
            "first": text("group", help="Its first member in the pool."),
            "lowest": number("least alike", format="%.3f"),
            "mean": number(
                "mean", format="%.3f", help="Of a chain: of the pairs that hold it together."
            ),
            "chain": st.column_config.CheckboxColumn("chain"),
            "dropped": number("go"),
            "on": text("on", help="For which likeness they go."),
            "kept": number("stay"),
            "why": text("why it is kept"),
            "swap": number(
                "if swapped",
                format="%+.5f",
                help="How much the weighted residual would rise if the best other member took the "
                "keeper's place, the other chosen samples staying. Empty: GTP took none of the "
                "group, so nothing would change, or too many groups stand before it.",
            ),
            "GTP": number("GTP took"),
            "top-k": number("top-k took"),
        },
    )


def _clicked(key: str, firsts: list[str]) -> None:
    cells = st.session_state[key]["selection"]["cells"]
    if cells and cells[0][0] < len(firsts):
        _address.put("group", firsts[cells[0][0]])
        st.session_state["_clicked"] += 1
