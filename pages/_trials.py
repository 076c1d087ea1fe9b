"""Its part for saying what is trained on and how, and for the work itself, which is a job."""

from typing import Any

import streamlit as st

from gtp_core import jobs
from gtp_core.catalog import saved_runs
from gtp_core.errors import GTPError
from gtp_core.report import save
from gtp_core.verify import (
    Kept,
    VerifySettings,
    Wish,
    as_collected,
    at_hand,
    equal_steps,
    first_seed,
    verifications,
)
from pages import _address, _frame, _start
from pages._jobs import work

_NOW = {"gtp": "GTP, as above", "top-k": "top-k, as above"}
_ARMS = "arms"  # in the address: what is trained on


def asked(view: _frame.View) -> Wish:
    """Ask what is trained on, how much, and on which test examples it is judged."""
    left, middle, right = st.columns([8, 3, 3], vertical_alignment="bottom")
    runs = _runs(view, left)
    random = _toggle(middle, "Chance draws of the same size", "random", default=True)
    full = _toggle(right, "The whole pool", "full", default=True)
    row = st.container()
    model, test, told = _sources()
    store = view.catalog.store
    try:
        own = as_collected(store, told)
    except GTPError as error:
        st.warning(_frame.plain(str(error)), icon=":material/tune:")
        _start.stop()
    places = row.columns([4, 3, 2, 3, 3], vertical_alignment="bottom")
    words = {"steps": "steps", "epochs": "epochs"}
    equal = _frame.choice(
        "Equal for all",
        list(words),
        "equal",
        place=places[0],
        words=words,
        about="Equal steps give every subset the same training, the whole pool too, which then "
        "takes as long as the others. Equal epochs go through every subset as often.",
    )
    default = equal_steps(max(runs.values()), own) if equal == "steps" else own.epochs
    told[equal] = _number(places[1], f"{equal.capitalize()} of each", equal, default, least=1)
    told["seeds"] = _number(places[2], "Seeds", "seeds", VerifySettings.seeds, least=1, most=20)
    told["max_test"] = _number(
        places[3], "Test examples, at most", "asks", 0, about="0 asks all there are."
    )
    told["weighted"] = int(_toggle(places[4], "Weighted loss", "weighted", default=False))
    seed = first_seed(view.catalog, next(iter(runs)), int(view.settings.seed))
    return Wish(view.task, runs, told, random, full, seed, model=model, test=test)


def kept(view: _frame.View, wish: Wish) -> Kept | None:
    """The kept verification that is shown: the one that is asked for, the newest, or one picked.

    Says in which settings it differs from what is asked.
    """
    known = {one.key: one for one in verifications(view.catalog, view.task)}
    if not known:
        return None
    store = view.catalog.store
    try:
        apart = {key: wish.differences(store, one) for key, one in known.items()}
    except GTPError:  # the files are not there; `start` says so
        apart = {key: ["without its test examples at hand"] for key in known}
    best = min(known, key=lambda key: len(apart[key]))
    chosen = best if not apart[best] else next(iter(known))
    if len(known) > 1:
        _address.seed("trial", ["", *known], "")
        picked = st.selectbox(
            "Shown",
            ["", *known],
            key="trial",
            format_func=lambda key: known[key].title if key else "What is asked above",
        )
        chosen = picked or chosen
    if apart[chosen]:
        text = (
            f"What is shown was trained otherwise than is asked above: {'; '.join(apart[chosen])}."
        )
        st.warning(_frame.plain(text), icon=":material/history:")
    return known[chosen]


def start(view: _frame.View, wish: Wish, kept: Kept | None) -> None:
    """The job: a button while something is to do, else how far it is and a cancel."""
    catalog = view.catalog
    try:
        there = at_hand(catalog.store, wish.task, model=wish.model, test=wish.test)
    except GTPError as error:
        st.warning(_frame.plain(str(error)), icon=":material/folder_off:")
        return
    same = kept if kept and not wish.differences(catalog.store, kept) else None
    total, to_do = len(wish.trials(catalog.store)), wish.to_do(catalog.store, same)
    if not to_do and not running(view):
        st.success(f"All {total:,} models are trained and tested.", icon=":material/check:")
        return
    if not catalog.list_runs():
        st.caption("No run is saved yet: starting saves the two selections above as runs.")
    work(
        catalog,
        "verify",
        wish.arguments(),
        "The comparison",
        name=_job(view),
        label=f"Train and test {to_do:,} of {total:,} models",
        before=lambda: _save(view, wish),
        after_cancel="Every model that was done is kept, and the one begun goes on where it was.",
    )
    st.caption(_frame.plain(f"Model: {there['model']}. Test examples: {there['test']}."))


def running(view: _frame.View) -> bool:
    """Whether models of this task are being trained now."""
    job = jobs.look(view.catalog.workspace, _job(view))
    return job is not None and job.state in ("starting", "running")


def _job(view: _frame.View) -> str:
    return f"verify-{view.task}"


def _runs(view: _frame.View, place: Any) -> dict[str, int]:
    """The runs to train on, by id, with their sizes; those of the moment come first."""
    sizes = {}
    ids = {}
    for method in _NOW:
        selection, held = view.exactly(method)
        ids[method] = view.run_id(selection, held)
        sizes[method] = len(selection.support)
    saved = saved_runs(view.catalog).filter(task=view.task).select("run", "n_selected")
    sizes |= {run: n for run, n in saved.rows() if run not in ids.values()}
    chosen = [one for one in _address.text(_ARMS).split(",") if one in sizes] or list(_NOW)
    st.session_state["arms-box"] = chosen
    place.multiselect(
        "Train on",
        list(sizes),
        key="arms-box",
        format_func=lambda one: f"{_NOW[one]} ({sizes[one]:,})" if one in _NOW else one,
        help="The selections of this page's budget and settings, and saved runs of this task.",
        on_change=_take,
    )
    return {ids.get(one, one): sizes[one] for one in chosen}


def _take() -> None:
    chosen = st.session_state["arms-box"]
    _address.put(_ARMS, "" if chosen == list(_NOW) else ",".join(chosen))


def _save(view: _frame.View, wish: Wish) -> None:
    """Keep the selections of the moment as runs, if they are trained on."""
    for method in _NOW:
        selection, held = view.exactly(method)
        if view.run_id(selection, held) in wish.runs:
            save(view.catalog, view.problem, selection, held)


def _sources() -> tuple[str, str, dict[str, Any]]:
    """Another model, other test examples and another learning rate than the store's."""
    with st.expander("Another model, test or learning rate", icon=":material/folder_open:"):
        left, right, last = st.columns([4, 4, 2])
        _address.seed("model", None, "")
        model = left.text_input(
            "Folder of the model", key="model", placeholder="the one the store was collected with"
        )
        _address.seed("test", None, "")
        test = right.text_input(
            "File of test examples",
            key="test",
            placeholder="tests/<task>.jsonl in the store",
            help="JSON lines with prompt and completion, maybe answer. Validation examples are "
            "refused: a test asks what no selection has seen.",
        )
        _address.seed("rate", None, "")
        rate = last.text_input(
            "Learning rate",
            key="rate",
            placeholder="the store's",
            help="The peak, such as 1e-4. A store that keeps no settings has its largest step "
            "size.",
        ).strip()
        try:
            told = {"learning_rate": float(rate)} if rate else {}
        except ValueError:
            st.warning("A learning rate is a number such as 1e-4. The store's is used.")
            told = {}
    return model.strip(), test.strip(), told


def _number(
    place: Any,
    label: str,
    key: str,
    default: int,
    *,
    least: int = 0,
    most: int = 100_000,
    about: str | None = None,
) -> int:
    _address.seed(key, range(least, most + 1), default)
    return int(place.number_input(label, least, most, step=1, key=key, help=about))


def _toggle(place: Any, label: str, key: str, *, default: bool) -> bool:
    _address.seed(key, [False, True], default)
    return bool(place.toggle(label, key=key))
