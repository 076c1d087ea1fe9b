"""Edits: under whose name, how they are undone, and which of them the open problem honours."""

import getpass
from typing import Any

import streamlit as st

from gtp_core.catalog import Catalog, Edit, Standing, last_of
from pages._show import one_sentence, plain
from pages._view import digest_of

_WORDS = {
    "pin": "pin",
    "ban": "ban",
    "free": "release",
    "tag": "tag",
    "untag": "removed tag",
    "keeper": "keeper",
    "split": "split",
}


def who() -> str:
    """The name that edits are made under: what the visitor gave, or this computer's user."""
    return str(st.session_state.get("_who") or _user())


def call_me(name: str) -> None:
    """From now on, edits are made under this name."""
    st.session_state["_who"] = name.strip()[:80]


def standing(catalog: Catalog, *, steady: bool = False) -> Standing:
    """The pins and bans that the page's problem honours: those in force.

    On a steady page they are those in force when the visitor came, until `choose_again`: a review
    of many samples does not wait for a new selection after every key.
    """
    now = catalog.standing()
    place = (st.session_state.get("_page"), digest_of(catalog))
    kept = st.session_state.get("_standing")
    if steady and kept is not None and kept[0] == place:
        return kept[1]
    st.session_state["_standing"] = (place, now)
    return now


def wait(catalog: Catalog) -> bool:
    """Whether edits were made that the page's problem does not honour yet."""
    kept = st.session_state.get("_standing")
    return kept is not None and kept[1] != catalog.standing()


def choose_again() -> None:
    """Have a steady page honour all edits."""
    st.session_state.pop("_standing", None)


def undo_button(place: Any, catalog: Catalog) -> None:
    """Takes back the newest edit that was made under the visitor's name."""
    last = last_of(catalog.edits(), who())
    place.button(
        "Undo",
        key="undo",
        icon=":material/undo:",
        shortcut="Mod+Z",
        width="stretch",
        disabled=last is None,
        help=plain(f"Takes back: {said(last)}") if last else "Nothing of yours to take back.",
        on_click=catalog.undo,
        args=(who(),),
    )


def said(edit: Edit) -> str:
    """An edit in a few words."""
    of = f"{len(edit.samples):,} samples" if len(edit.samples) > 1 else "".join(edit.samples)
    value = f" {edit.value}" if edit.value else ""
    return f"{_WORDS.get(edit.what, edit.what)}{value} of {of}"[:200]


def make(catalog: Catalog, what: str, sample_ids: list[str], value: str = "") -> None:
    """Edit these samples in one go, and say so."""
    with one_sentence():
        edit = catalog.edit(what, who=who(), sample_ids=sample_ids, value=value)
        st.toast(plain(f"Noted: {said(edit)}."), icon=":material/edit:")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # no such user on this machine
        return "someone"
