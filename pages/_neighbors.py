"""The graph, as pages see it: built by a job that outlives them, then kept in memory."""

from typing import Any

import streamlit as st

from gtp_core.catalog import Catalog
from gtp_core.neighbors import Neighbors, saved_neighbors
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
    """Raised so that the absence of a graph is not cached."""


@st.cache_resource(max_entries=4, show_spinner=False)
def _kept(_catalog: Catalog, digest: str) -> Neighbors:
    found = saved_neighbors(_catalog)
    if found is None:
        raise _NotBuiltError
    return found


def edited(catalog: Catalog) -> tuple[Any, ...]:
    """What the edits about duplicates are, for the key of a cached answer."""
    return tuple(
        (edit.edit, edit.what) for edit in catalog.edits() if edit.what in ("keeper", "split")
    )
