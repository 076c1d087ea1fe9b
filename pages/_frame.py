"""The frame every page stands in: first-visit guard, the open store, the header row, errors."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import streamlit as st
from streamlit.errors import StreamlitAPIException

from gtp_core.atoms import Problem, pose
from gtp_core.catalog import Catalog, open_catalog
from gtp_core.errors import GTPError, TaskError
from gtp_core.export import Export
from gtp_core.figures import Picture, Theme, word
from gtp_core.methods import Settings, select
from gtp_core.pursuit import Selection
from gtp_core.report import (
    HeldOut,
    Reliability,
    from_path,
    held_out,
    path_budgets,
    prepare_path,
    reliability,
    run_document,
    saved_path,
    store_facts,
)
from gtp_core.store import open_store, read_manifest

_ROOT = Path(__file__).resolve().parent.parent
DEMO = _ROOT / "data" / "demo"
_SMALL_POOL = 20_000  # samples up to which the budget path is computed without being asked for
_DEFAULT_SHARE = 0.05
_DEFAULT_BUDGET = 200  # samples, where 5 % of the pool would be more

_CARRIED = ("store", "task", "budget", "exact", "ridge", "direction", "fill")

Direction = Literal["kept", "removed"]


@dataclass(frozen=True)
class View:
    """What is open: everything a page needs to draw itself.

    Attributes:
        catalog: the open store.
        problem: the pool posed against the chosen task.
        settings: the curator's settings.
        budget: as the curator gave it: samples, percent or tokens.
        reliability: of the task's target.
        theme: light or dark.
    """

    catalog: Catalog
    problem: Problem
    settings: Settings
    budget: str
    reliability: Reliability | None
    theme: Theme

    @property
    def task(self) -> str:
        """The chosen task."""
        return self.problem.settings["task"]

    def select(self, method: str) -> Selection:
        """What a method chooses at the current budget."""
        known = self._prepared(method)
        if known is not None:
            return known[0]
        return _selection(self.problem, self.budget, method, self.settings, _key(self))

    def held_out(self, method: str) -> HeldOut | None:
        """The held-out match of a method at the current budget."""
        known = self._prepared(method)
        if known is not None:
            return known[1]
        return _held_out(self.problem, self.budget, method, self.settings, _key(self))

    def _prepared(self, method: str) -> tuple[Selection, HeldOut | None] | None:
        path = _saved_path(self)
        if path is None:
            return None
        return from_path(path, self.problem, self.budget, method, self.settings)

    def run_id(self, selection: Selection, held: HeldOut | None) -> str:
        """The id under which a selection is saved; the same selection has the same id."""
        return run_document(self.catalog, self.problem, selection, held)["run"]

    def path(self) -> Any:
        """Residual and held-out match over all budgets, or None until it is prepared."""
        return _path(self)


def enter(pages: Mapping[str, Any]) -> None:
    """Called once a run by app.py: remembers the pages and sends a first deep link on its way."""
    st.session_state["_pages"] = dict(pages)
    if goto := st.session_state.pop("_goto", None):
        st.switch_page(pages[goto[0]], query_params=goto[1])


def require(name: str) -> None:
    """First line of a page: on a first visit by deep link, run app.py before the page."""
    if "_pages" not in st.session_state:
        params = {key: st.query_params.get_all(key) for key in st.query_params}
        st.session_state["_goto"] = (name, params)
        st.switch_page("app.py")
    if st.session_state.get("_page") != name:
        st.session_state["_page"] = name
        if not any(key in st.query_params for key in _CARRIED):
            _carry_over(name)


def remember() -> None:
    """Keep the open store, task, budget and settings for the next page the visitor opens.

    The menu drops them from the address, and Streamlit then gives bound widgets their defaults,
    whatever `persist_state` says: Export would offer another selection than the Overview showed.
    """
    state, address = st.session_state, st.query_params
    state["_carried"] = {key: address[key] for key in _CARRIED if key in address}
    state["_values"] = {key: state[key] for key in _CARRIED if key in state}


def _carry_over(name: str) -> None:
    """Open the page again with what the last one had in its address."""
    carried = st.session_state.get("_carried", {})
    if not carried:
        return
    try:
        st.switch_page(page_of(name), query_params=carried)
    except StreamlitAPIException:  # the last page's widgets still hold the address
        if "store" in carried:
            st.query_params["store"] = carried["store"]
        for key, value in st.session_state.get("_values", {}).items():
            st.session_state[key] = value


def page_of(name: str) -> Any:
    """A page by its name, for links."""
    return st.session_state["_pages"][name]


@contextmanager
def one_sentence() -> Iterator[None]:
    """Show what the user can mend as one sentence, and stop the page there."""
    try:
        yield
    except GTPError as error:
        st.error(plain(str(error)), icon=":material/error:")
        st.stop()


def plain(text: str) -> str:
    """A text with every Markdown sign disarmed: names and messages may hold anything."""
    return "".join(f"\\{c}" if c in "\\`*_{}[]()#+-.!|<>$:~&" else c for c in text)


def store_path() -> str:
    """The store that is open: the address bar's, the command line's, or the demo."""
    return st.query_params.get("store") or os.environ.get("GTP_STORE") or str(DEMO)


def open_current() -> Catalog:
    """The open store's catalog; loads it, with progress, when nobody did before."""
    path, workspace = store_path(), os.environ.get("GTP_WORKSPACE")
    _, digest = read_manifest(Path(path))
    known = st.session_state.setdefault("_loaded", set())
    if digest not in known:
        # Not inside the cached function: what it draws would be replayed on every later visit.
        place = st.empty()

        def report(done: int, total: int, what: str) -> None:
            place.progress(done / total, text=f"Loading the store: {plain(what)}")

        open_catalog(open_store(path), workspace=workspace, progress=report).close()
        place.empty()
        known.add(digest)
    return _catalog(path, workspace, digest)


def header(question: str) -> View:
    """The question a page answers, then what is open: store, task, budget, settings."""
    st.title(question, anchor=False)
    with one_sentence():
        catalog = open_current()
        if not catalog.store.task_names:
            raise TaskError("this store has no validation task. Collect one and load it again.")
        left, middle, right = st.columns([3, 5, 2], vertical_alignment="bottom")
        task = left.selectbox(
            "Validation task", catalog.store.task_names, key="task", bind="query-params"
        )
        settings, direction = _settings(right)
        problem = _problem(catalog, task, direction, _digest(catalog))
        n_candidates = int(problem.atoms.candidates.sum())
        budget = _budget(middle, problem, n_candidates)
        known = reliability(problem, problem.n_examples)
        remember()
        view = View(catalog, problem, settings, budget, known, theme())
        _open_line(view)
    return view


def _budget(place: Any, problem: Problem, n_candidates: int) -> str:
    """The budget: a slider over the prepared ones, or any budget typed into the settings."""
    options = path_budgets(n_candidates, problem.atoms.dim)
    wanted = min(round(n_candidates * _DEFAULT_SHARE), _DEFAULT_BUDGET)
    nearest = min(options, key=lambda option: abs(option - wanted))
    exact = (st.session_state.get("exact") or "").strip()
    slid = place.select_slider(
        "Budget (samples)",
        options,
        value=nearest,
        key="budget",
        bind="query-params",
        format_func=lambda option: f"{option:,}",
        disabled=bool(exact),
        help="The most samples you will take. Type any other budget under Settings.",
    )
    return exact or str(slid)


def _settings(place: Any) -> tuple[Settings, Direction]:
    with place.popover("Settings", icon=":material/settings:", width="stretch"):
        st.text_input(
            "Exact budget",
            key="exact",
            bind="query-params",
            placeholder="500, 5% or 200000tok",
            help="Takes the place of the slider: samples, percent of the pool, or tokens.",
        )
        ridge = st.select_slider(
            "Together or alone (ridge)",
            [0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0],
            value=Settings.ridge,
            key="ridge",
            bind="query-params",
            help="0 matches the target jointly; growing it ends at ranking each sample alone.",
        )
        direction = st.segmented_control(
            "Common direction",
            ["removed", "kept"],
            default="removed",
            required=True,
            key="direction",
            bind="query-params",
            help="What all samples share says nothing about which of them to choose.",
        )
        fill = st.segmented_control(
            "When fewer samples explain the target",
            ["none", "influence"],
            default="none",
            required=True,
            key="fill",
            bind="query-params",
            help="none: take fewer. influence: top up with the best ranked of the rest.",
        )
    kept: Direction = "kept" if direction == "kept" else "removed"
    return replace(Settings(), ridge=float(ridge), fill=fill or "none"), kept


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
    chosen = [(word(name), view.select(name)) for name in ("gtp", "top-k")]
    parts += [
        f"{name} {len(s.support):,}: residual {s.residual_weighted:.2f}" for name, s in chosen
    ]
    st.caption(" · ".join(parts))


def show(picture: Picture, key: str) -> None:
    """A figure with its one-sentence alternative, its numbers as a table and as CSV."""
    st.plotly_chart(
        picture.figure,
        key=key,
        alt=picture.alt,
        config={"displaylogo": False, "displayModeBar": False},
        theme=None,
    )
    with st.expander(
        "As table", icon=":material/table:", key=f"{key}-table", on_change="rerun"
    ) as e:
        if e.open:
            st.dataframe(picture.table, hide_index=True, key=f"{key}-data")
            st.download_button(
                "CSV",
                data=picture.table.write_csv,
                file_name=f"{key}.csv",
                mime="text/csv",
                key=f"{key}-csv",
                on_click="ignore",
            )


def theme() -> Theme:
    """The theme of the visitor's browser."""
    return "dark" if st.context.theme.type == "dark" else "light"


def samples(table: Any, key: str) -> None:
    """Samples as a table; texts are shown, never interpreted."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        height=420,
        column_config={
            "rank": number("rank", width="small"),
            "sample_id": text("sample"),
            "weight": st.column_config.ProgressColumn(
                "weight",
                format="%.4f",
                min_value=0.0,
                max_value=float(max(table["weight"].max() or 0.0, 1e-9)),
            ),
            "influence": number("influence", format="%.4f", help="What top-k ranks by (LESS)."),
            "topk_rank": number("top-k rank", format="localized"),
            "n_tokens": number("tokens"),
            "prompt": text("prompt", width="large"),
            "completion": text("completion", width="medium"),
        },
    )
    st.caption(f"{table.height:,} rows shown, strongest first. Long texts are cut.")


def open_store_at(path: str) -> None:
    """Open another store for this visitor; says in one sentence why not, and keeps the old one."""
    with one_sentence():
        open_store(path)
        recent = [p for p in st.session_state.get("_recent", []) if p != path]
        st.session_state["_recent"] = [path, *recent][:8]
        for name in ("task", "budget"):
            st.session_state.pop(name, None)
        st.session_state["_carried"], st.session_state["_values"] = {"store": path}, {}
        st.query_params["store"] = path
        st.rerun()


def recent_stores() -> None:
    """Links to the stores opened in this visit, and to the demo."""
    recent = [p for p in st.session_state.get("_recent", []) if p != store_path()]
    for path in dict.fromkeys([*recent, str(DEMO)]):
        if path != store_path() and st.button(f"Open {plain(path)}", type="tertiary"):
            open_store_at(path)


def facts(catalog: Catalog) -> dict[str, Any]:
    """What a store holds; computed once."""
    return _facts(catalog, _digest(catalog))


def passport(known: dict[str, Any]) -> list[dict[str, str]]:
    """Who made a store and how, one line each."""
    projection = known["projection"]
    lines = {
        "store": known["store_id"],
        "samples": f"{known['n_samples']:,}",
        "size": f"{known['bytes'] / 1e6:,.1f} MB, {known['dtype']}",
        "model": str(known["model"].get("id", "not said")),
        "adapter": str(known["model"].get("adapter", "not said")),
        "gradients": "{samples} (samples), {tasks} (tasks)".format_map(known["gradients"]),
        "projection": f"{projection.get('type')}, seed {projection.get('seed')}, "
        f"{projection.get('input_dim')} to {projection.get('dim')}",
        "producer": f"{known['producer'].get('name')} {known['producer'].get('version')}",
    }
    return [{"": name, "value": value} for name, value in lines.items()]


def preview(export: Export, kind: str) -> None:
    """The first three rows as they leave, shown as plain text."""
    if kind == "parquet":
        st.caption("Parquet is binary; the JSON lines of the same run show its texts.")
        return
    lines = export.content.decode("utf-8").split("\n")[:3]
    st.code("\n".join(line[:400] for line in lines), language=None, wrap_lines=True)


EXAMPLE_SQL = """SELECT source, count(*) AS n, avg(influence) AS mean_influence
FROM samples JOIN influences USING (row, sample_id)
GROUP BY source ORDER BY mean_influence DESC"""


def _digest(catalog: Catalog) -> str:
    return f"{catalog.store.digest}-{catalog.workspace}"


def _key(view: View) -> str:
    """What a cached answer depends on besides budget, method and settings."""
    return f"{_digest(view.catalog)}-{sorted(view.problem.settings.items(), key=str)}"


@st.cache_resource(max_entries=8, show_spinner=False)
def _catalog(path: str, workspace: str | None, digest: str) -> Catalog:
    return open_catalog(open_store(path), workspace=workspace)


@st.cache_resource(max_entries=8, show_spinner="Checking the store")
def _facts(_catalog: Catalog, digest: str) -> dict[str, Any]:
    return store_facts(_catalog)


@st.cache_resource(max_entries=16, show_spinner="Reading the task")
def _problem(_catalog: Catalog, task: str, direction: Direction, digest: str) -> Problem:
    return pose(_catalog, task, common_direction=direction)


@st.cache_resource(max_entries=256, show_spinner="Choosing samples")
def _selection(
    _problem: Problem, budget: str, method: str, settings: Settings, key: str
) -> Selection:
    return select(_problem, budget, method=method, settings=settings)


@st.cache_resource(max_entries=256, show_spinner="Matching held-out examples")
def _held_out(
    _problem: Problem, budget: str, method: str, settings: Settings, key: str
) -> HeldOut | None:
    return held_out(_problem, budget, method=method, settings=settings)


def _saved_path(view: View) -> Any:
    """The prepared path, kept in memory once it is there."""
    try:
        return _kept_path(view, _key(view), view.settings)
    except _NotPreparedError:
        return None


class _NotPreparedError(Exception):
    """Raised so that the absence of a path is not cached."""


@st.cache_resource(max_entries=16, show_spinner=False)
def _kept_path(_view: View, key: str, settings: Settings) -> Any:
    path = saved_path(_view.catalog, _view.problem, settings)
    if path is None:
        raise _NotPreparedError
    return path


def _path(view: View) -> Any:
    known = _saved_path(view)
    if known is not None:
        return known
    if view.catalog.store.n_samples > _SMALL_POOL and not st.button(
        "Prepare the budget path",
        help="Solves every budget of the slider once; takes minutes on a large store.",
        icon=":material/play_arrow:",
    ):
        st.caption("The figures over all budgets need to be prepared once for this task.")
        return None
    bar = st.progress(0.0, text="Preparing the budget path")

    def report(done: int, total: int, what: str) -> None:
        bar.progress(done / total, text=f"Preparing the budget path: {plain(what)}")

    table = prepare_path(view.catalog, view.problem, view.settings, report)
    bar.empty()
    return table
