"""The graph and its maps, as pages see them: made by jobs that outlive them, then kept."""

import streamlit as st

from gtp_core.catalog import Catalog
from gtp_core.errors import CatalogError
from gtp_core.neighbors import WHOLE, Map, Neighbors, saved_map, saved_neighbors
from pages import _frame, _start
from pages._jobs import work
from pages._view import digest_of

_SMALL_POOL = 20_000  # samples up to which the graph is built without being asked for
GRAPH = "neighbors"


def ready(catalog: Catalog) -> Neighbors:
    """The graph of the open store. Without one: a button, or how far it is, and no more page."""
    found = graph_of(catalog)
    if found is None:
        small = catalog.store.n_samples <= _SMALL_POOL
        with _frame.one_sentence():
            work(catalog, GRAPH, [], "The nearest-neighbour graph", unasked=small)
        _start.stop()
    return found


def graph_of(catalog: Catalog) -> Neighbors | None:
    """The graph of the open store, kept in memory once it is there."""
    try:
        return _kept(catalog, digest_of(catalog))
    except _NotBuiltError:
        return None


class _NotBuiltError(Exception):
    """Raised so that the absence of a graph or a map is not cached."""


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(_catalog: Catalog, digest: str) -> Neighbors:
    found = saved_neighbors(_catalog)
    if found is None:
        raise _NotBuiltError
    return found


def map_ready(catalog: Catalog, source: str) -> Map:
    """The map of the open store. Without one: a button, or how far it is, and no more page."""
    found = map_of(catalog, source)
    if found is None:
        small = catalog.store.n_samples <= _SMALL_POOL and source == WHOLE
        what = f"The map of {_frame.plain(source)}"
        name = f"map-{source}"
        work(catalog, GRAPH, ["--map", source], what, unasked=small, name=name)
        _start.stop()
    return found


def map_of(catalog: Catalog, source: str) -> Map | None:
    """A map of the open store, kept in memory once it is there."""
    try:
        return _kept_map(catalog, source, digest_of(catalog))
    except _NotBuiltError:
        return None


def known_map(catalog: Catalog, source: str) -> Map:
    """The map that a filter speaks of.

    Raises:
        CatalogError: it is not made yet.
    """
    found = map_of(catalog, source)
    if found is None:
        raise CatalogError(
            f"a filter is about the map of {source!r}, which is not made here yet. Open the page "
            "Map with it, or take the filter away."
        )
    return found


@st.cache_resource(max_entries=8, show_spinner=False)
def _kept_map(_catalog: Catalog, source: str, digest: str) -> Map:
    found = saved_map(_catalog, source)
    if found is None:
        raise _NotBuiltError
    return found
