"""Would you merge these? Pairs near the threshold, asked one by one, and what follows from it."""

from typing import Any

import streamlit as st

from gtp_core.neighbors import (
    Groups,
    Likeness,
    answer_table,
    answers_of,
    brief_pairs,
    diff_lines,
    in_turn,
    nearest_below,
    pair_texts,
    pairs_near,
    step_below,
    suggested,
    suggestion_sentence,
)
from pages import _edits, _frame
from pages._view import View

_SIDES = {"above": "merged now", "below": "apart now"}


def ask(view: View, groups: Groups) -> None:
    """Pairs just above and below the threshold with yes and no, and the threshold that fits."""
    answers = answers_of(view.catalog)
    near = pairs_near(groups.likeness, groups.threshold, answered=answers)
    rows = in_turn(pair_texts(view.catalog, near), len(answers))
    st.caption(
        "Six pairs just above the threshold and six just below, drawn by chance. Answer one by "
        "one: yes, they are duplicates, or no. An answer counts on every basis."
    )
    _suggestion(groups, answers)
    if rows.is_empty():
        st.caption("No pair near this threshold is left to ask about.")
    else:
        _question(view, groups, rows)
        for side in ("above", "below"):
            st.caption(f"Just {side} {groups.threshold:g}")
            _frame.table(brief_pairs(rows, side), f"near-{side}")
    if answers:
        st.caption("What was answered, the newest first. Undo takes back the last one.")
        told = answer_table(view.catalog, groups.likeness, answers, groups.threshold)
        _frame.table(told.head(500), "answers")


def _suggestion(groups: Groups, answers: Any) -> None:
    """What the answers say about the threshold, and a button that follows them."""
    told = suggested(groups.likeness, answers, groups.threshold)
    left, right = st.columns([5, 2], vertical_alignment="center")
    left.markdown(f"**{_frame.plain(suggestion_sentence(told, answers))}**")
    if told is not None and told.agree > told.now:
        right.button(
            f"Take {told.threshold:g} as the threshold",
            key="take-threshold",
            type="primary",
            on_click=take,
            args=(groups.likeness, told.threshold),
        )


def take(likeness: Likeness, threshold: float) -> None:
    """Move the threshold of a basis."""
    st.session_state[f"at-{likeness.basis}"] = threshold


def _question(view: View, groups: Groups, rows: Any) -> None:
    """One pair, word by word, with its answers as buttons and keys."""
    labels = {
        f"{row['sample_id']} and {row['other_id']}: {row['score']:.3f}, {_SIDES[row['side']]}": row
        for row in rows.to_dicts()
    }
    left, right = st.columns([2, 3])
    # Another key with every answer: the first of those left is asked next.
    first = next(iter(labels))
    row = labels[str(left.selectbox("The pair", list(labels), key=f"pair-{first}"))]
    apart = left.toggle(
        "A no also keeps the two apart",
        key="no-is-apart",
        help="Neither will stand for the other, whatever the threshold (a cannot-link).",
    )
    yes, no = left.columns(2)
    for place, label, key, icon, what in (
        (yes, "Yes, merge", "Y", ":material/check:", "duplicate"),
        (no, "No", "N", ":material/close:", "split" if apart else "distinct"),
    ):
        place.button(
            label,
            key=f"answer-{key}",
            icon=icon,
            shortcut=key,
            width="stretch",
            on_click=_edits.make,
            args=(view.catalog, what, [row["sample_id"]], row["other_id"]),
        )
    with right:
        beside(row)


def beside(row: dict[str, Any]) -> None:
    """The two texts of a pair, word by word."""
    st.caption(
        f"What differs: - only {_frame.plain(row['sample_id'])} has it, "
        f"+ only {_frame.plain(row['other_id'])}."
    )
    lines = diff_lines(row["text"], row["other_text"])
    st.code(lines, language="diff", wrap_lines=True, height=220)


def none(view: View, groups: Groups) -> None:
    """Where a threshold leaves no group: the nearest pair, to look at and to lower it to."""
    nearest = nearest_below(groups.likeness, groups.threshold)
    if groups.likeness.basis == "text":
        st.caption("No two samples have the same prompt and completion, byte for byte.")
        return
    if nearest.is_empty():
        st.caption(
            f"No pairs above {groups.threshold:g}, and none from {groups.likeness.floor:g} on, "
            "where the list of pairs begins."
        )
        return
    score = nearest["score"][0]
    st.markdown(f"No pairs above {groups.threshold:g}; the nearest pair is at {score:.4f}.")
    lower = step_below(groups.likeness, score)
    with st.container(horizontal=True):
        seen = st.toggle("View it", key="view-nearest")
        if lower is not None:
            st.button(
                f"Lower the threshold to {lower:g}",
                key="lower",
                on_click=take,
                args=(groups.likeness, lower),
            )
    if seen:
        beside(pair_texts(view.catalog, nearest).row(0, named=True))
