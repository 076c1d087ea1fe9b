"""What a visitor sees before the numbers are there: title, question, and the browser at work.

Nothing heavy is imported here. While the server imports the core, the browser already draws the
page's head and fetches the code that draws figures.
"""

import gc
from collections.abc import Mapping
from typing import Any

import streamlit as st

from pages import _address

NOTHING = {
    "data": [{"type": "scatter"}],
    "layout": {
        "height": 10,
        "width": 10,
        "margin": dict.fromkeys("tblr", 0),
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
    },
}


def enter(pages: Mapping[str, Any]) -> None:
    """Called once a run by app.py: remembers the pages and sends a first deep link on its way."""
    st.session_state["_pages"] = dict(pages)
    if goto := st.session_state.pop("_goto", None):
        st.switch_page(pages[goto[0]], query_params=goto[1])


def require(name: str) -> None:
    """First line of a page: on a first visit by deep link, run app.py before the page."""
    if "_pages" not in st.session_state:
        params = {key: st.query_params.get_all(key) for key in st.query_params}
        st.session_state["_goto"] = (name, params)
        st.switch_page("app.py")
    if (first := st.session_state.pop("_first", None)) is not None:
        first.empty()  # here, after the page's imports: a page that stops later could not
    _address.arrive(name)


def show(page: Any, question: str) -> None:
    """Run a page below its question.

    On the first run an empty figure of ten pixels comes first, so that the browser fetches what
    draws figures while the server imports the core, and not after (5.2 s became 3.5 s).
    """
    st.title(question, anchor=False)
    body = st.container()
    if "_warm" in st.session_state:
        with body:
            page.run()
        return
    gc.disable()  # it would look through everything that the imports make, again and again: 0.2 s
    first = st.session_state["_first"] = st.empty()
    try:
        first.plotly_chart(NOTHING, key="first", theme=None)
        with body:
            page.run()
    finally:
        gc.enable()
        st.session_state["_warm"] = True
