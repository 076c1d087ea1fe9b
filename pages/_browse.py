"""The working set on a page: its filters as pills, the search, the order, and what they find."""

from dataclasses import replace
from typing import Any

import streamlit as st

from gtp_core.catalog import (
    ORDERS,
    Current,
    Filter,
    Nearest,
    WorkingSet,
    is_nearest,
    is_placed,
    read_filters,
    spell_filters,
)
from gtp_core.neighbors import WHOLE, inside, region_of, rows_of_topic, topic_name
from gtp_core.pursuit import Selection
from gtp_core.report import (
    CURRENT,
    MARKS,
    VERDICTS,
    TextIndex,
    current_table,
    fragile_sentence,
    nearest_gradients,
    prepared_tenths,
    tenths,
    text_index,
)
from gtp_core.report.values import measured, read_range, rows_between
from pages import _address, _frame, _neighbors

_MODES = {
    "search": "Keyword",
    "like": "Similar text",
    "near": "Similar gradient",
    "where": "SQL",
}
_HINTS = {
    "search": "words, or a /pattern/",
    "like": "a text",
    "near": "a sample id",
    "where": "topk_rank <= 100 AND verdict <> 'chosen'",
}
_HELP = {
    "search": "As they stand in id, prompt or completion; between slashes a regular expression.",
    "like": "The samples that share its rare words come first.",
    "near": "The samples whose whole trajectories have the largest cosine with it come first.",
    "where": f"One condition. It sees the columns of samples and of {CURRENT}; other tables by "
    "EXISTS (SELECT 1 FROM tags WHERE tags.sample_id = samples.sample_id).",
}
_WORDS = {
    "source": "source",
    "verdict": "verdict",
    "tag": "tag",
    "mark": "edit",
    "search": "text",
    "where": "SQL",
    "like": "text like",
    "near": "gradient like",
    "region": "region",
    "topic": "topic",
    "range": "range",
}


def filters() -> tuple[Filter, ...]:
    """The filters of the working set, which travel in the address."""
    return read_filters(_address.text("f"))


def search() -> None:
    """A mode and a field: what is written there becomes a filter."""
    left, right = st.columns([4, 7], vertical_alignment="bottom")
    mode = _frame.choice("Search", list(_MODES), "mode", words=_MODES, place=left)
    right.text_input(
        "Search for",
        key="search-text",
        max_chars=2000,
        placeholder=_HINTS[mode],
        help=_HELP[mode],
        on_change=_searched,
    )


def choose(view: _frame.View) -> tuple[tuple[Filter, ...], str]:
    """Lists of what can be asked for by name, and the order; all filters in force and the order."""
    *places, last = st.columns(5, vertical_alignment="bottom")
    _equal_filters(view, places)
    known = filters()
    _address.seed("sort", list(ORDERS), "valuable")
    order = last.selectbox(
        "Order",
        list(ORDERS),
        key="sort",
        format_func=lambda name: ORDERS[name],
        disabled=any(is_nearest(one) for one in known),
        help="Surprising: the places by GTP and by top-k are furthest apart, as a ratio. "
        "Fragile: chosen, but gone at a tenth more or less budget. Long but weak: the longest "
        "of the half with less influence. Similar samples come most similar first.",
        on_change=_address.put,
        args=("p", ""),
    )
    return known, str(order)


def pills(known: tuple[Filter, ...]) -> None:
    """Every filter as a button that takes it away."""
    for at, one in enumerate(known):
        label = f"{_WORDS[one.kind]}: {_short(one)} ✕"
        gone = known[:at] + known[at + 1 :]
        st.button(_frame.plain(label), key=f"pill-{at}", on_click=_put, args=(gone,))
    if known:
        st.button("Clear all", key="clear", type="tertiary", on_click=_put, args=((),))


def strip() -> None:
    """On another page: the filters in force and a way to what they find; nothing without any."""
    known = filters()
    if known:
        with st.container(horizontal=True, vertical_alignment="center"):
            pills(known)
            _frame.link("samples", "What they find", icon=":material/table_rows:", p="1")


def found(view: _frame.View, known: tuple[Filter, ...], order: str) -> WorkingSet:
    """The working set of these filters, in an order."""
    near = {one: _nearest(view, one) for one in known if is_nearest(one)}
    placed = {one: _placed(view, one) for one in known if is_placed(one)}
    current, key = current_of(view, order)
    asked = f"{key}-{view.catalog.revision()}-{spell_filters(known)}-{order}"
    return _working_set(current, known, order, near, placed, asked)


def current_of(view: _frame.View, order: str = "") -> tuple[Current, str]:
    """The verdicts of what GTP chooses now, and what they depend on."""
    others = _others(view, order)
    gtp = view.select("gtp")
    key = f"{view.key}-{view.budget}-{view.settings}-{sorted(others)}"
    current = _current(view, gtp, others, key)
    if order == "fragile" and others:
        n_leaving = len(current.working_set([Filter("where", "leaves_at IS NOT NULL")]))
        st.caption(fragile_sentence(gtp, list(others), n_leaving))
    return current, key


def _others(view: _frame.View, order: str) -> dict[int, Selection]:
    """What is chosen at a tenth less and more: from the prepared path, or when asked for."""
    budget = view.select("gtp").budget
    path = view.prepared()
    budgets = prepared_tenths(path, budget) if path is not None else ()
    if not budgets and order == "fragile":
        place = f"{view.key}-{budget}"
        if st.button("Choose at a tenth less and more", key="tenths", icon=":material/balance:"):
            st.session_state["_tenths"] = place
        if st.session_state.get("_tenths") == place:
            budgets = tuple(one for one in tenths(budget) if one <= view.problem.most)
        else:
            st.caption("Which samples are fragile needs two more selections for these settings.")
    return {one: replace(view, budget=str(one)).select("gtp") for one in budgets}


def _searched() -> None:
    """Make a filter of what was written, and empty the field."""
    mode, value = st.session_state["mode"], st.session_state["search-text"].strip()
    st.session_state["search-text"] = ""
    if value:
        only(mode, value)


def _equal_filters(view: _frame.View, places: list[Any]) -> None:
    known = filters()
    offered = {
        "verdict": list(VERDICTS),
        "source": view.catalog.sources(),
        "mark": list(MARKS),
        "tag": view.catalog.tags(),
    }
    for place, (kind, options) in zip(places, offered.items(), strict=True):
        chosen = [one.value for one in known if one.kind == kind]
        st.session_state[f"only-{kind}"] = chosen
        place.multiselect(
            _WORDS[kind].capitalize(),
            list(dict.fromkeys([*options, *chosen])),
            key=f"only-{kind}",
            format_func=lambda value: MARKS.get(value, value),
            placeholder="any",
            on_change=_take,
            args=(kind,),
        )


def _take(kind: str) -> None:
    values = st.session_state[f"only-{kind}"]
    rest = [one for one in filters() if one.kind != kind]
    _put((*rest, *(Filter(kind, value) for value in values)))


def only(kind: str, value: str) -> None:
    """Add a filter; of those that order by similarity there is one at a time."""
    asked = Filter(kind, value)
    kept = (one for one in filters() if not (is_nearest(one) and is_nearest(asked)))
    _put(tuple(dict.fromkeys((*kept, asked))))


def exactly(*asked: Filter) -> None:
    """Put these filters in the place of all others of their kinds, ranges of their measures."""
    kinds = {_kind(one) for one in asked}
    _put((*(one for one in filters() if _kind(one) not in kinds), *dict.fromkeys(asked)))


def _kind(one: Filter) -> tuple[str, str]:
    return one.kind, one.value.split(":")[0] if one.kind == "range" else ""


def _put(known: tuple[Filter, ...]) -> None:
    _address.put("f", spell_filters(known))
    _address.put("p", "")


def _short(one: Filter) -> str:
    value = MARKS.get(one.value, one.value) if one.kind == "mark" else one.value
    if one.kind == "region":
        value = f"on the map of {region_of(value)[1]}"
    elif one.kind == "range":
        value = value.replace(":", " from ", 1).replace(":", " to ", 1)
    elif one.kind == "topic":
        found = _neighbors.map_of(_frame.open_current(), WHOLE)
        value = topic_name(found, value) if found else value
    return value if len(value) <= 40 else f"{value[:39]}…"


def _placed(view: _frame.View, one: Filter) -> Any:
    """Rows that a filter says the place of.

    Raises:
        CatalogError: it speaks of a map that is not made, or of nothing.
    """
    if one.kind == "range":
        name, low, high = read_range(one.value)
        return rows_between(measured(view.catalog, view.problem, name), low, high)
    if one.kind == "topic":
        return rows_of_topic(_neighbors.known_map(view.catalog, WHOLE), one.value)
    polygon, source = region_of(one.value)
    return inside(_neighbors.known_map(view.catalog, source), polygon)


def _nearest(view: _frame.View, one: Filter) -> Nearest:
    if one.kind == "like":
        return _texts(view.catalog, view.catalog.store.digest).nearest(one.value)
    weights = str(view.problem.settings["checkpoints"])
    return _gradients(view, one.value, f"{view.catalog.store.digest}-{weights}")


@st.cache_resource(max_entries=4, show_spinner="Judging every sample")
def _current(_view: _frame.View, _gtp: Selection, _others: Any, key: str) -> Current:
    table = current_table(_view.catalog, _view.problem, _gtp, _others)
    return Current(_view.catalog, table)


@st.cache_resource(max_entries=32, show_spinner=False)
def _working_set(
    _current: Current,
    _known: tuple[Filter, ...],
    _order: str,
    _near: Any,
    _at: Any,
    asked: str,
) -> WorkingSet:
    return _current.working_set(_known, _order, _near, _at)


@st.cache_resource(max_entries=16, show_spinner="Comparing gradients")
def _gradients(_view: _frame.View, sample_id: str, key: str) -> Nearest:
    return nearest_gradients(_view.catalog, _view.problem, sample_id)


@st.cache_resource(max_entries=2, show_spinner="Counting the words of all samples, once")
def _texts(_catalog: Any, digest: str) -> TextIndex:
    return text_index(_catalog)
