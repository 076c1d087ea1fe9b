"""Reviewing samples one by one or many at once: the table, the focus, the keys and the edits."""

from typing import Any

import streamlit as st

from gtp_core.catalog import Current, WorkingSet
from gtp_core.report import SIGNS, VERDICTS, shown
from pages import _address, _browse, _edits, _frame

_MOST = 20_000  # characters of a text that are sent to the browser
_SCOPES = {"one": "in focus", "some": "selected rows", "all": "all results"}
_KEYS = {  # what an edit is called, its key and its sign
    "pin": ("Pin", "P", ":material/keep:"),
    "ban": ("Ban", "X", ":material/block:"),
    "free": ("Release", "F", ":material/lock_open:"),
    "tag": ("Tag", "T", ":material/sell:"),
}


def table(view: _frame.View, found: WorkingSet) -> list[str]:
    """A page of the working set; the ids of its selected rows. A click on a cell sets the focus."""
    focus, number = _address.text("id"), _page(found)
    page = found.page(number, view.task)
    seen = page["sample_id"].to_list()
    key = f"rows-{st.session_state.setdefault('_cleared', 0)}-{number}"
    event = st.dataframe(
        shown(page, focus).to_arrow(),
        key=key,
        hide_index=True,
        height=560,
        selection_mode=["multi-row", "single-cell"],
        on_select=lambda: _clicked(key, seen),
        column_config=_columns(page["weight"].max()),
        alt="The samples of the working set, a page at a time",
    )
    if found.n_pages > 1:
        turned = f"page-{number}"  # a value of its own each: the focus turns pages as well
        st.pagination(found.n_pages, default=number, key=turned, on_change=_turned, args=(turned,))
    rows = event["selection"]["rows"] if event else []
    return [seen[row] for row in rows if row < len(seen)]


def _columns(most: Any) -> dict[str, Any]:
    number, text = st.column_config.NumberColumn, st.column_config.TextColumn
    return {
        " ": text(width=30),
        "sample_id": text("sample"),
        "similarity": number(format="%.3f"),
        "verdict": text(
            help=" · ".join(f"{SIGNS[v]} {v}: {words}" for v, words in VERDICTS.items())
        ),
        "edit": text(help="Pins and bans in force; the next selection honours them."),
        "weight": st.column_config.ProgressColumn(
            "weight", format="%.4f", min_value=0.0, max_value=float(max(most or 0.0, 1e-9))
        ),
        "gain": number(
            format="%.5f",
            help="How much the residual would fall if the sample joined, or rise if it left.",
        ),
        "influence": number(format="%.4f", help="What top-k ranks by (LESS)."),
        "by checkpoint": st.column_config.BarChartColumn(
            help="The parts of the influence, a bar for every checkpoint.", width="small"
        ),
        "topk_rank": number("top-k rank", format="localized"),
        "n_tokens": number("tokens", format="localized"),
        "prompt": text(width="large"),
    }


def _page(found: WorkingSet) -> int:
    """The page that was turned to, or that of the sample in focus."""
    turned = _address.text("p")
    if turned.isascii() and turned.isdigit():
        return min(max(int(turned[:9]), 1), found.n_pages)
    return found.page_of(_address.text("id"))


def _turned(key: str) -> None:
    _address.put("p", str(st.session_state[key]))


def _clicked(key: str, seen: list[str]) -> None:
    cells = st.session_state[key]["selection"]["cells"]
    if cells and cells[0][0] < len(seen):
        _address.put("id", seen[cells[0][0]])


def _step(found: WorkingSet, step: int) -> None:
    there = found.beside(_address.text("id"), step)
    if there is not None:
        _address.put("id", there)
        _address.put("p", "")


def actions(view: _frame.View, found: WorkingSet, selected: list[str]) -> None:
    """Buttons and keys: step through the working set, and edit one, some or all of it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.button("Previous", key="previous", shortcut="K", on_click=_step, args=(found, -1))
        st.button("Next", key="next", shortcut="J", on_click=_step, args=(found, 1))
        for what, (word, key, icon) in _KEYS.items():
            st.button(
                word,
                key=what,
                shortcut=key,
                icon=icon,
                on_click=_asked,
                args=(view, found, selected, what),
            )
        st.text_input(
            "Tag to give",
            key="tag-text",
            max_chars=60,
            placeholder="tag",
            width=130,
            label_visibility="collapsed",
        )
        counts = {"one": "", "some": f" ({len(selected):,})", "all": f" ({len(found):,})"}
        words = {one: f"{_SCOPES[one]}{counts[one]}" for one in counts}
        _frame.choice("Edit", list(_SCOPES), "scope", words=words)
    if asked := st.session_state.pop("_asked", None):
        _confirm(view, found, *asked)


def _asked(view: _frame.View, found: WorkingSet, selected: list[str], what: str) -> None:
    """An edit was asked for: make it, or ask back when it is about all results."""
    value = st.session_state["tag-text"].strip() if what == "tag" else ""
    scope = st.session_state["scope"]
    if what == "tag" and not value:
        st.toast("Write the tag first, beside the buttons.", icon=":material/sell:")
    elif scope == "all":
        st.session_state["_asked"] = (what, value)
    else:
        focus = _address.text("id")
        ids = selected if scope == "some" else [focus] if focus else []
        if ids:
            _edits.make(view.catalog, what, ids, value)
            _forget_selection()
        else:
            st.toast("No sample is chosen for this. Click a row, or press J.")


@st.dialog("Edit all results")
def _confirm(view: _frame.View, found: WorkingSet, what: str, value: str) -> None:
    word = _KEYS[what][0]
    name = f" **{_frame.plain(value)}**" if value else ""
    st.markdown(f"{word}{name} all **{len(found):,}** samples of the working set? It is one edit.")
    if st.button(f"{word} {len(found):,} samples", type="primary", key="confirm"):
        if len(found):
            _edits.make(view.catalog, what, found.sample_ids(), value)
        st.rerun()


def _forget_selection() -> None:
    if st.session_state["scope"] == "some":
        st.session_state["_cleared"] += 1  # another table, with nothing selected


def detail(view: _frame.View, current: Current) -> None:
    """The sample in focus: what became of it, its numbers, and its texts as they are."""
    focus = _address.text("id")
    if not focus:
        st.caption("Click a row, or press J, to read a sample.")
        return
    sample = current.sample(focus, view.task)
    if sample is None:
        st.caption(_frame.plain(f"There is no sample {focus[:80]!r} in this store."))
        return
    st.code(focus, language=None)
    verdict = sample["verdict"]
    st.markdown(f"{SIGNS[verdict]} **{verdict}**: {VERDICTS[verdict]}.")
    st.caption(_frame.plain(_numbers(sample)))
    with st.container(horizontal=True):
        _frame.link("why", "Why?", icon=":material/help:", id=focus)
        st.button(
            "Similar gradients",
            key="near-this",
            icon=":material/join_inner:",
            on_click=_browse.only,
            args=("near", focus),
        )
    for name in ("prompt", "completion"):
        text = sample[name] or ""
        st.caption(f"{name}, {len(text):,} characters{', cut' if len(text) > _MOST else ''}")
        st.code(text[:_MOST] or " ", language=None, wrap_lines=True)


def _numbers(sample: dict[str, Any]) -> str:
    """The numbers of a sample that the core knows, in a line."""
    parts = [f"source {sample['source']}", f"{sample['n_tokens']:,} tokens"]
    parts += [f"top-k rank {sample['topk_rank']:,}", f"GTP rank {sample['gtp_rank']:,}"]
    for name, label, form in (
        ("weight", "weight", ".4f"),
        ("less_influence", "influence", ".4f"),
        ("gain", "gain", ".5f"),
        ("covered", "covered", ".0%"),
        ("leaves_at", "gone at budget", ","),
        ("keeper", "the same text as", "s"),
        ("mark", "edit", "s"),
        ("tags", "tags", "s"),
    ):
        if sample[name] is not None:
            parts.append(f"{label} {sample[name]:{form}}")
    return " · ".join(parts)
