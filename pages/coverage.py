"""What am I losing?"""

import streamlit as st

from gtp_core.figures.coverage import served_figure, source_topics_figure, topics_figure
from gtp_core.report.coverage import served, served_sentence, source_topics, topic_shares
from pages import _asked, _browse, _frame, _neighbors, _start
from pages._listen import listen

_start.require("coverage")
view = _frame.header()

with _frame.one_sentence():
    gtp, topk = view.select("gtp"), view.select("top-k")
    supports = {"GTP": gtp.support, "top-k": topk.support}
    table = served(view.catalog, view.problem, {"GTP": gtp, "top-k": topk})

st.markdown(_frame.plain(served_sentence(table, "GTP")))
strip = st.container()
_frame.show(served_figure(table, view.theme, names=list(supports)), "served")
st.caption(
    "Worst served first. `best_sample` is the sample of the pool most like the example; where even "
    "that is weak, the pool has nothing to offer and more data is the remedy. A click on an "
    "example, or its row here, asks for what is like it."
)
_asked.example(table)

length, quality = _asked.measure(view, supports)

found = _neighbors.map_ready(view.catalog, "trajectory")
chosen = _frame.choice("Coverage of", list(supports), "covers")
shares = topic_shares(found.topic, found.names, supports)
_frame.show(topics_figure(shares, view.theme, selection=chosen), "topics")
met = source_topics(view.catalog, found.topic, found.names, supports[chosen])
_frame.show(source_topics_figure(met, view.theme), "source-topics")
st.caption("A click on a part of a figure asks for its samples; so do these:")
_asked.topic(view, found)
_asked.source(met)
_asked.range_of([length, quality])

listen(
    "coverage-mouse",
    {
        "served": _asked.clicked_example(table),
        "lengths-chosen": _asked.clicked_bin(*length),
        "quality-chosen": _asked.clicked_bin(*quality),
        "topics": _asked.clicked_topic(found),
        "source-topics": _asked.clicked_cell(met, found),
    },
)
with strip:
    _browse.strip()
