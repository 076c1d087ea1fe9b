"""A part of the Budget lab: a list of the visitor's own beside GTP and top-k."""

import streamlit as st

from gtp_core.pursuit import Selection
from gtp_core.report import beside, given, ids_of, save
from pages import _frame


def compare(view: _frame.View, selections: dict[str, Selection]) -> None:
    """Ask for a list, pasted or as a file, and show it beside the selections.

    Args:
        view: what is open.
        selections: by the name shown; `GTP` and `top-k`.
    """
    st.subheader("Compare a list of yours", anchor=False)
    left, right = st.columns(2)
    pasted = left.text_area(
        "Sample ids",
        key="ids",
        height=120,
        help="One id a line, JSON lines with sample_id, or a receipt.",
    )
    uploaded = right.file_uploader("or a file of them", key="ids-file", max_upload_size=50)
    content = uploaded.getvalue() if uploaded else pasted.encode("utf-8", "replace")
    if content.strip():
        with _frame.one_sentence():
            _show(view, selections, ids_of(content, "your file" if uploaded else "the list"))


def _show(view: _frame.View, selections: dict[str, Selection], ids: list[str]) -> None:
    listed = given(view.catalog, view.problem, ids)
    matches = {name: view.held_out(method) for name, method in (("GTP", "gtp"), ("top-k", "top-k"))}
    _frame.table(beside(view.problem, listed, selections, matches), "beside")
    st.caption(
        "All samples of your list count the same. Its match is with halves of the validation "
        "examples, and held out only if the list was made without looking at them."
    )
    if st.button("Save the list as a run", icon=":material/save:"):
        st.caption(
            _frame.plain(f"Saved as {save(view.catalog, view.problem, listed, None)['run']}.")
        )
