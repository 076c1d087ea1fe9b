"""Why was this sample chosen, or left out?"""

import streamlit as st

from gtp_core.report import because, beside_in, doubtful, glossary
from pages import _frame, _start, _why, _why_tabs

_start.require("why")
view = _frame.header(steady=True)

METHODS = {"gtp": "GTP", "top-k": "top-k"}
with _frame.one_sentence():
    left, right = st.columns([2, 5], vertical_alignment="bottom")
    method = _frame.choice("In the selection of", list(METHODS), "whose", words=METHODS, place=left)
    known = _why.judged(view, method)
    with right:
        sample_id = _why.asked(view)
    one = _why.found(view, known, sample_id)

_why.badge(one)
st.markdown(f"**{_frame.plain(because(known, one))}**")
st.caption(_frame.plain(_why.said(view, known)))
if text := doubtful(view.reliability):
    st.warning(_frame.plain(text), icon=":material/warning:")

text_side, number_side = st.columns([2, 3])
with text_side:
    before, after = st.columns(2)
    ids = beside_in(view.catalog, known, one)
    _why.step(before, "Previous", ids[0], ":material/arrow_upward:", "K")
    _why.step(after, "Next", ids[1], ":material/arrow_downward:", "J")
    _why.edits(view, one)
    _why.texts(one)
with number_side:
    _why_tabs.show(view, known, one)

with st.expander("Glossary", key="glossary", on_change="rerun") as words:
    if words.open:
        _frame.table(glossary(), "glossary-table")
