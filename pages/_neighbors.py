"""The graph, as pages see it: built by a job that outlives them, then kept in memory."""

import os
from typing import Any

import streamlit as st

from gtp_core import jobs
from gtp_core.catalog import Catalog
from gtp_core.neighbors import Neighbors, saved_neighbors
from pages import _frame, _start
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


def work(catalog: Catalog, verb: str, more: list[str], what: str, *, unasked: bool = False) -> None:
    """A command on the open store as a job: a button, then how far it is, and a cancel.

    Args:
        catalog: the open store.
        verb: of the command line; also the job's name.
        more: arguments after the store.
        what: is being made, as the beginning of a sentence.
        unasked: start it at the first visit.
    """
    job = jobs.look(catalog.workspace, verb)
    if job is not None and job.state in ("running", "starting"):
        _watch(catalog, verb, what)
        return
    if job is not None and job.state == "failed":
        st.error(_frame.plain(job.message), icon=":material/error:")
    elif job is not None and job.state == "dead":
        st.warning("The work ended without a word: its process was killed. Start it again.")
    elif job is not None and job.state == "cancelled":
        st.info("Cancelled. Nothing half-made was left.")
    label = f"Build: {what[0].lower()}{what[1:]}"
    if (unasked and job is None) or st.button(
        label, icon=":material/play_arrow:", type="primary", key=f"start-{verb}"
    ):
        arguments = [verb, str(catalog.store.folder.resolve()), *more]
        if os.environ.get("GTP_WORKSPACE"):
            arguments += ["--workspace", os.environ["GTP_WORKSPACE"]]
        jobs.start(catalog.workspace, verb, arguments)
        st.rerun()
    st.caption(
        f"{what} is built once per store, by a process of its own: you may leave this page. From "
        f"the command line: python -m gtp\\_core {verb} STORE"
    )


@st.fragment(run_every=0.5)
def _watch(catalog: Catalog, verb: str, what: str) -> None:
    """How far a running job is; the page is drawn anew when it has ended."""
    job = jobs.look(catalog.workspace, verb)
    if job is None or job.state not in ("running", "starting"):
        st.rerun()
        return
    st.progress(job.share, text=f"{what}: {_frame.plain(job.what)}")
    if st.button("Cancel", icon=":material/stop:", key=f"cancel-{verb}"):
        jobs.cancel(catalog.workspace, verb)
        st.rerun()


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
