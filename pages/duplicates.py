"""Which duplicates went, and for which keeper?"""

import streamlit as st

from gtp_core.export import ledger_bytes
from gtp_core.figures.duplicates import use_figure
from gtp_core.neighbors import (
    BASES,
    cluster_use,
    counted,
    crossing,
    guarantee_sentences,
    ledger,
    save_clusters,
    saved_sentence,
    use_along,
    use_sentence,
)
from pages import _edits, _frame, _groups, _keepers, _neighbors, _pairs, _start

_start.require("duplicates")
view = _frame.header(steady=True)
known = _neighbors.ready(view.catalog)

with _frame.one_sentence():
    decision, key = _keepers.decided(view, known)
    supports = {"GTP": view.select("gtp").support, "top-k": view.select("top-k").support}
    path = view.path()

if _edits.wait(view.catalog):
    said, button = st.columns([8, 3], vertical_alignment="center")
    said.caption("You pinned or banned samples; the selections here were made before that.")
    button.button("Choose again with these edits", key="again", on_click=_edits.choose_again)

_groups.headline(decision, crossing(decision), guarantee_sentences(decision))
_frame.table(counted(decision), "counted")

words = {"text": "exact text", "near-text": "near text", "gradient": "near gradient"}
about = " · ".join(f"{words[name]}: {text}" for name, text in BASES.items())
basis = _frame.choice(
    "Groups by", list(reversed(decision.groups)), "basis", words=words, about=about
)
groups = decision.groups[basis]
left, right = st.columns(2)
with left:
    if basis == "text":
        st.caption("Exact copies have no threshold: two texts are the same, or they are not.")
    else:
        picture = _groups.threshold_picture(view, known, basis, groups.threshold)
        _frame.show(picture, "threshold")
with right:
    _groups.sizes(view, groups)

if basis != "text":
    with st.expander(
        "Would you merge these? Pairs just above and just below the threshold",
        key="merge",
        on_change="rerun",
    ) as question:
        if question.open:
            _pairs.ask(view, groups)

st.subheader("What the pursuit did by itself", anchor=False)
use = cluster_use(groups, supports)
st.markdown(_frame.plain(use_sentence(use)))
_frame.table(use, "use")
if path is not None:
    along = use_along(groups, path)
    _frame.show(use_figure(along, view.theme, budget=len(supports["GTP"])), "use-along")

st.subheader("Groups", anchor=False)
if groups.count:
    _groups.review(view, decision, basis, supports, key)
else:
    _pairs.none(view, groups)

st.subheader("Dropped, and for whom", anchor=False)
gone = ledger(view.catalog, decision, most=1000)
st.caption(f"{decision.dropped.height:,} rows go; the first {gone.height:,} are shown.")
_frame.table(gone, "ledger")
left, right = st.columns(2)
if left.button("Save clusters and ledger", type="primary", icon=":material/save:", key="save"):
    save_clusters(view.catalog, decision)
left.caption(_frame.plain(saved_sentence(view.catalog, decision)))
left.caption(
    'To leave the dropped out: select --where "sample\\_id NOT IN (SELECT sample\\_id FROM '
    'dropped)"; every export carries the ledger.'
)
right.download_button(
    "Download the ledger (Parquet)",
    data=lambda: ledger_bytes(ledger(view.catalog, decision)),
    file_name="dropped.parquet",
    on_click="ignore",
    key="ledger-file",
)
