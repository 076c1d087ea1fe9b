"""The map's parts: the region that is marked, what is special in it, and what is done with it."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from gtp_core.catalog import Filter, spell_filters
from gtp_core.figures import Picture
from gtp_core.neighbors import (
    Map,
    columns,
    inside,
    place_examples,
    region_counts,
    region_of,
    region_texts,
    special,
    task_cosines,
    weights_of,
)
from gtp_core.report.points import point_words
from pages import _address, _browse, _edits, _frame
from pages._listen import listen
from pages._view import View, key_of

ABOUT = (
    "Trajectory: gradients of all checkpoints. A checkpoint: its gradients alone. Text: the words."
)
PANELS = {"two": "GTP beside top-k", "one": "one, four classes"}
BASKET = "basket"
_MOST_RAW = 20_000  # samples of a region that are drawn as points
_BUTTONS = [
    ["lasso2d", "select2d", "pan2d", "zoom2d"],
    ["zoomIn2d", "zoomOut2d", "resetScale2d", "toImage"],
]


def current(source: str) -> Any:
    """The region that is marked on this map, from the address; None without one."""
    polygon, marked_on = region_of(_address.text("region"))
    return polygon if marked_on == source else None


def said(view: View) -> str:
    """Which selections the map shows."""
    return f"{key_of(view)}-{view.budget}-{view.settings}"


def clear() -> None:
    """Take the mark away, and the lasso that the browser still shows."""
    _address.put("region", "", forget=("raw",))
    st.session_state["_drawn"] = st.session_state.get("_drawn", 0) + 1


def to_draw(region: Any, figure: str) -> Any:
    """The region as the figure is to draw it: not while the browser shows the lasso itself.

    So the figure stays as it is when a lasso is drawn, and nothing of it is sent again. Another
    figure has forgotten the lasso.
    """
    drawn = st.session_state.get("_marked") == (_address.text("region"), figure)
    return None if drawn else region


def pictured(make: Callable[[], Picture], figure: str, drawn: Any) -> Picture:
    """The figure, made once for the same view, the same region drawn and the same points."""
    marked = _address.text("region") if drawn is not None or st.session_state.get("raw") else ""
    return _picture(make, f"{figure}-{marked}-{drawn is None}")


@st.cache_resource(max_entries=8, show_spinner=False)
def _picture(_make: Callable[[], Picture], key: str) -> Picture:
    return _make()


def draw(picture: Picture, figure: str, source: str) -> None:
    """The figure; a lasso or box becomes the region. Only its corners come from the browser."""
    key = f"map-figure-{st.session_state.get('_drawn', 0)}"

    def marked(kind: str, what: str) -> None:
        if kind != "region":
            return
        text = f"{what}:{source}" if what else ""
        _address.put("region", text, forget=("raw",))
        st.session_state["_marked"] = (text, figure)

    st.plotly_chart(
        picture.figure,
        key=key,
        alt=picture.alt,
        config={"displaylogo": False, "scrollZoom": True, "modeBarButtons": _BUTTONS},
        theme=None,
    )
    listen("map-mouse", {key: marked})


def examples(view: View, found: Map) -> Any:
    """Where the task's validation examples lie, amid the samples most like them, and their ids."""
    return _examples(view, found, f"{found.source}-{key_of(view)}")


@st.cache_resource(max_entries=8, show_spinner="Placing the validation examples")
def _examples(_view: View, _found: Map, key: str) -> Any:
    table = _view.catalog.store.examples(_view.task)
    said = [f"{name}\nvalidation example" for name in table["example_id"]]
    return place_examples(_found, task_cosines(_view.catalog, _view.task)), said


def words(view: View, panels: Any) -> Any:
    """What is said of the chosen samples under the mouse."""
    rows = [rows for classes in panels.values() for rows in classes.values()]
    return _words(view, rows, said(view))


@st.cache_resource(max_entries=8, show_spinner=False)
def _words(_view: View, _rows: Any, key: str) -> Any:
    return point_words(_view.catalog, _view.problem, _view.select("gtp"), _rows)


@st.cache_resource(max_entries=8, show_spinner=False)
def _columns(_view: View, _found: Map, key: str) -> Any:
    return columns(_view.catalog, _found, _view.problem.influence)


def expect(view: View, found: Map) -> None:
    """Have ready what the first region will be compared with."""
    _columns(view, found, f"{found.source}-{key_of(view)}")


def raw(found: Map, region: Any, place: Any) -> Any:
    """Rows of the region that are to be drawn one by one, if that is asked for; else None."""
    if region is None:
        return None
    rows = inside(found, region)
    if not 0 < len(rows) <= _MOST_RAW:
        return None
    return rows if place.toggle(f"Show its {len(rows):,} points", key="raw") else None


def card(view: View, found: Map, region: Any, selections: dict[str, Any]) -> None:
    """What a region holds and what is special about it, and what can be done with it."""
    rows = inside(found, region)
    if not len(rows):
        st.info("No sample lies in this region.")
        return
    supports = {name: selection.support for name, selection in selections.items()}
    st.subheader(f"Region of {len(rows):,} samples", anchor=False)
    left, right = st.columns(2)
    with left:
        _frame.table(region_counts(found, rows, supports), "region-counts")
        _actions(view, rows, selections["GTP"].budget)
    with right:
        table = _columns(view, found, f"{found.source}-{key_of(view)}")
        st.markdown("What is special about it, most first:")
        for sentence in special(table, rows)["sentence"]:
            st.text(sentence)
    texts = region_texts(view.catalog, rows, weights_of(view.problem, selections["GTP"]))
    _frame.table(texts, "region-texts", height=320)


def _actions(view: View, rows: Any, budget: int) -> None:
    """Edits of the whole region, and the region as a filter."""
    too_many = len(rows) > budget  # pins that no budget holds would leave nothing to show
    name = st.text_input("Tag", value="region", key="region-tag", max_chars=80)
    asked = {
        "tag": ("Tag all", ":material/label:", "tag", name),
        "pin": ("Pin all", ":material/push_pin:", "pin", ""),
        "ban": ("Ban all", ":material/block:", "ban", ""),
        "basket": ("Basket", ":material/shopping_basket:", "tag", BASKET),
    }
    with st.container(horizontal=True):
        for key, (label, icon, what, value) in asked.items():
            st.button(
                label,
                icon=icon,
                key=f"region-do-{key}",
                disabled=(what == "tag" and not value) or (what == "pin" and too_many),
                help=f"Of at most {budget:,} samples, the budget." if what == "pin" else None,
                on_click=_edit,
                args=(view, rows, what, value),
            )
        st.button(
            "Filter to region",
            icon=":material/filter_alt:",
            key="region-filter",
            on_click=_browse.only,
            args=("region", _address.text("region")),
            help="Adds it to the filters of Samples.",
        )
    here = spell_filters([Filter("region", _address.text("region"))])
    _frame.link("samples", "These alone in the table of samples", f=here, p="1")
    if BASKET in view.catalog.tags():
        basket = spell_filters([Filter("tag", BASKET)])
        _frame.link("samples", "The basket: its samples, and their ids as CSV", f=basket, p="1")


def _edit(view: View, rows: Any, what: str, value: str) -> None:
    ids = view.catalog.sample_ids().gather(rows).to_list()
    _edits.make(view.catalog, what, ids, value)
