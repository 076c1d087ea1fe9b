"""Who changed what, and how is it taken back?"""

import streamlit as st

from gtp_core.catalog import Catalog, Filter, history, labels, saved_runs, spell_filters
from gtp_core.report import MARKS
from pages import _edits, _frame, _start

_start.require("activity")


@st.dialog("Delete saved runs")
def confirm(catalog: Catalog, runs: list[str]) -> None:
    """Ask before runs are forgotten: nothing brings them back but selecting again."""
    st.text("\n".join(runs))
    st.caption("Exports made from them keep their receipts, which rebuild them.")
    if st.button(f"Delete {len(runs):,}", type="primary", key="delete-confirmed"):
        for run in runs:
            catalog.delete_run(run)
        st.rerun()


with _frame.one_sentence():
    catalog = _frame.open_current()

left, right = st.columns([3, 1], vertical_alignment="bottom")
name = left.text_input(
    "Your name",
    value=_edits.who(),
    key="who",
    help="Edits are noted under it, and Undo takes back the newest of its edits.",
)
_edits.call_me(name)
_edits.undo_button(right, catalog)

st.subheader("Edits", anchor=False)
log = history(catalog)
picked = st.dataframe(
    log.to_arrow(),
    key=f"log-{catalog.revision()}",
    hide_index=True,
    on_select="rerun",
    selection_mode="multi-row",
    alt="The edit log, newest first",
)["selection"]["rows"]
if log.is_empty():
    st.caption("Nobody has pinned, banned or tagged a sample of this store yet.")
edits = log[picked].filter(state="in force")["edit"].to_list()
if st.button(f"Take back the selected ({len(edits):,})", key="undo-these", disabled=not edits):
    for edit in edits:
        catalog.edit("undo", who=_edits.who(), undoes=edit)
    st.rerun()

st.subheader("Marks and tags in force", anchor=False)
known = labels(catalog)
if known.is_empty():
    st.caption("None.")
with st.container(horizontal=True):
    for kind, value, n in known.rows():
        shown = MARKS.get(value, value) if kind == "mark" else value
        filters = spell_filters([Filter(kind, value)])
        _frame.link("samples", f"{shown[:60]} ({n:,})", f=filters, p="1")

st.subheader("Saved runs", anchor=False)
runs = saved_runs(catalog)
chosen = st.dataframe(
    runs.to_arrow(),
    key=f"runs-{runs.height}",
    hide_index=True,
    on_select="rerun",
    selection_mode="multi-row",
    alt="The saved runs, newest first",
)["selection"]["rows"]
if st.button(
    f"Delete the selected ({len(chosen):,})",
    key="delete",
    icon=":material/delete:",
    disabled=not chosen,
):
    confirm(catalog, runs[chosen]["run"].to_list())
