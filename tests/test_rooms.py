"""The walls of the house: who may import whom, and where each heavy library lives."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1]
ROOMS = ["errors", "locks", "kernels", "store", "importers", "trajectories", "catalog", "atoms"]
ROOMS += ["estimate", "pursuit", "methods", "neighbors", "report", "figures", "export"]
ANNEXES = {  # an annex may use any room; beside them only the annexes named here
    "collect": set(),
    "demo": {"collect"},
    "verify": {"collect"},  # it trains and reads samples with the collector's own code
    "distributed": set(),
    "jobs": set(),
    "cli": {"collect", "demo", "verify", "distributed", "jobs"},
    "__main__": {"cli"},
}
HOMES = {
    "duckdb": {"catalog"},
    "plotly": {"figures"},
    "umap": {"neighbors"},
    "pynndescent": {"neighbors"},
    "ray": {"distributed"},
    "filelock": {"locks"},
    "streamlit": set(),  # pages and app.py, outside the package
    **{
        name: {"collect", "demo", "verify"}
        for name in ("torch", "transformers", "peft", "accelerate")
    },
    # importers: only where a file is opened
    "torch": {"collect", "demo", "verify", "importers"},
}
HEAVY = {*HOMES, "numba", "polars", "numpy", "scipy", "pyarrow"} - {"ray"}
CORE = [p for p in sorted((HOUSE / "gtp_core").rglob("*.py")) if p.parent != HOUSE / "gtp_core"]
CORE += [p for p in sorted((HOUSE / "gtp_core").glob("*.py")) if p.name != "__init__.py"]
PAGES = sorted((HOUSE / "pages").glob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Every module a file imports, at its top or inside a function, `from x import y` as x.y."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE / "gtp_core").parts[0].removesuffix(".py")


def named(path: Path) -> str:
    return str(path.relative_to(HOUSE))


@pytest.mark.parametrize("path", CORE, ids=named)
def test_every_file_has_a_room_and_imports_only_from_rooms_above(path):
    room = room_of(path)
    assert room in ROOMS or room in ANNEXES, f"{path} is in no room; give it one in this list"
    allowed = {room, *(ROOMS[: ROOMS.index(room)] if room in ROOMS else ROOMS)}
    allowed |= ANNEXES.get(room, set())
    own = {name.split(".")[1] for name in imports_of(path) if name.startswith("gtp_core.")}
    assert own - {"__version__"} <= allowed


@pytest.mark.parametrize("path", CORE, ids=named)
def test_every_heavy_library_has_one_home(path):
    libraries = {name.split(".")[0] for name in imports_of(path)}
    assert not {lib for lib in libraries & set(HOMES) if room_of(path) not in HOMES[lib]}


@pytest.mark.parametrize("path", [*PAGES, *HOUSE.glob("app.py")], ids=named)
def test_pages_hold_widgets_and_sentences_only(path):
    """Streamlit, the rooms and the frame: no tables, no arithmetic, no SQL, no other page.

    What the frame consists of, and a part of a page, have names that begin with an underscore.
    """
    allowed = {"streamlit", "gtp_core", *sys.stdlib_module_names}
    frame = re.compile(r"pages\._\w+(\.\w+)?$")
    others = [name for name in imports_of(path) if not frame.match(name)]
    assert not [name for name in others if name.split(".")[0] not in allowed]


def test_no_part_of_a_page_has_the_name_of_a_page():
    """On the first visit Streamlit makes a page of every file, `_why.py` at the address `/why`.

    With a `why.py` beside it that visit ends in an exception, which only a browser sees.
    """
    names = [path.stem.lstrip("_") for path in PAGES]
    twice = sorted(f"pages/_{name}.py" for name in set(names) if names.count(name) > 1)
    assert not twice, f"rename {twice}: Streamlit would find two pages at one address"


def test_no_file_is_called_utils():
    folders = ("gtp_core", "pages", "tests", "benchmarks")
    assert not [p for folder in folders for p in (HOUSE / folder).rglob("util*.py")]


@pytest.mark.parametrize(
    "room", sorted(p.parent.name for p in (HOUSE / "gtp_core").glob("*/__init__.py"))
)
def test_no_file_takes_the_name_of_what_its_room_exports(room):
    """Importing `report.x` binds `x` in `report`, also where another file's function was bound."""
    package = importlib.import_module(f"gtp_core.{room}")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"gtp_core.{room}.{module.name}")
    taken = [n for n in getattr(package, "__all__", ()) if inspect.ismodule(getattr(package, n))]
    assert not taken, f"rename the files of {taken} in {room}: they hide names the room exports"


def test_importing_the_package_loads_nothing_heavy():
    code = f"import sys, gtp_core; print(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=HOUSE, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_is_there():
    import gtp_core

    assert all(getattr(gtp_core, name) is not None for name in gtp_core.__all__)
    assert 7 <= len(gtp_core.__all__) - 1 <= 12
    with pytest.raises(AttributeError):
        _ = gtp_core.nothing
