"""Coverage's parts: what is clicked, or named by key, becomes a filter of the working set."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from gtp_core.catalog import Filter
from gtp_core.figures.coverage import source_topic_axes, values_figure
from gtp_core.neighbors import Map, rows_of_topic
from gtp_core.report.values import (
    LENGTH,
    is_log,
    measured,
    measures,
    middle_values,
    spell_range,
    value_shares,
)
from pages import _browse, _edits, _frame
from pages._view import View, digest_of, key_of

_Clicked = Callable[[str, str], None]


def measure(view: View, supports: Any) -> list[tuple[str, Any]]:
    """The selections against the pool, in length and in one measure more: name and shares."""
    words = _measures(view.catalog, digest_of(view.catalog))
    about = "A number in the records, such as a score, comes first; then what the gradients say."
    name = st.selectbox(
        "Quality by", list(words), key="quality", format_func=words.get, help=about, width=420
    )
    left, right = st.columns(2)
    with left:
        first = _shares(view, supports, LENGTH, "lengths-chosen")
    with right:
        second = _shares(view, supports, str(name), "quality-chosen")
    if all(not name.startswith("record.") for name in words):
        st.caption(
            "The records hold no number of their own, such as a score or a reward; so quality is "
            "what the gradients say."
        )
    return [(LENGTH, first), (str(name), second)]


def range_of(measures: list[tuple[str, Any]]) -> None:
    """A range of a measure by key: filter to its samples."""
    shares = dict(measures)
    left, right = st.columns([6, 2], vertical_alignment="bottom")
    bins = [(name, place) for name in shares for place in range(shares[name].height)]
    name, place = left.selectbox(
        "A range of a measure",
        bins,
        key="cover-range",
        format_func=lambda one: "{} from {:.4g} to {:.4g}".format(
            one[0], *shares[one[0]].row(one[1])[:2]
        ),
    )
    right.button(
        "Filter to it",
        key="filter-range",
        icon=":material/filter_alt:",
        on_click=_put_range,
        args=(name, shares[name], place),
    )


def _shares(view: View, supports: Any, name: str, key: str) -> Any:
    values = _values(view, name, f"{key_of(view)}-{name}")
    shares = value_shares(values, supports)
    middles = middle_values(values, supports)
    title = "tokens" if name == LENGTH else name.removeprefix("record.")
    _frame.show(values_figure(shares, middles, view.theme, name=title, log=is_log(values)), key)
    return shares


@st.cache_resource(max_entries=4, show_spinner=False)
def _measures(_catalog: Any, digest: str) -> Any:
    return measures(_catalog)


@st.cache_resource(max_entries=8, show_spinner="Reading the records")
def _values(_view: View, name: str, key: str) -> Any:
    return measured(_view.catalog, _view.problem, name)


def clicked_bin(name: str, shares: Any) -> _Clicked:
    """A click on a share asks for the samples of its range."""

    def clicked(kind: str, what: str) -> None:
        place = _numbers(kind, what)
        if len(place) == 2 and place[1] < shares.height:
            _put_range(name, shares, place[1])

    return clicked


def _put_range(name: str, shares: Any, place: int) -> None:
    _browse.exactly(Filter("range", spell_range(name, shares, place)))


def example(table: Any) -> None:
    """Validation examples, worst served first; a picked one asks for what is like it."""
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
        st.button(
            f"Filter to samples most like {_frame.plain(picked['best_sample'])}, which is most "
            f"like {_frame.plain(picked['example_id'])}",
            key="filter-example",
            icon=":material/filter_alt:",
            on_click=_browse.exactly,
            args=(Filter("near", picked["best_sample"]),),
        )


def clicked_example(table: Any) -> _Clicked:
    """A click on an example asks for what is most like its best sample."""

    def clicked(kind: str, what: str) -> None:
        place = _numbers(kind, what)
        if len(place) == 2 and place[1] < table.height:
            _browse.exactly(Filter("near", table["best_sample"][place[1]]))

    return clicked


def clicked_topic(found: Map) -> _Clicked:
    """A click on a topic asks for its samples."""

    def clicked(kind: str, what: str) -> None:
        place = _numbers(kind, what)
        if len(place) == 2 and place[1] < len(found.names):
            _browse.exactly(Filter("topic", str(place[1])))

    return clicked


def clicked_cell(met: Any, found: Map) -> _Clicked:
    """A click where a source and a topic meet asks for the samples of both."""
    sources, topics = source_topic_axes(met)

    def clicked(kind: str, what: str) -> None:
        place = _numbers(kind, what)
        if len(place) == 3 and place[1] < len(sources) and place[2] < len(topics):
            number = found.names.index(topics[place[2]])
            _browse.exactly(Filter("source", sources[place[1]]), Filter("topic", str(number)))

    return clicked


def _numbers(kind: str, what: str) -> list[int]:
    """The numbers of a clicked part; none of anything else."""
    parts = what.split(".")
    return [int(part) for part in parts] if kind == "click" and _are_numbers(parts) else []


def _are_numbers(parts: list[str]) -> bool:
    return all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)


def topic(view: View, found: Map) -> None:
    """A topic by key: filter to its samples, or tag them."""
    left, middle, right = st.columns([4, 2, 2], vertical_alignment="bottom")
    numbers = [str(number) for number in range(len(found.names))]
    number = left.selectbox(
        "A topic",
        numbers,
        key="cover-topic",
        format_func=lambda number: found.names[int(number)],
    )
    if number is None:
        return
    middle.button(
        "Filter to it",
        key="filter-topic",
        icon=":material/filter_alt:",
        on_click=_browse.exactly,
        args=(Filter("topic", number),),
    )
    right.button(
        "Tag its samples",
        key="tag-topic",
        icon=":material/label:",
        on_click=_tag,
        args=(view, found, number),
    )


def _tag(view: View, found: Map, number: str) -> None:
    ids = view.catalog.sample_ids().gather(rows_of_topic(found, number)).to_list()
    _edits.make(view.catalog, "tag", ids, f"topic: {found.names[int(number)]}"[:80])


def source(met: Any) -> None:
    """A source by key: filter to its samples."""
    left, right = st.columns([6, 2], vertical_alignment="bottom")
    names = list(dict.fromkeys(str(name) for name in met["source"]))
    name = left.selectbox("A source", names, key="cover-source")
    if name is not None:
        right.button(
            "Filter to it",
            key="filter-source",
            icon=":material/filter_alt:",
            on_click=_browse.exactly,
            args=(Filter("source", name),),
        )
