"""Parts of the page Why: finding the sample, its verdict, its texts, and what may be done to it."""

from typing import Any

import streamlit as st

from gtp_core.errors import CatalogError
from gtp_core.report import VERDICTS, Case, Judged, case, highlights, judge, nearest_ids, standing
from pages import _address, _edits, _frame, _start
from pages._view import key_of

ICONS = {
    "chosen": ":material/check_circle:",
    "pinned": ":material/star:",
    "duplicate": ":material/content_copy:",
    "pruned": ":material/content_cut:",
    "redundant": ":material/join_inner:",
    "misaligned": ":material/trending_down:",
    "excluded": ":material/block:",
    "invalid": ":material/error:",
}


def judged(view: _frame.View, method: str) -> Judged:
    """The open selection of a method, weighed; computed once."""
    view.select(method)  # of a large pool a job makes it, which nothing cached could wait for
    return _judged(view, *key_for(view, method))


def asked(view: _frame.View) -> str:
    """The id of the sample to look at; offers a few, and ends the page, while there is none."""
    _address.seed("id", None, "")
    sample_id = st.text_input(
        "Sample id", key="id", placeholder="Paste the id of a sample", max_chars=1000
    ).strip()
    if sample_id:
        return sample_id
    st.caption("Paste an id, or begin with one of these:")
    both = {name: view.select(name) for name in ("gtp", "top-k")}
    table = highlights(view.catalog, view.problem, both["gtp"], both["top-k"])
    for what, name, detail in table.rows():
        if name:
            label = _frame.plain(f"{what}: {name}, {detail}")
            st.button(label, key=f"go-{what}", type="tertiary", on_click=go, args=(name,))
    return _start.stop()


def go(sample_id: str) -> None:
    """Look at another sample."""
    st.session_state["id"] = sample_id


def found(view: _frame.View, known: Judged, sample_id: str) -> Case:
    """The sample, or one sentence with the ids that resemble what was asked for."""
    try:
        return case(view.catalog, known, sample_id)
    except CatalogError as error:
        st.error(_frame.plain(str(error)), icon=":material/error:")
        for near in nearest_ids(view.catalog, sample_id):
            st.button(_frame.plain(near), key=f"near-{near}", on_click=go, args=(near,))
        _start.stop()


def step(place: Any, label: str, sample_id: str | None, icon: str, shortcut: str) -> None:
    """A button to the sample before or after."""
    place.button(
        label,
        key=f"step-{label}",
        icon=icon,
        shortcut=shortcut,
        width="stretch",
        disabled=sample_id is None,
        on_click=go,
        args=(sample_id,),
    )


def texts(one: Case) -> None:
    """The whole sample, never interpreted."""
    st.caption(
        _frame.plain(
            f"{one.source or 'no source told'} · {one.n_tokens:,} tokens · row {one.row:,}"
        )
    )
    for role, text in (("Prompt", one.prompt), ("Completion", one.completion)):
        st.markdown(f"**{role}**")
        st.code(text, language=None, wrap_lines=True)


def edits(view: _frame.View, one: Case) -> None:
    """Pin, ban or release; the header's Undo takes it back."""
    marks = {"pin": view.edits.pins, "ban": view.edits.bans}
    mark = next((name for name, ids in marks.items() if one.sample_id in ids), None)
    pin, ban, free = st.columns(3)
    for place, what, label, icon, shortcut, off in (
        (pin, "pin", "Pin", ":material/star:", "P", mark == "pin" or one.verdict == "invalid"),
        (ban, "ban", "Ban", ":material/block:", "X", mark == "ban" or one.verdict == "invalid"),
        (free, "free", "Release", ":material/lock_open:", "F", mark is None),
    ):
        place.button(
            label,
            key=f"edit-{what}",
            icon=icon,
            shortcut=shortcut,
            disabled=off,
            width="stretch",
            on_click=_edits.make,
            args=(view.catalog, what, [one.sample_id]),
        )
    if _edits.wait(view.catalog):
        st.button(
            "Choose again with these edits",
            key="choose-again",
            type="primary",
            icon=":material/refresh:",
            width="stretch",
            on_click=_edits.choose_again,
        )


def badge(one: Case) -> None:
    """The verdict with its definition."""
    st.badge(one.verdict, icon=ICONS[one.verdict], help=VERDICTS[one.verdict])


def said(view: _frame.View, known: Judged) -> str:
    """Residual and held-out match of the selection that is looked into."""
    return standing(known, view.held_out(known.selection.method))


def key_for(view: _frame.View, method: str) -> tuple[str, str, str, Any]:
    return method, view.budget, key_of(view), view.settings


@st.cache_resource(max_entries=8, show_spinner="Weighing the chosen samples")
def _judged(_view: _frame.View, method: str, budget: str, key: str, settings: Any) -> Judged:
    return judge(_view.problem, _view.select(method))
