"""What am I losing?"""

import streamlit as st

from gtp_core.figures.coverage import (
    lengths_figure,
    served_figure,
    source_topics_figure,
    topics_figure,
)
from gtp_core.report.coverage import (
    length_shares,
    served,
    served_sentence,
    source_topics,
    topic_shares,
)
from pages import _frame, _region, _start

_start.require("coverage")
view = _frame.header()

with _frame.one_sentence():
    gtp, topk = view.select("gtp"), view.select("top-k")
    supports = {"GTP": gtp.support, "top-k": topk.support}
    table = served(view.catalog, view.problem, {"GTP": gtp, "top-k": topk})

st.markdown(_frame.plain(served_sentence(table, "GTP")))
left, right = st.columns(2)
with left:
    _frame.show(served_figure(table, view.theme, names=list(supports)), "served")
with right:
    _frame.show(lengths_figure(length_shares(view.catalog, supports), view.theme), "lengths-chosen")
st.caption(
    "Worst served first. `best_sample` is the sample of the pool most like the example; where even "
    "that is weak, the pool has nothing to offer and more data is the remedy. Pick a row to go on."
)
_region.examples_table(table)

found = _region.ready(view.catalog, "trajectory")
chosen = _frame.choice("Coverage of", list(supports), "covers")
shares = topic_shares(found.topic, found.names, supports)
_frame.show(topics_figure(shares, view.theme, selection=chosen), "topics")
met = source_topics(view.catalog, found.topic, found.names, supports[chosen])
_frame.show(source_topics_figure(met, view.theme), "source-topics")
_region.topic_link(view, found, shares)
_region.source_link(met)
