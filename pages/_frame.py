"""The frame every page stands in: the open store and the header row; pages find the rest here."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import streamlit as st

from gtp_core.catalog import Catalog, open_catalog
from gtp_core.errors import TaskError
from gtp_core.figures import word
from gtp_core.pursuit import Stop
from gtp_core.report import auto_sentence, reliability, store_facts
from gtp_core.store import open_store, read_manifest
from pages import _address, _edits
from pages._settings import budget_of, fit_subspace, settings_of
from pages._show import choice, one_sentence, passport, plain, preview, samples, show, table, theme
from pages._view import View, digest_of, problem_of, tuned_of

__all__ = [
    "DEMO",
    "EXAMPLE_SQL",
    "View",
    "choice",
    "facts",
    "header",
    "link",
    "one_sentence",
    "open_current",
    "open_store_at",
    "passport",
    "plain",
    "preview",
    "recent_stores",
    "samples",
    "show",
    "store_path",
    "table",
    "theme",
]

_ROOT = Path(__file__).resolve().parent.parent
DEMO = _ROOT / "data" / "demo"


def store_path() -> str:
    """The store that is open: the address bar's, the command line's, or the demo."""
    return st.query_params.get("store") or os.environ.get("GTP_STORE") or str(DEMO)


def open_current() -> Catalog:
    """The open store's catalog; loads it, with progress, when nobody did before."""
    path, workspace = store_path(), os.environ.get("GTP_WORKSPACE")
    _, digest = read_manifest(Path(path))
    known = st.session_state.setdefault("_loaded", set())
    opened = None
    # In every run: what stands below would otherwise move up in the second, and be drawn anew.
    place = st.empty()
    if digest not in known:
        # Not inside the cached function: what it draws would be replayed on every later visit.

        def report(done: int, total: int, what: str) -> None:
            place.progress(done / total, text=f"Loading the store: {plain(what)}")

        opened = open_catalog(open_store(path), workspace=workspace, progress=report)
        place.empty()
        known.add(digest)
    kept = _catalog(path, workspace, digest, opened)
    if opened is not None and opened is not kept:
        opened.close()
    return kept


def header(*, steady: bool = False) -> View:
    """What is open: store, task, budget, settings, and the edits that they are chosen with.

    Args:
        steady: edits made on this page wait until the visitor asks to choose again.
    """
    with one_sentence():
        catalog = open_current()
        if not catalog.store.task_names:
            raise TaskError("this store has no validation task. Collect one and load it again.")
        left, middle, right, last = st.columns([6, 10, 4, 3], vertical_alignment="bottom")
        names = catalog.store.task_names
        _address.seed("task", names, names[0])
        task = left.selectbox("Validation task", names, key="task")
        parts = [checkpoint.name for checkpoint in catalog.store.checkpoints]
        settings, posed, auto = settings_of(right, parts)
        _edits.undo_button(last, catalog)  # before anything that pins or bans could forbid
        edits = _edits.standing(catalog, steady=steady)
        problem = problem_of(catalog, task, posed, edits, digest_of(catalog))
        n_candidates = problem.most
        budget = budget_of(middle, problem, n_candidates)
        known = reliability(problem, problem.n_examples)
        view = View(catalog, problem, settings, budget, known, theme(), edits=edits)
        if not view.large:  # else the job that chooses does it
            fit_subspace(problem, settings)
        if auto != "by you":
            found = tuned_of(view, auto)
            view = replace(view, settings=found.settings, tuned=found)
        _open_line(view)
    return view


def _open_line(view: View) -> None:
    store = view.catalog.store
    parts = [
        f"**{plain(store.store_id)}**",
        f"{store.n_samples:,} samples",
        f"{len(store.checkpoints)} checkpoints",
    ]
    if view.reliability:
        parts.append(
            f"task reliability {view.reliability.full:.2f} "
            f"from {view.reliability.n_examples} examples"
        )
    for name, ids in (("pinned", view.edits.pins), ("banned", view.edits.bans)):
        parts += [f"{len(ids):,} {name}"] if ids else []
    if view.waits():
        st.caption(" · ".join(parts))
    chosen = [(word(name), view.select(name)) for name in ("gtp", "top-k")]
    for method, (name, found) in zip(("gtp", "top-k"), chosen, strict=True):
        held = view.held_out(method)
        match = f"held-out match {held.match:.2f}" if held else "held-out match not known"
        left = f"residual {found.residual_weighted:.2f}"
        parts.append(f"{name} {len(found.support):,}: {left}, {match}")
    st.caption(" · ".join(parts))
    if chosen[0][1].stop is Stop.ESTIMATED and view.large:
        st.caption(f"**{chosen[0][1].stop}**")
        view.solve_beside()
    elif chosen[0][1].stop is Stop.ESTIMATED:
        said, button = st.columns([8, 2], vertical_alignment="center")
        said.caption(f"**{chosen[0][1].stop}**")
        button.button("Compute exactly", icon=":material/calculate:", on_click=view.solve)
    if view.tuned:
        st.caption(plain(auto_sentence(view.tuned.scores, vars(view.settings))))


def link(page: str, label: str, *, icon: str | None = None, **changes: str) -> None:
    """A link to another page on the same view, with changes such as `id`; nothing if no such page.

    Args:
        page: its name in app.py.
        label: shown as it is.
        icon: beside the label.
        **changes: of the address.
    """
    known = st.session_state["_pages"]
    if page in known:
        params = _address.link(**changes)
        st.page_link(known[page], label=plain(label), icon=icon, query_params=params)


def open_store_at(path: str) -> None:
    """Open another store for this visitor; says in one sentence why not, and keeps the old one."""
    with one_sentence():
        open_store(path)
        recent = [p for p in st.session_state.get("_recent", []) if p != path]
        st.session_state["_recent"] = [path, *recent][:8]
        _address.put("store", path, forget=("task", "budget"))
        st.rerun()


def recent_stores() -> None:
    """Links to the stores opened in this visit, and to the demo."""
    recent = [p for p in st.session_state.get("_recent", []) if p != store_path()]
    for path in dict.fromkeys([*recent, str(DEMO)]):
        if path != store_path() and st.button(f"Open {plain(path)}", type="tertiary"):
            open_store_at(path)


def facts(catalog: Catalog) -> dict[str, Any]:
    """What a store holds; computed once."""
    return _facts(catalog, digest_of(catalog))


EXAMPLE_SQL = """SELECT source, count(*) AS n, avg(influence) AS mean_influence
FROM samples JOIN influences USING (row, sample_id)
GROUP BY source ORDER BY mean_influence DESC"""


@st.cache_resource(max_entries=8, show_spinner=False)
def _catalog(path: str, workspace: str | None, digest: str, _opened: Catalog | None) -> Catalog:
    return _opened or open_catalog(open_store(path), workspace=workspace)


@st.cache_resource(max_entries=8, show_spinner="Checking the store")
def _facts(_catalog: Catalog, digest: str) -> dict[str, Any]:
    return store_facts(_catalog)
