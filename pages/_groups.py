"""The parts of the Duplicates page: what is asked, its headline, and one group at a time."""

from typing import Any

import streamlit as st

from gtp_core.figures import Picture
from gtp_core.figures.duplicates import threshold_figure
from gtp_core.neighbors import (
    RULES,
    Decision,
    Neighbors,
    diff_lines,
    duplicates,
    guarantee,
    link_to,
    members,
    score_histogram,
    selection_scores,
    threshold_curve,
)
from pages import _address, _edits, _frame, _neighbors
from pages._view import View, key_of

_STEPS = {
    "near-text": [step / 100 for step in range(50, 101)],
    "gradient": [step / 200 for step in range(160, 201)],
}
_DROPS = {
    "any": ("text", "near-text", "gradient"),
    "texts": ("text", "near-text"),
    "gradient": ("gradient",),
}


def decided(view: View, known: Neighbors) -> Decision:
    """What the controls ask for, and the decision that follows."""
    first, second, third, last = st.columns([3, 3, 3, 2], vertical_alignment="bottom")
    words = {"any": "any likeness", "texts": "texts", "gradient": "gradients"}
    drops = _frame.choice("A sample goes for its", list(_DROPS), "drops", place=first, words=words)
    thresholds = {"text": 1.0}
    for basis, default, place, label in (
        ("near-text", 0.8, second, "Near text from (Jaccard)"),
        ("gradient", 0.95, third, "Near gradient from (cosine)"),
    ):
        floor = known.likenesses[basis].floor
        steps = [step for step in _STEPS[basis] if step >= floor - 1e-6]
        key = f"at-{basis}"
        _address.seed(key, steps, min(steps, key=lambda step: abs(step - default)))
        thresholds[basis] = float(place.select_slider(label, steps, key=key))
    _address.seed("keep", list(RULES), "weight")
    rule = last.selectbox(
        "Keep",
        list(RULES),
        key="keep",
        help=" · ".join(f"{name}: {text}" for name, text in RULES.items()),
    )
    sources: tuple[str, ...] = ()
    if rule == "source":
        sources = tuple(
            st.multiselect("Sources, best first", _sources(view), key="keep-sources")
        ) or (_sources(view)[0],)
    chains = st.toggle(
        "Split every chain",
        key="chains",
        help="A~B~C where C is not like A: take such groups apart until all members are alike.",
    )
    asked = tuple((basis, thresholds[basis]) for basis in _DROPS[drops])
    edits = _neighbors.edited(view.catalog)
    found: Decision = _decision(
        view, known, asked, rule, sources, chains, edits, key_of(view) + view.budget
    )
    return found


def _sources(view: View) -> list[str]:
    names = view.catalog.query("SELECT source FROM samples GROUP BY 1 ORDER BY count(*) DESC, 1")
    return [str(name) for name in names["source"]]


@st.cache_resource(max_entries=32, show_spinner="Deciding who is kept")
def _decision(
    _view: View,
    _known: Neighbors,
    asked: tuple[tuple[str, float], ...],
    rule: str,
    sources: tuple[str, ...],
    chains: bool,
    edits: tuple[Any, ...],
    key: str,
) -> Decision:
    gtp = _view.select("gtp")
    scores = selection_scores(_view.catalog, _view.problem, gtp, rule, sources)
    return duplicates(_view.catalog, _known, dict(asked), scores, rule=rule, chains=chains)


def threshold_picture(view: View, known: Neighbors, basis: str, threshold: float) -> Picture:
    """What a threshold on one basis would mean, beside others."""
    curve, histogram = _curve(known, basis, str(known.folder))
    measure = "cosine of trajectories" if basis == "gradient" else "Jaccard similarity"
    return threshold_figure(curve, histogram, view.theme, threshold=threshold, measure=measure)


@st.cache_resource(max_entries=8, show_spinner=False)
def _curve(_known: Neighbors, basis: str, folder: str) -> tuple[Any, Any]:
    likeness = _known.likenesses[basis]
    return threshold_curve(likeness), score_histogram(likeness)


def headline(decision: Decision, table: Any) -> None:
    """How many go, that each has its keeper, and twins of text and gradient crossed."""
    good, gone = guarantee(decision)
    stays = decision.n_samples - gone
    sign = "✓" if good == gone else "✗"
    st.markdown(
        f"**{gone:,} of {decision.n_samples:,} samples go, {stays:,} stay.** "
        f"{good:,} of {gone:,} have a kept sample that is as alike as asked {sign}"
    )
    names = {
        (True, True): "Twin text, twin gradient",
        (True, False): "Twin text only",
        (False, True): "Twin gradient only",
        (False, False): "Neither",
    }
    for place, row in zip(st.columns(4), table.to_dicts(), strict=True):
        place.metric(names[row["text"], row["gradient"]], f"{row['n']:,}", border=True)


def groups(view: View, decision: Decision, basis: str, table: Any) -> None:
    """The table of groups, and the one that is picked."""
    if table.is_empty():
        st.caption("No group at this threshold. Lower it to see the nearest pairs.")
        return
    count = decision.groups[basis].count
    st.caption(
        f"{table.height:,} of {count:,} groups, the largest first. A chain holds members that are "
        "not alike themselves: of those, more than one stays. Pick a row to see its members."
    )
    number = st.column_config.NumberColumn
    event = st.dataframe(
        table.to_arrow(),
        hide_index=True,
        key=f"groups-{basis}",
        on_select="rerun",
        selection_mode="single-row",
        height=280,
        column_config={
            "lowest": number("least alike", format="%.3f"),
            "highest": number("most alike", format="%.3f"),
            "chain": st.column_config.CheckboxColumn("chain"),
            "first": "first member",
        },
    )
    rows = event.selection.rows
    place = rows[0] if rows and rows[0] < table.height else 0
    _group(view, decision, basis, table.row(place, named=True))


def _group(view: View, decision: Decision, basis: str, row: dict[str, Any]) -> None:
    """One group: its members beside the one that stays, and what a curator may do about it."""
    found = members(view.catalog, decision, basis, row["cluster"])
    if row["chain"]:
        st.warning(
            "This is a chain: some of its members are less alike than the threshold.",
            icon=":material/link:",
        )
    _frame.table(found.drop("row"), "members", height=220)
    ids = [str(name) for name in found["sample_id"]]
    lines = {str(line["sample_id"]): line for line in found.to_dicts()}
    left, right = st.columns([2, 3])
    label = "A member beside the one that stands for it"
    picked = str(left.selectbox(label, ids[1:], key=f"member-{basis}"))
    stands = lines[picked]["kept"]
    beside = str(stands) if stands in lines else ids[0]
    keep, apart, split = left.columns(3)
    if keep.button("Make keeper", key="make-keeper", help="It stays, whatever the rule says."):
        _edits.make(view.catalog, "keeper", [picked])
        st.rerun()
    if apart.button("No duplicate", key="no-duplicate", help="Neither stands for the other."):
        _edits.make(view.catalog, "split", [picked], beside)
        st.rerun()
    if split.button("Split group", key="split-group", help="Until all members are alike."):
        _edits.make(view.catalog, "split", [ids[0]])
        st.rerun()
    link, count = link_to(ids)
    left.page_link(
        st.session_state["_pages"]["samples"],
        label=f"{count:,} of its {row['size']:,} members in the table of samples",
        icon=":material/filter_alt:",
        query_params={"f": link},
    )
    one, other = (f"{lines[x]['prompt']}\n{lines[x]['completion']}" for x in (beside, picked))
    right.caption(
        f"What differs, word by word: - only {_frame.plain(beside)} has it, "
        f"+ only {_frame.plain(picked)}."
    )
    right.code(diff_lines(one, other), language="diff", wrap_lines=True, height=220)
