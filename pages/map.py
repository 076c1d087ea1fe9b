"""Where in the pool do the choices lie?"""

import streamlit as st

from gtp_core.figures import Picture
from gtp_core.figures.map import map_figure, topic_labels
from gtp_core.neighbors import MAP_WORD, density, map_sources, panels_of, topics_covered
from pages import _browse, _frame, _neighbors, _region, _start

_start.require("map")
view = _frame.header()

with _frame.one_sentence():
    words = {name: MAP_WORD.get(name, _frame.plain(name)) for name in map_sources(view.catalog)}
    source = _frame.choice("Map of", list(words), "map", words=words, about=_region.ABOUT)
    found = _neighbors.map_ready(view.catalog, source)
    gtp, topk = view.select("gtp"), view.select("top-k")

left, middle, right = st.columns([2, 2, 3], vertical_alignment="bottom")
side = _frame.choice("Panels", ["two", "one"], "panels", place=left, words=_region.PANELS)
examples = middle.toggle("Validation examples", key="examples")
region = _region.current(source)
points = _region.raw(found, region, right)
panels = panels_of(gtp.support, topk.support, together=side == "one")
places, named = _region.examples(view, found) if examples else (None, ())
key = f"{source}-{side}-{examples}-{points is None}-{view.theme}-{_region.said(view)}"

drawn = _region.to_draw(region, key)


def picture() -> Picture:
    """The figure of what is open."""
    together = list(panels["GTP and top-k"].values()) if side == "one" else ()
    return map_figure(
        density(found, together),
        topics_covered(found, {"GTP": gtp.support, "top-k": topk.support}),
        found.xy,
        panels,
        topic_labels(found.xy, found.topic, found.names),
        view.theme,
        words=_region.words(view, panels),
        examples=places,
        example_words=named,
        region=drawn,
        raw=points,
    )


_region.draw(_region.pictured(picture, key, drawn), key, source)
st.caption(
    "The map is for browsing: near on it is not always near in truth. Reasons come from "
    "full-dimension gradients. A denser grey means more samples; the signs are chosen ones: point "
    "at one to see which (up to six hundred of each kind say how their text begins), draw a lasso "
    "or a box to see what is special about a region."
)
_browse.strip()
if region is not None:
    st.button("Clear region", icon=":material/close:", key="clear-region", on_click=_region.clear)
    _region.card(view, found, region, {"GTP": gtp, "top-k": topk})
else:
    _region.expect(view, found)
