"""Promises of the documents: README, help and comments say what the code does."""

import ast
import re
from pathlib import Path

import pytest
from conftest import build_store

import gtp_core
from gtp_core import errors, methods
from gtp_core.atoms import pose
from gtp_core.catalog import TABLES
from gtp_core.cli import VERBS
from gtp_core.export import FORMATS
from gtp_core.methods import METHODS, PASSES, label, ranking
from gtp_core.store import EXAMPLE_COLUMNS, SAMPLE_COLUMNS
from gtp_core.store.manifest import GRADIENT_KINDS, Manifest, manifest_document

PACKAGE = Path(gtp_core.__file__).resolve().parent
ROOT = PACKAGE.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(PACKAGE.rglob("*.py"))


def section(heading: str) -> str:
    """What stands under a heading, up to the next of its level."""
    found = re.search(rf"^(#+) {heading}\b.*?\n(.*?)(?=^\1 |\Z)", README, re.S | re.M)
    assert found, f"the README has no section {heading!r}"
    return found[2]


def rows(heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def code(heading: str, language: str) -> str:
    return re.search(rf"```{language}\n(.*?)```", section(heading), re.S)[1]


def tree() -> dict[str, str]:
    """The paths of the README's tree, each with its phrase."""
    paths, above = {}, []
    for line in section("The files").splitlines():
        found = re.fullmatch(r"( {4,})(\S+) {2,}(\S.*)", line)
        if found:
            depth = (len(found[1]) - 4) // 4
            above = [*above[:depth], found[2].rstrip("/")]
            paths["/".join(above)] = found[3]
    return paths


# --- the README ------------------------------------------------------------------------------


def test_the_table_of_methods_is_the_one_in_the_code():
    told = rows("Methods")
    assert told == [[f"`{name}`", label(name), PASSES[name]] for name in METHODS]


def test_every_command_has_its_row_and_its_words():
    told = {re.match(r"`python -m gtp_core (\S+?)[ `]", row[0])[1]: row for row in rows("Commands")}
    assert set(told) == set(VERBS)
    for verb, (words, *_) in VERBS.items():
        assert told[verb][1].startswith(words)
    assert all(name in told["export"][1] for name in FORMATS)


@pytest.mark.parametrize("verb", VERBS)
def test_flags_in_the_readme_exist(verb, capsys):
    from gtp_core.cli import main

    with pytest.raises(SystemExit):
        main([verb, "--help"])
    known = capsys.readouterr().out
    (told,) = (row[0] for row in rows("Commands") if f"gtp_core {verb}" in row[0])
    assert all(flag in known for flag in re.findall(r"--[a-z-]+", told))


def test_the_tables_of_the_catalog_are_the_ones_in_the_code(catalog):
    told = {row[0].strip("`"): row[1] for row in rows("The catalog")}
    assert list(told) == list(TABLES)
    for name, words in told.items():
        columns = set(catalog.query(f"FROM {name}").columns)
        if name != "runs":  # told in words
            assert columns <= set(re.findall(r"\w+", words)), name


def test_every_file_of_the_tree_exists_and_has_a_phrase():
    paths = tree()
    assert len(paths) > 15
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_module_is_in_the_tree():
    paths = tree()
    rooms = [p for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()]
    wanted = [p for p in rooms if p.name not in ("__init__.py", "__main__.py")]
    wanted += [p for p in (ROOT / "pages").glob("*.py") if p.name != "__init__.py"]
    assert [str(p.relative_to(ROOT)) for p in wanted if str(p.relative_to(ROOT)) not in paths] == []


def test_the_format_names_every_field_and_column():
    text = section("The store")
    fields = set(manifest_document(Manifest(*[()] * 12)))
    names = {*fields, *SAMPLE_COLUMNS, *EXAMPLE_COLUMNS, *GRADIENT_KINDS}
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_pictures_and_local_links_exist():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    local = [link for link in links if not re.match(r"https?://", link)]
    assert [link for link in local if not (ROOT / link).exists()] == []


def test_the_method_of_the_readme_works(catalog):
    before = set(METHODS)
    exec(compile(code("Add a method", "python"), "README.md", "exec"), dict(vars(ranking)))
    (name,) = set(METHODS) - before
    try:
        selection = methods.select(pose(catalog, "maths"), 5, method=name)
        assert len(selection.support) == 5
        assert methods.label(name)
    finally:
        del METHODS[name], PASSES[name]


def test_the_query_of_the_readme_works(catalog):
    sql = code("The catalog", "sql").replace("step-00100", catalog.store.checkpoints[-1].name)
    answer = catalog.ask(sql)
    assert answer["sample_id"][0] == catalog.sample_ids()[0]
    assert answer["likeness"][0] == pytest.approx(1.0, abs=1e-3)


def test_the_folder_of_the_readme_is_what_a_store_looks_like(tmp_path):
    store = build_store(tmp_path / "store", tasks={"t": {"": 2}})
    shapes = {
        re.sub(r"part-\d+", "part-00000", str(p.relative_to(store.folder)))
        .replace("step-0/", "<checkpoint>/")
        .replace("step-10/", "<checkpoint>/")
        .replace("step-20/", "<checkpoint>/")
        for p in store.folder.rglob("*")
        if p.is_file() and not p.is_relative_to(store.folder / "tasks")
    }
    assert all(shape in section("The store") for shape in shapes)


# --- the code --------------------------------------------------------------------------------


def kinds() -> list[str]:
    tops = ast.parse(Path(errors.__file__).read_text(encoding="utf-8")).body
    return [node.name for node in tops if isinstance(node, ast.ClassDef)]


@pytest.mark.parametrize("kind", kinds())
def test_every_kind_of_error_is_raised_somewhere(kind):
    raised = re.compile(rf"\braise {kind}\(|\b{kind}\(\s*f?\"|\breturn {kind}\(")
    homes = [m for m in MODULES if m.name != "errors.py" and raised.search(m.read_text("utf-8"))]
    assert homes


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(PACKAGE)))
def test_every_public_name_says_what_it_is_for(module):
    body = ast.parse(module.read_text(encoding="utf-8"))
    assert ast.get_docstring(body)
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    public = [n for n in body.body if isinstance(n, named) and not n.name.startswith("_")]
    assert [node.name for node in public if not ast.get_docstring(node)] == []


def test_every_public_name_of_the_package_loads():
    assert [name for name in gtp_core.__all__ if getattr(gtp_core, name, None) is None] == []


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_requirements_are_pinned_and_have_a_reason(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith(("#", "-r "))]
    assert wanted
    for line in wanted:
        assert re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]* +# \w.*", line), line
    packages = [line.partition("==")[0].lower() for line in wanted]
    assert len(set(packages)) == len(packages)


def test_the_changelog_tells_what_is_not_released():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased = text.partition("## [Unreleased]")[2].partition("\n## ")[0]
    lines = [line for line in unreleased.splitlines() if line.startswith("- ")]
    assert lines
    assert [line for line in lines if not line.endswith(".")] == []


def test_readme_has_no_gaps():
    assert re.findall(r"\b(TODO|TBD|FIXME|XXX|NUMBERS)\b", README) == []
