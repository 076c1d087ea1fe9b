"""The frame: lists the pages with the question each answers, and runs the one that is open."""

from pathlib import Path

import streamlit as st

from pages import _start

# A file of our own: the browser would fetch a :material: icon from fonts.gstatic.com.
ICON = Path(__file__).with_name("pages") / "icon.svg"
st.set_page_config(page_title="GTP Explorer", page_icon=str(ICON), layout="wide")

PAGES = {
    "overview": st.Page(
        "pages/overview.py", title="Overview", icon=":material/insights:", default=True
    ),
    "budget_lab": st.Page("pages/budget_lab.py", title="Budget lab", icon=":material/tune:"),
    "samples": st.Page("pages/samples.py", title="Samples", icon=":material/table_rows:"),
    "why": st.Page("pages/why.py", title="Why", icon=":material/help:"),
    "home": st.Page("pages/home.py", title="Store", icon=":material/database:"),
    "compare": st.Page("pages/compare.py", title="Compare", icon=":material/compare_arrows:"),
    "map": st.Page("pages/map.py", title="Map", icon=":material/map:"),
    "coverage": st.Page("pages/coverage.py", title="Coverage", icon=":material/grid_view:"),
    "duplicates": st.Page(
        "pages/duplicates.py", title="Duplicates", icon=":material/content_copy:"
    ),
    "verify": st.Page("pages/verify.py", title="Verify", icon=":material/school:"),
    "activity": st.Page("pages/activity.py", title="Activity", icon=":material/history:"),
    "export": st.Page("pages/export.py", title="Export", icon=":material/download:"),
}
QUESTIONS = {
    "Overview": "Is this selection good?",
    "Budget lab": "What changes if I move the budget?",
    "Samples": "What became of every sample?",
    "Why": "Why was this sample chosen, or left out?",
    "Store": "What is in this store?",
    "Compare": "How do these choices differ?",
    "Map": "Where in the pool do the choices lie?",
    "Coverage": "What am I losing?",
    "Duplicates": "Which duplicates went, and for whom?",
    "Export": "Give me the file",
    "Verify": "Do the chosen samples train a better model?",
    "Activity": "Who changed what?",
}

navigation = st.navigation(
    {
        "Decide": [PAGES["overview"], PAGES["budget_lab"]],
        "Inspect": [
            PAGES[name]
            for name in ("samples", "why", "compare", "map", "duplicates", "coverage", "home")
        ],
        "Act": [PAGES["export"], PAGES["verify"], PAGES["activity"]],
    },
    expanded=True,
)
_start.enter(PAGES)
_start.show(navigation, QUESTIONS[navigation.title])
