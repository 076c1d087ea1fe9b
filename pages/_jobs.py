"""Long work, as pages see it: a command in a process of its own, and how far it is."""

import os
import shlex
import threading
import time
from collections.abc import Callable
from typing import Literal

import streamlit as st

from gtp_core import jobs
from gtp_core.catalog import Catalog, Standing
from gtp_core.store import written_whole
from pages._show import plain

_LINES = 8  # of what a job without an end in sight has told
_STARTS = threading.Lock()  # two tabs that come at the same moment start one job


def running(catalog: Catalog, name: str) -> bool:
    """Whether a job is under way."""
    with _STARTS:
        job = jobs.look(catalog.workspace, name)
    return job is not None and job.state in ("running", "starting")


def instead(catalog: Catalog, name: str) -> None:
    """A job begins in the place of the one this browser tab began before: nobody waits for it."""
    last = st.session_state.get("_begun")
    if last not in (None, name):
        jobs.cancel(catalog.workspace, last)
    st.session_state["_begun"] = name


def edit_words(catalog: Catalog, edits: Standing, name: str) -> list[str]:
    """Pins and bans as files, where a page goes on without the newest edits; else none."""
    if edits == catalog.standing():
        return []
    words = ["--ignore-edits"]
    for flag, ids in (("pin", edits.pins), ("ban", edits.bans)):
        file = catalog.workspace / "jobs" / f"{name}.{flag}s.txt"
        with written_whole(file) as temporary:
            temporary.write_text("".join(f"{one}\n" for one in ids), encoding="utf-8")
        words += [f"--{flag}", str(file)]
    return words


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
    aside: bool = False,
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
        aside: beside something else: a plain button without words about it.
    """
    job_name = name or verb
    with _STARTS:  # one that is starting just now would look dead
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
    kind: Literal["primary", "secondary"] = "secondary" if aside else "primary"
    pressed = st.button(label, icon=":material/play_arrow:", type=kind, key=f"start-{job_name}")
    if pressed or (unasked and job is None):
        arguments = [verb, str(catalog.store.folder.resolve()), *more]
        if os.environ.get("GTP_WORKSPACE"):
            arguments += ["--workspace", os.environ["GTP_WORKSPACE"]]
        if before is not None:
            before()
        with _STARTS:
            jobs.start(catalog.workspace, job_name, arguments)
        st.rerun()
    if aside:
        return
    once = "for these settings" if more else "per store"
    words = plain(shlex.join([verb, "STORE", *more]))
    st.caption(
        f"{what} is made once {once}, by a process of its own: you may leave this page. From "
        f"the command line: python -m gtp\\_core {words}"
    )


@st.fragment(run_every=0.5)
def _watch(catalog: Catalog, job_name: str, what: str) -> None:
    """How far a running job is; the page is drawn anew when it has ended."""
    job = jobs.look(catalog.workspace, job_name)
    if job is None or job.state not in ("running", "starting"):
        st.rerun()
        return
    if job.total:
        st.progress(job.share, text=f"{what}: {plain(job.what)}")
    else:  # nobody knows how long it is; it tells of its rounds, the newest first
        so_far = max(time.time() - job.started, 0.0)
        lines = job.what.split("\n")[:_LINES]
        st.status(f"{what}: {so_far:.0f} s so far", expanded=True).markdown(
            "\n".join(f"- {plain(line)}" for line in lines)
        )
    if st.button("Cancel", icon=":material/stop:", key=f"cancel-{job_name}"):
        jobs.cancel(catalog.workspace, job_name)
        st.rerun()
