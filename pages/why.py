"""Why was this sample chosen, or left out?"""

import streamlit as st

from gtp_core.report import because, beside_in, doubtful, glossary
from pages import _frame, _reasons, _reasons_tabs, _start

_start.require("why")
view = _frame.header(steady=True)

METHODS = {"gtp": "GTP", "top-k": "top-k"}
with _frame.one_sentence():
    left, right = st.columns([2, 5], vertical_alignment="bottom")
    method = _frame.choice("In the selection of", list(METHODS), "whose", words=METHODS, place=left)
    known = _reasons.judged(view, method)
    with right:
        sample_id = _reasons.asked(view)
    one = _reasons.found(view, known, sample_id)

_reasons.badge(one)
st.markdown(f"**{_frame.plain(because(known, one))}**")
st.caption(_frame.plain(_reasons.said(view, known)))
if text := doubtful(view.reliability):
    st.warning(_frame.plain(text), icon=":material/warning:")

text_side, number_side = st.columns([2, 3])
with text_side:
    before, after = st.columns(2)
    ids = beside_in(view.catalog, known, one)
    _reasons.step(before, "Previous", ids[0], ":material/arrow_upward:", "K")
    _reasons.step(after, "Next", ids[1], ":material/arrow_downward:", "J")
    _reasons.edits(view, one)
    _reasons.texts(one)
with number_side:
    _reasons_tabs.show(view, known, one)

with st.expander("Glossary", key="glossary", on_change="rerun") as words:
    if words.open:
        _frame.table(glossary(), "glossary-table")
