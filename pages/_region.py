"""The map's parts: the map made by a job, the region that is marked, and what is special in it."""

from typing import Any

import streamlit as st

from gtp_core.catalog import Catalog
from gtp_core.figures import Picture
from gtp_core.neighbors import (
    Map,
    columns,
    corners_of,
    inside,
    link_by,
    link_to,
    place_examples,
    read_region,
    region_counts,
    region_texts,
    rows_of_topic,
    saved_map,
    special,
    task_cosines,
    weights_of,
)
from pages import _address, _edits, _frame, _jobs, _start
from pages._view import View, digest_of, key_of

ABOUT = (
    "Trajectory: gradients of all checkpoints. A checkpoint: its gradients alone. Text: the words."
)
PANELS = {"two": "GTP beside top-k", "one": "one, four classes"}
_SMALL_POOL = 20_000


def ready(catalog: Catalog, source: str) -> Map:
    """The map of the open store. Without one: a button, or how far it is, and no more page."""
    found = _of(catalog, source)
    if found is None:
        small = catalog.store.n_samples <= _SMALL_POOL and source == "trajectory"
        _jobs.work(
            catalog,
            "neighbors",
            ["--map", source],
            f"The map of {_frame.plain(source)}",
            unasked=small,
            name=f"map-{source}",
        )
        _start.stop()
    return found


def _of(catalog: Catalog, source: str) -> Map | None:
    try:
        return _kept(catalog, source, digest_of(catalog))
    except _NotMadeError:
        return None


class _NotMadeError(Exception):
    """Raised so that the absence of a map is not cached."""


@st.cache_resource(max_entries=8, show_spinner=False)
def _kept(_catalog: Catalog, source: str, digest: str) -> Map:
    found = saved_map(_catalog, source)
    if found is None:
        raise _NotMadeError
    return found


def current() -> Any:
    """The region that is marked, from the address; None without one."""
    text = st.query_params.get("region", "")
    return read_region(text) if text else None


def said(view: View) -> str:
    """Which selections the map shows."""
    return f"{key_of(view)}-{view.budget}"


def clear() -> None:
    """Take the mark away."""
    _address.put("region", "", forget=("region",))
    st.session_state["_drawn"] = st.session_state.get("_drawn", 0) + 1
    st.rerun()


def to_draw(region: Any, figure: str) -> Any:
    """The region as the figure is to draw it: not while the browser shows the lasso itself.

    So the figure stays as it is when a lasso is drawn, and nothing of it is sent again. Another
    figure has forgotten the lasso.
    """
    drawn = st.session_state.get("_marked") == (st.query_params.get("region"), figure)
    return None if drawn else region


def draw(picture: Picture, figure: str) -> None:
    """The figure; a lasso or box becomes the region. Only its corners come from the browser."""
    key = f"map-figure-{st.session_state.get('_drawn', 0)}"

    def marked() -> None:
        text = corners_of(st.session_state[key]["selection"])
        if text:
            _address.put("region", text)
            st.session_state["_marked"] = (text, figure)

    st.plotly_chart(
        picture.figure,
        key=key,
        alt=picture.alt,
        on_select=marked,
        selection_mode=("lasso", "box"),
        config={"displaylogo": False, "scrollZoom": True},
        theme=None,
    )


def examples(view: View, found: Map) -> Any:
    """Where the task's validation examples lie: amid the samples most like them."""
    return _examples(view, found, f"{found.source}-{key_of(view)}")


@st.cache_resource(max_entries=8, show_spinner="Placing the validation examples")
def _examples(_view: View, _found: Map, key: str) -> Any:
    return place_examples(_found, task_cosines(_view.catalog, _view.task))


@st.cache_resource(max_entries=8, show_spinner=False)
def _columns(_view: View, _found: Map, key: str) -> Any:
    return columns(_view.catalog, _found, _view.problem.influence)


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
        _actions(view, rows)
    with right:
        table = _columns(view, found, f"{found.source}-{key_of(view)}")
        st.markdown("What is special about it, most first:")
        for sentence in special(table, rows)["sentence"]:
            st.text(sentence)
    texts = region_texts(view.catalog, rows, weights_of(view.problem, selections["GTP"]))
    _frame.table(texts, "region-texts", height=320)


def topic_link(view: View, found: Map, shares: Any) -> None:
    """Tag a topic, and see its samples in the table."""
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    names = [str(name) for name in shares["topic"]]
    topic = left.selectbox("Look into a topic", names, key="cover-topic")
    rows = rows_of_topic(found, names.index(str(topic)))
    name = f"topic: {topic}"
    if right.button("Tag its samples", icon=":material/label:", key="tag-topic"):
        ids = view.catalog.sample_ids().gather(rows).to_list()
        _edits.make(view.catalog, "tag", ids, name)
        st.rerun()
    st.page_link(
        st.session_state["_pages"]["samples"],
        label="Samples with this topic's tag",
        icon=":material/filter_alt:",
        query_params={"f": link_by("tag", name)},
    )


def source_link(met: Any) -> None:
    """See a source's samples in the table."""
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    names = list(dict.fromkeys(str(name) for name in met["source"]))
    source = left.selectbox("Look into a source", names, key="cover-source")
    right.page_link(
        st.session_state["_pages"]["samples"],
        label="Its samples",
        icon=":material/filter_alt:",
        query_params={"f": link_by("source", str(source))},
    )


def examples_table(table: Any) -> None:
    """Validation examples, worst served first; a picked one leads to what is like it."""
    event = st.dataframe(
        table.to_arrow(),
        hide_index=True,
        height=240,
        key="served-examples",
        on_select="rerun",
        selection_mode="single-row",
    )
    rows = [row for row in event.selection.rows if row < table.height] or [0]
    if not table.is_empty():
        picked = table.row(rows[0], named=True)
        st.page_link(
            st.session_state["_pages"]["samples"],
            label=f"Samples most like {_frame.plain(picked['best_sample'])}, which is most like "
            f"{_frame.plain(picked['example_id'])}",
            icon=":material/filter_alt:",
            query_params={"f": link_by("near", picked["best_sample"])},
        )


def _actions(view: View, rows: Any) -> None:
    ids = view.catalog.sample_ids().gather(rows).to_list()
    name = st.text_input("Tag", value="region", key="region-tag", max_chars=80)
    tag, pin, ban = st.columns(3)
    if tag.button("Tag all", icon=":material/label:", key="region-do-tag", disabled=not name):
        _edits.make(view.catalog, "tag", ids, name)
        st.rerun()
    if pin.button("Pin all", icon=":material/push_pin:", key="region-pin"):
        _edits.make(view.catalog, "pin", ids)
        st.rerun()
    if ban.button("Ban all", icon=":material/block:", key="region-ban"):
        _edits.make(view.catalog, "ban", ids)
        st.rerun()
    link, count = link_to(ids)
    fits = count == len(ids)  # else a tag stands for more than a link carries
    st.page_link(
        st.session_state["_pages"]["samples"],
        label="These in the table of samples" if fits else "Samples with this tag",
        icon=":material/filter_alt:",
        query_params={"f": link if fits else link_by("tag", name)},
    )
