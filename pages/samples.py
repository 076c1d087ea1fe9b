"""Which samples are in the pool, and what became of each?"""

import streamlit as st

from gtp_core.export import table_csv
from pages import _browse, _edits, _frame, _review, _start

_start.require("samples")
view = _frame.header(steady=True)

if _edits.wait(view.catalog):
    st.button(
        "Choose again with these edits",
        key="again",
        shortcut="Mod+Enter",
        type="primary",
        icon=":material/refresh:",
        on_click=_edits.choose_again,
    )

_browse.search()
known, order = _browse.choose(view)
left, right = st.columns([9, 2], vertical_alignment="bottom")
with left.container(horizontal=True, vertical_alignment="center"):
    number = st.empty()
    _browse.pills(known)
with _frame.one_sentence():
    found = _browse.found(view, known, order)
number.markdown(f"**{len(found):,}** of {view.catalog.store.n_samples:,} samples", width="content")
right.download_button(
    "Ids as CSV",
    data=lambda: table_csv(found.listed()),
    file_name="working-set.csv",
    mime="text/csv",
    icon=":material/download:",
    on_click="ignore",
    width="stretch",
    key="ids-csv",
)

place = st.container()
left, right = st.columns([3, 2])
with left:
    selected = _review.table(view, found)
with place:
    _review.actions(view, found, selected)
with right:
    _review.detail(view, found.current)
