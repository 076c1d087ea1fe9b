"""One group of duplicates: its members, what differs, and what may be done, by button and key."""

from typing import Any

import streamlit as st

from gtp_core.figures.duplicates import taken_figure
from gtp_core.neighbors import (
    Decision,
    Shown,
    brief,
    chain_words,
    diff_lines,
    ids_of,
    link_to,
    members,
    sample_of,
    taken_along,
    taken_sentence,
)
from gtp_core.report.standins import Weighed, members_judged
from pages import _address, _edits, _frame
from pages._view import View

_KEYS = {  # what may be done: its label, its key, the kind of edit, and what that means
    "make-keeper": ("Make keeper", "M", "keeper", "It stays, whatever the rule says."),
    "keep-both": ("Keep both", "B", "keeper", "This one and the one that stands for it stay."),
    "no-duplicate": (
        "Not a duplicate",
        "D",
        "split",
        "Neither stands for the other, at any threshold (a cannot-link).",
    ),
    "split-group": ("Split", "S", "split", "By complete link: until all members are alike."),
    "accept-group": ("Accept", "A", "keeper", "Who is kept stays, whatever the rule."),
    "exclude-group": ("Exclude group", "X", "ban", "Bans all its members, as one edit."),
}


def show(
    view: View,
    weighed: Weighed | str,
    decision: Decision,
    basis: str,
    supports: dict[str, Any],
    shown: Shown,
    place: int,
) -> None:
    """One group: its members beside the one that stays, and what a curator may do about it."""
    row = shown.table.row(place, named=True)
    cluster = row["cluster"]
    found = members(view.catalog, decision, basis, cluster)
    # A group that went for samples of other groups on another basis has its keeper outside.
    if not isinstance(weighed, str):
        found = members_judged(weighed, int(found["row"][0]), found)
    st.markdown(
        f"**Group of {row['size']:,}**, kept: {_frame.plain(row['keeper'])} "
        f"({_frame.plain(row['why'])}). "
        + _frame.plain(taken_sentence(decision.groups[basis], cluster, supports))
    )
    splits = False
    if row["chain"]:
        told, splits = chain_words(decision.groups[basis], cluster)
        st.warning(told, icon=":material/link:")
    _members(found)
    lines = {str(line["sample_id"]): line for line in found.to_dicts()}
    ids = list(lines)
    left, right = st.columns([2, 3])
    label = "A member beside the one that stands for it"
    picked = str(left.selectbox(label, ids[1:] or ids, key=f"member-{basis}-{ids[0]}"))
    other = sample_of(view.catalog, lines[picked]["beside"])
    with left:
        _actions(view, decision, basis, shown, place, picked, str(other["sample_id"]), splits)
    with right:
        _beside(lines[picked], other, [c.name for c in view.catalog.store.checkpoints])
    if (path := view.prepared()) is not None:
        along = taken_along(decision.groups[basis], cluster, path)
        budget = len(supports["GTP"])
        _frame.show(taken_figure(along, view.theme, budget=budget, size=row["size"]), "taken")


def _members(found: Any) -> None:
    number = st.column_config.NumberColumn
    _frame.table(
        brief(found),
        "members",
        height=220,
        column_config={
            "kept": st.column_config.TextColumn("goes for", help="Empty: it stays."),
            "score": number("score", format="%.3f"),
            "to_keeper": number("to keeper", format="%.3f", help="Exact, also below a threshold."),
            "by_checkpoint": st.column_config.BarChartColumn(
                "gradients by checkpoint",
                help="Cosine with the keeper's gradient, a bar for every checkpoint.",
                y_min=0.0,
                y_max=1.0,
                width="small",
            ),
            "weight": number("GTP weight", format="%.4f"),
            "swap": number(
                "if keeper",
                format="%+.5f",
                help="How much the weighted residual would rise with this one as keeper.",
            ),
            "n_tokens": number("tokens"),
        },
    )


def _beside(line: dict[str, Any], other: dict[str, Any], checkpoints: list[str]) -> None:
    """What differs between a member and the one that stands for it, and how alike they are."""
    cosines = ", ".join(
        f"{name} {value:.3f}" if value is not None and value == value else f"{name} not known"
        for name, value in zip(checkpoints, line["by_checkpoint"], strict=True)
    )
    st.caption(
        _frame.plain(
            f"{line['sample_id']} beside {other['sample_id']}: {line['to_keeper']:.3f}. "
            f"Gradients: {cosines}. Word by word, - only {other['sample_id']} has it, + only "
            f"{line['sample_id']}."
        )
    )
    one, two = (f"{of['prompt']}\n{of['completion']}" for of in (other, line))
    st.code(diff_lines(one, two), language="diff", wrap_lines=True, height=260)


def _actions(
    view: View,
    decision: Decision,
    basis: str,
    shown: Shown,
    place: int,
    picked: str,
    beside: str,
    splits: bool,
) -> None:
    """Buttons and keys: step through the groups, and say what is to become of this one."""
    row, firsts = shown.table.row(place, named=True), shown.table["first"].to_list()
    ids, kept = ids_of(view.catalog, decision, basis, row["cluster"])
    columns = st.columns(2)
    for column, label, key, there in (
        (columns[0], "Previous", "K", firsts[:place][-1:]),
        (columns[1], "Next", "J", firsts[place:][1:2]),
    ):
        column.button(
            label,
            key=f"group-{label}",
            shortcut=key,
            width="stretch",
            disabled=not there,
            on_click=_address.put,
            args=("group", *there),
        )
    two = [picked, beside] if picked != beside else []
    about = {
        "make-keeper": ([picked], ""),
        "keep-both": (two, ""),
        "no-duplicate": (two[:1], beside),
        "split-group": (ids[:1] if splits else [], ""),
        "accept-group": (kept if row["yours"] == "" else [], ""),
        "exclude-group": (ids if row["yours"] != "excluded" else [], ""),
    }
    for place, (name, (label, key, what, told)) in enumerate(_KEYS.items()):
        columns[place % 2].button(
            label,
            key=name,
            shortcut=key,
            width="stretch",
            help=told,
            disabled=not about[name][0],
            on_click=_edits.make,
            args=(view.catalog, what, *about[name]),
        )
    link, count = link_to(ids)
    st.page_link(
        st.session_state["_pages"]["samples"],
        label=f"{count:,} of its {row['size']:,} members in the table of samples",
        icon=":material/filter_alt:",
        query_params={"f": link},
    )
