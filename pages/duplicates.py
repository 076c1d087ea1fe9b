"""Which duplicates went, and for which keeper?"""

import streamlit as st

from gtp_core.export import ledger_bytes
from gtp_core.figures.duplicates import sizes_figure, use_figure
from gtp_core.neighbors import (
    BASES,
    cluster_use,
    counted,
    crossing,
    ledger,
    pair_texts,
    pairs_near,
    save_clusters,
    shown_groups,
    size_table,
    use_along,
    use_sentence,
)
from pages import _frame, _groups, _neighbors, _start

_start.require("duplicates")
view = _frame.header()
known = _neighbors.ready(view.catalog)

with _frame.one_sentence():
    decision = _groups.decided(view, known)
    supports = {"GTP": view.select("gtp").support, "top-k": view.select("top-k").support}
    path = view.path()

_groups.headline(decision, crossing(decision))
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
    _frame.show(sizes_figure(size_table(groups), view.theme), "sizes")

if basis != "text":
    with st.expander("Would you merge these? Pairs just above and just below the threshold"):
        near = pair_texts(view.catalog, pairs_near(known.likenesses[basis], groups.threshold))
        for side in ("above", "below"):
            st.caption(f"Just {side} {groups.threshold:g}")
            _frame.table(near.filter(side=side).drop("side"), f"near-{side}")

st.subheader("What the pursuit did by itself", anchor=False)
use = cluster_use(groups, supports)
st.markdown(_frame.plain(use_sentence(use)))
_frame.table(use, "use")
if path is not None:
    along = use_along(groups, path)
    _frame.show(use_figure(along, view.theme, budget=len(supports["GTP"])), "use-along")

st.subheader("Groups", anchor=False)
_groups.groups(view, decision, basis, shown_groups(view.catalog, decision, basis, supports))

st.subheader("Dropped, and for whom", anchor=False)
gone = ledger(view.catalog, decision)
_frame.table(gone.head(1000), "ledger")
left, right = st.columns(2)
if left.button("Save clusters and ledger", type="primary", icon=":material/save:", key="save"):
    save_clusters(view.catalog, decision)
    left.caption(
        "Saved as tables clusters and dropped. To leave the dropped out: "
        'select --where "sample\\_id NOT IN (SELECT sample\\_id FROM dropped)"; '
        "every export from the command line carries the ledger."
    )
right.download_button(
    "Download the ledger (Parquet)",
    data=ledger_bytes(gone),
    file_name="dropped.parquet",
    on_click="ignore",
    key="ledger-file",
)
