"""Room for figures along the budgets: drawn at once where their path is prepared, else last."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from pages._show import one_sentence
from pages._view import View


def along_budgets(view: View, draw: Callable[[Any, Any, Any], None]) -> Callable[[], None]:
    """Make room for two figures side by side.

    With settings never used before their path may take a minute, which the rest of the page need
    not wait for.

    Args:
        view: what is open.
        draw: given the path, the left and the right place.

    Returns:
        what the page calls last.
    """
    place = st.container()

    def show() -> None:
        with place, one_sentence():
            path = view.path()
        if path is not None:
            draw(path, *place.columns(2))

    if view.prepared() is None:
        return show
    show()
    return lambda: None
