"""What is in this store, and can I trust it?"""

import streamlit as st

from gtp_core.catalog import TABLES
from gtp_core.figures import length_figure, norm_figure
from gtp_core.report import checks, length_bias, length_table, norm_table
from pages import _frame, _start

ICONS = {"ok": ":material/check:", "warning": ":material/warning:", "problem": ":material/close:"}

_start.require("home")

with st.form("open", border=False):
    left, right = st.columns([5, 1], vertical_alignment="bottom")
    path = left.text_input("Folder of a gradient store", value=_frame.store_path())
    opened = right.form_submit_button("Open", icon=":material/folder_open:", width="stretch")
if opened:
    _frame.open_store_at(path)
_frame.recent_stores()

with _frame.one_sentence():
    catalog = _frame.open_current()
    facts = _frame.facts(catalog)

left, right = st.columns([3, 2])
with left:
    st.subheader("Health", anchor=False)
    for check in checks(facts):
        st.markdown(f"{ICONS[check.level]} {_frame.plain(check.text)}")
    _frame.show(norm_figure(norm_table(catalog), _frame.theme()), "norms")
    bias = length_bias(catalog)
    _frame.show(length_figure(length_table(catalog), bias, _frame.theme()), "lengths")
with right:
    st.subheader("Passport", anchor=False)
    st.dataframe(_frame.passport(facts), hide_index=True, key="passport")
    st.subheader("Checkpoints", anchor=False)
    st.dataframe(facts["checkpoints"], hide_index=True, key="checkpoint-table")
    st.subheader("Sources", anchor=False)
    st.dataframe(facts["sources"], hide_index=True, key="source-table", height=240)

st.subheader("Ask the catalog", anchor=False)
with st.form("ask", border=False):
    sql = st.text_area("One SELECT statement", value=_frame.EXAMPLE_SQL, height=100)
    asked = st.form_submit_button("Run", icon=":material/play_arrow:")
with st.expander("Tables", icon=":material/schema:"):
    st.dataframe([{"table": k, "columns": v} for k, v in TABLES.items()], hide_index=True)
if asked:
    with _frame.one_sentence():
        _frame.table(catalog.ask(sql), "answer")
