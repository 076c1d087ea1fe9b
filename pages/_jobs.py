"""Long work, as pages see it: a command in a process of its own, and how far it is."""

import os
import shlex
from collections.abc import Callable

import streamlit as st

from gtp_core import jobs
from gtp_core.catalog import Catalog
from pages._show import plain


def work(
    catalog: Catalog,
    verb: str,
    more: list[str],
    what: str,
    *,
    name: str | None = None,
    label: str | None = None,
    unasked: bool = False,
    before: Callable[[], None] | None = None,
    after_cancel: str = "Nothing half-made was left.",
) -> None:
    """A command on the open store as a job: a button, then how far it is, and a cancel.

    Args:
        catalog: the open store.
        verb: of the command line; also the job's name unless another is told.
        more: arguments after the store.
        what: is being made, as the beginning of a sentence.
        name: of the job, where a verb makes several things of a store.
        label: of the button.
        unasked: start it at the first visit.
        before: what is done first when it is started.
        after_cancel: what is said of one that was cancelled.
    """
    job_name = name or verb
    job = jobs.look(catalog.workspace, job_name)
    if job is not None and job.state in ("running", "starting"):
        _watch(catalog, job_name, what)
        return
    if job is not None and job.state == "failed":
        st.error(plain(job.message), icon=":material/error:")
    elif job is not None and job.state == "dead":
        st.warning("The work ended without a word: its process was killed. Start it again.")
    elif job is not None and job.state == "cancelled":
        st.info(f"Cancelled. {after_cancel}")
    label = label or f"Build: {what[0].lower()}{what[1:]}"
    pressed = st.button(
        label, icon=":material/play_arrow:", type="primary", key=f"start-{job_name}"
    )
    if pressed or (unasked and job is None):
        arguments = [verb, str(catalog.store.folder.resolve()), *more]
        if os.environ.get("GTP_WORKSPACE"):
            arguments += ["--workspace", os.environ["GTP_WORKSPACE"]]
        if before is not None:
            before()
        jobs.start(catalog.workspace, job_name, arguments)
        st.rerun()
    once = "for these settings" if more else "per store"
    words = plain(shlex.join([verb, "STORE", *more]))
    st.caption(
        f"{what} is built once {once}, by a process of its own: you may leave this page. From "
        f"the command line: python -m gtp\\_core {words}"
    )


@st.fragment(run_every=0.5)
def _watch(catalog: Catalog, job_name: str, what: str) -> None:
    """How far a running job is; the page is drawn anew when it has ended."""
    job = jobs.look(catalog.workspace, job_name)
    if job is None or job.state not in ("running", "starting"):
        st.rerun()
        return
    st.progress(job.share, text=f"{what}: {plain(job.what)}")
    if st.button("Cancel", icon=":material/stop:", key=f"cancel-{job_name}"):
        jobs.cancel(catalog.workspace, job_name)
        st.rerun()
