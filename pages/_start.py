"""What a visitor sees before the numbers are there: title, question, and the browser at work.

Nothing heavy is imported here. While the server imports the core, the browser already draws the
page's head and fetches the code that draws figures.
"""

import gc
from collections.abc import Mapping
from typing import Any, NoReturn

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
    _address.arrive(name)


def stop() -> NoReturn:
    """End a page before its end: what `st.stop` does, without leaving the empty figure behind."""
    _leave()
    st.stop()


def show(page: Any, question: str) -> None:
    """Run a page below its question.

    On the first run an empty figure and the header's kinds of widgets come first, in one pixel, so
    that the browser fetches what draws them while the server imports the core, and not after (5.2 s
    became 3.5 s with the figure, 3.1 became 2.9 s with the widgets).
    """
    st.title(question, anchor=False)
    body = st.container()
    st.session_state.pop("_first", None)  # of a run that was broken off: it is no longer there
    if "_warm" in st.session_state:
        with body:
            page.run()
        return
    gc.disable()  # it would look through everything that the imports make, again and again: 0.2 s
    first = st.session_state["_first"] = st.empty()
    try:
        with first.container(height=1, border=False):
            st.plotly_chart(NOTHING, key="first", theme=None)
            st.metric("-", "-")
            st.selectbox("-", ["-"], key="first-box")
            st.select_slider("-", [1, 2], key="first-slider")
        with body:
            page.run()
        _leave()
    except Exception:
        _leave()
        raise
    finally:
        gc.enable()
        st.session_state["_warm"] = True


def _leave() -> None:
    """Take the empty figure away, if this is the run that drew it."""
    if (first := st.session_state.pop("_first", None)) is not None:
        first.empty()
