"""The frame every page stands in: the open store, the header row, errors, tables and figures."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import streamlit as st

from gtp_core.atoms import Problem, pose
from gtp_core.catalog import Catalog, open_catalog
from gtp_core.errors import GTPError, TaskError
from gtp_core.export import Export
from gtp_core.figures import Picture, Theme, word
from gtp_core.methods import Settings, prepare_subspace
from gtp_core.pursuit import Selection
from gtp_core.report import (
    HeldOut,
    Reliability,
    Tuned,
    auto_sentence,
    choose,
    from_path,
    path_budgets,
    prepare_path,
    reliability,
    run_document,
    saved_path,
    store_facts,
    tuned,
)
from gtp_core.store import open_store, read_manifest
from pages import _address, _start

_ROOT = Path(__file__).resolve().parent.parent
DEMO = _ROOT / "data" / "demo"
_SMALL_POOL = 20_000  # samples up to which the budget path is computed without being asked for
_DEFAULT_SHARE = 0.05
_DEFAULT_BUDGET = 200  # samples, where 5 % of the pool would be more

_CAPS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_SUBSPACES = ("none", "pca:64", "pca:128", "pca:256")
_RIDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)


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
        tuned: what `auto` chose of the settings, if anything was left to it.
    """

    catalog: Catalog
    problem: Problem
    settings: Settings
    budget: str
    reliability: Reliability | None
    theme: Theme
    tuned: Tuned | None = None

    @property
    def task(self) -> str:
        """The chosen task."""
        return self.problem.settings["task"]

    def select(self, method: str) -> Selection:
        """What a method chooses at the current budget."""
        known = self._prepared(method)
        if known is not None:
            found = known[0]
        else:
            found, _ = _chosen(self.problem, self.budget, method, self.settings, _key(self))
        return self.tuned.noted(found) if self.tuned and method == "gtp" else found

    def held_out(self, method: str) -> HeldOut | None:
        """The held-out match of a method at the current budget."""
        if self.tuned and method == "gtp":
            return self.tuned.held
        known = self._prepared(method)
        if known is not None:
            return known[1]
        return _chosen(self.problem, self.budget, method, self.settings, _key(self))[1]

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


@contextmanager
def one_sentence() -> Iterator[None]:
    """Show what the user can mend as one sentence, and stop the page there."""
    try:
        yield
    except GTPError as error:
        st.error(plain(str(error)), icon=":material/error:")
        _start.stop()


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


def header() -> View:
    """What is open: store, task, budget, settings."""
    with one_sentence():
        catalog = open_current()
        if not catalog.store.task_names:
            raise TaskError("this store has no validation task. Collect one and load it again.")
        left, middle, right = st.columns([3, 5, 2], vertical_alignment="bottom")
        names = catalog.store.task_names
        _address.seed("task", names, names[0])
        task = left.selectbox("Validation task", names, key="task")
        settings, posed, auto = _settings(right)
        problem = _problem(catalog, task, posed, _digest(catalog))
        n_candidates = problem.most
        budget = _budget(middle, problem, n_candidates)
        _fit_subspace(problem, settings)
        known = reliability(problem, problem.n_examples)
        view = View(catalog, problem, settings, budget, known, theme())
        if auto:
            found = _tuned(problem, budget, settings, _key(view))
            view = replace(view, settings=found.settings, tuned=found)
        _open_line(view)
    return view


def _budget(place: Any, problem: Problem, n_candidates: int) -> str:
    """The budget: a slider over the prepared ones, or any budget typed into the settings."""
    options = path_budgets(n_candidates, problem.atoms.dim)
    wanted = min(round(n_candidates * _DEFAULT_SHARE), _DEFAULT_BUDGET)
    nearest = min(options, key=lambda option: abs(option - wanted))
    _address.seed("budget", options, nearest)
    exact = st.session_state["exact"].strip()
    slid = place.select_slider(
        "Budget (samples)",
        options,
        key="budget",
        format_func=lambda option: f"{option:,}",
        disabled=bool(exact),
        help="The most samples you will take. Type any other budget under Settings.",
    )
    return exact or str(slid)


def _settings(place: Any) -> tuple[Settings, dict[str, Any], bool]:
    """The settings, how the problem is posed, and whether auto decides about the ridge."""
    _address.seed("exact", None, "")
    _address.seed("ridge", _RIDGES, Settings.ridge)
    with place.popover("Settings", icon=":material/settings:", width="stretch"):
        st.text_input(
            "Exact budget",
            key="exact",
            placeholder="500, 5% or 200000tok",
            help="Takes the place of the slider: samples, percent of the pool, or tokens.",
        )
        auto = choice(
            "Ridge set",
            ["by you", "auto"],
            "auto",
            about="Auto: the ridge of the best held-out match at this budget. Takes a while.",
        )
        ridge = st.select_slider(
            "Together or alone (ridge)",
            _RIDGES,
            key="ridge",
            disabled=auto == "auto",
            help="0 matches the target jointly; growing it ends at ranking each sample alone.",
        )
        direction = choice(
            "Common direction",
            ["removed", "kept"],
            "direction",
            about="What all samples share says nothing about which of them to choose.",
        )
        gradients = choice(
            "Gradients",
            ["unit", "raw"],
            "gradients",
            about="unit: only directions count, as in LESS. raw: their lengths too, as in TRAK.",
        )
        fill = choice(
            "When fewer samples explain the target",
            ["none", "influence"],
            "fill",
            about="none: take fewer. influence: top up with the best ranked of the rest.",
        )
        weights = choice(
            "Samples will be trained",
            ["non-negative", "uniform"],
            "trained",
            words={"non-negative": "with weights", "uniform": "without"},
            about="Without: samples are chosen so that their plain sum points as the target does.",
        )
        subtasks = choice(
            "Subtasks are matched",
            ["mean", "each"],
            "subtasks",
            words={"mean": "by their mean", "each": "one by one"},
            about="One by one: every subtask has weights of its own on the same samples.",
        )
        _address.seed("cap", _CAPS, 0)
        cap = st.selectbox(
            "At most per source",
            _CAPS,
            key="cap",
            format_func=lambda most: f"{most:,}" if most else "any number",
        )
        _address.seed("subspace", _SUBSPACES, "none")
        subspace = st.selectbox(
            "Subspace",
            _SUBSPACES,
            key="subspace",
            help="Pursue in each checkpoint's principal directions; it ends in full dimension.",
        )
    posed: dict[str, Any] = {"common_direction": direction, "gradients": gradients}
    posed["caps"] = {"source": int(cap)} if cap else {}
    chosen = replace(Settings(), ridge=float(ridge), fill=fill, weights=weights, subspace=subspace)
    return replace(chosen, subtasks=subtasks), posed, auto == "auto"


def _fit_subspace(problem: Problem, settings: Settings) -> None:
    """Fit the subspace, with progress, when nobody did before."""
    if settings.subspace == "none":
        return
    place = st.empty()

    def report(done: int, total: int, what: str) -> None:
        place.progress(done / total, text=plain(what.capitalize()))

    prepare_subspace(problem, settings, report)
    place.empty()


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
    if view.tuned:
        st.caption(plain(auto_sentence(view.tuned.scores, vars(view.settings))))


def choice(
    label: str,
    options: Sequence[str],
    key: str,
    *,
    place: Any = st,
    words: Any = None,
    about: str = "",
) -> str:
    """One of a few, side by side; the first unless the address or the visitor says otherwise."""
    _address.seed(key, options, options[0])
    chosen = place.segmented_control(
        label,
        options,
        format_func=(words or {}).get if words else str,
        required=True,
        key=key,
        help=about or None,
    )
    return str(chosen)


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
            table(picture.table, f"{key}-data")
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


def table(data: Any, key: str, **options: Any) -> None:
    """A table as it is. In Arrow's form, which spares the first view the import of pandas."""
    st.dataframe(data.to_arrow(), hide_index=True, key=key, **options)


def samples(chosen: Any, key: str) -> None:
    """Samples as a table; texts are shown, never interpreted."""
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    table(
        chosen,
        key,
        height=420,
        column_config={
            "rank": number("rank", width="small"),
            "sample_id": text("sample"),
            "weight": st.column_config.ProgressColumn(
                "weight",
                format="%.4f",
                min_value=0.0,
                max_value=float(max(chosen["weight"].max() or 0.0, 1e-9)),
            ),
            "influence": number("influence", format="%.4f", help="What top-k ranks by (LESS)."),
            "topk_rank": number("top-k rank", format="localized"),
            "n_tokens": number("tokens"),
            "prompt": text("prompt", width="large"),
            "completion": text("completion", width="medium"),
        },
    )
    st.caption(f"{chosen.height:,} rows shown, strongest first. Long texts are cut.")


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
    return _facts(catalog, _digest(catalog))


def passport(known: dict[str, Any]) -> list[dict[str, str]]:
    """Who made a store and how, one line each."""
    lines = {
        "store": known["store_id"],
        "samples": f"{known['n_samples']:,}",
        "size": f"{known['bytes'] / 1e6:,.1f} MB, {known['dtype']}",
        "model": str(known["model"].get("id", "not said")),
        "adapter": str(known["model"].get("adapter", "not said")),
        "gradients": "{samples} (samples), {tasks} (tasks)".format_map(known["gradients"]),
        "projection": _projection(known["projection"]),
        "producer": " ".join(
            str(known["producer"][word])
            for word in ("name", "version")
            if known["producer"].get(word) is not None
        ),
    }
    return [{"": name, "value": value} for name, value in lines.items()]


def _projection(known: dict[str, Any]) -> str:
    """From how many numbers to how many, and how; what nobody said is left out."""
    said = {word: known.get(word) for word in ("type", "seed", "input_dim", "dim")}
    parts = [str(said["type"])] if said["type"] else ["not said"]
    if said["seed"] is not None:
        parts.append(f"seed {said['seed']}")
    source = f"{said['input_dim']:,} to " if said["input_dim"] else "to "
    return ", ".join([*parts, f"{source}{said['dim']:,}"])


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
def _catalog(path: str, workspace: str | None, digest: str, _opened: Catalog | None) -> Catalog:
    return _opened or open_catalog(open_store(path), workspace=workspace)


@st.cache_resource(max_entries=8, show_spinner="Checking the store")
def _facts(_catalog: Catalog, digest: str) -> dict[str, Any]:
    return store_facts(_catalog)


@st.cache_resource(max_entries=16, show_spinner="Reading the task")
def _problem(_catalog: Catalog, task: str, posed: dict[str, Any], digest: str) -> Problem:
    return pose(_catalog, task, **posed)


@st.cache_resource(max_entries=256, show_spinner="Choosing samples")
def _chosen(
    _problem: Problem, budget: str, method: str, settings: Settings, key: str
) -> tuple[Selection, HeldOut | None]:
    return choose(_problem, budget, method=method, settings=settings)


@st.cache_resource(max_entries=64, show_spinner="Choosing the ridge by held-out match")
def _tuned(_problem: Problem, budget: str, settings: Settings, key: str) -> Tuned:
    return tuned(_problem, budget, method="gtp", settings=settings)


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
    # Auto may choose another ridge at every budget, and each would have a path of its own.
    asked = view.tuned is not None or view.catalog.store.n_samples > _SMALL_POOL
    if asked and not st.button(
        "Prepare the budget path",
        help="Solves every budget of the slider once; takes minutes on a large store.",
        icon=":material/play_arrow:",
    ):
        st.caption("The figures over all budgets need to be prepared once for these settings.")
        return None
    bar = st.progress(0.0, text="Preparing the budget path")

    def report(done: int, total: int, what: str) -> None:
        bar.progress(done / total, text=f"Preparing the budget path: {plain(what)}")

    table = prepare_path(view.catalog, view.problem, view.settings, report)
    bar.empty()
    return table
