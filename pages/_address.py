"""What is open, in the address bar: read and written here and nowhere else.

Streamlit's own `bind="query-params"` lets browser and server both write the address. When a slider
moved twice in quick succession the server's answer to the first move came back after the second,
and the link no longer led to what was shown. Here the server alone writes, and the last run wins.
"""

from collections.abc import Sequence
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

_KEPT = "_kept"  # key -> text: what is set, on whatever page it was set
_MOVED = "_moved"  # keys that the address or another page sets in this run
_SEEDED = "_seeded"  # every key that a widget was given


def arrive(page: str) -> None:
    """First thing on a page: follow the address, if the visitor came by it.

    That is on the first visit, by back and forward, and by a link to another page. Otherwise the
    address may lag behind a widget and is not asked. The menu leaves an empty address on the page
    it opens; what was set before is put back.
    """
    state, here = st.session_state, st.query_params.to_dict()
    kept = state.setdefault(_KEPT, {})
    moved, seeded = state.setdefault(_MOVED, set()), state.setdefault(_SEEDED, set())
    if state.get("_page") != page:
        state["_page"] = page
        kept.update(here)
        moved |= seeded  # the page's widgets are new, whatever their keys
    elif _by_history():
        moved |= {key for key in here.keys() | kept.keys() if here.get(key) != kept.get(key)}
        state[_KEPT] = kept = here
    _write("store", kept.get("store"))


def seed(key: str, options: Sequence[Any] | None, default: Any) -> None:
    """Before a widget is drawn: give it the value that the address or an earlier page set.

    Args:
        key: of the widget, and of the address.
        options: what it may be; an unknown value falls back to the default. None: any text.
        default: what it is when nobody set it; not shown in the address.
    """
    state = st.session_state
    if key not in state or key in state[_MOVED] or not _allowed(state[key], options):
        text = state[_KEPT].get(key)
        if options is None:
            state[key] = default if text is None else text
        else:
            state[key] = next((o for o in options if str(o) == text), default)
        state[_MOVED].discard(key)
    state[_SEEDED].add(key)
    if state[key] == default:
        state[_KEPT].pop(key, None)
    else:
        state[_KEPT][key] = str(state[key])
    _write(key, state[_KEPT].get(key))


def stay_near(key: str, options: Sequence[int]) -> None:
    """Before `seed`, where options are numbers that move a little: stay at the nearest of them."""
    here = st.session_state.get(key)
    if isinstance(here, int) and here not in options:
        st.session_state[key] = min(options, key=lambda option: abs(option - here))


def text(key: str) -> str:
    """Something that is no widget, such as the focused sample; empty when nobody set it."""
    kept = st.session_state[_KEPT].get(key)
    _write(key, kept)
    return kept or ""


def link(**changes: str) -> dict[str, str]:
    """What a link has to carry so that another page opens on the same view, with changes."""
    return {**st.session_state[_KEPT], **changes}


def put(key: str, text: str, forget: Sequence[str] = ()) -> None:
    """Set something that is no widget, such as the open store; forget what belonged to the old.

    An empty text takes it away.
    """
    state = st.session_state
    for name in forget:
        state.pop(name, None)
        state[_KEPT].pop(name, None)
        _write(name, None)
    state[_KEPT][key] = text
    if not text:
        del state[_KEPT][key]
    _write(key, text or None)


def _write(key: str, text: str | None) -> None:
    """Change one entry of the address, if it differs: each change is a step of its history."""
    address = st.query_params
    if text is None:
        if key in address:
            del address[key]
    elif address.get(key) != text:
        address[key] = text


def _by_history() -> bool:
    context = get_script_run_ctx()
    return context is not None and context.is_history_navigation


def _allowed(value: Any, options: Sequence[Any] | None) -> bool:
    return options is None or value in options
