"""Promises of the working set: filters in a link, one query, orders, similar samples."""

import conftest
import numpy as np
import polars as pl
import pytest
from conftest import INVALID, build_store, sample_table
from hypothesis import given
from hypothesis import strategies as st

from gtp_core.atoms import pose
from gtp_core.catalog import (
    FILTER_KINDS,
    ORDERS,
    PAGE,
    Current,
    Filter,
    is_placed,
    open_catalog,
    read_filters,
    spell_filters,
    working_set,
)
from gtp_core.errors import CatalogError
from gtp_core.methods import select
from gtp_core.report import (
    CURRENT,
    current_table,
    nearest_gradients,
    prepared_tenths,
    shown,
    tenths,
    text_index,
)
from gtp_core.report.browse import SIGNS
from gtp_core.report.verdicts import VERDICTS

HOSTILE = ["<script>alert(1)</script>", "=1+1", "\u202etxet", "a\x00b", "*x* [y](z)", "100%_"]


def hostile_table(rows) -> pl.DataFrame:
    prompts = [f"{HOSTILE[row % len(HOSTILE)]} {row}" for row in rows]
    return sample_table(rows).with_columns(prompt=pl.Series(prompts, dtype=pl.String))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A store of 250 samples with hostile prompts, posed and solved, and its current verdicts."""
    folder = tmp_path_factory.mktemp("working")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "sample_table", hostile_table)
        store = build_store(folder / "store", n=250, part_rows=(100, 150))
    catalog = open_catalog(store)
    problem = pose(catalog, "maths", bans=["id-0003"])
    selection = select(problem, 20)
    near = {budget: select(problem, budget) for budget in tenths(20)}
    table = current_table(catalog, problem, selection, near)
    yield Current(catalog, table), problem, selection, near, table
    catalog.close()


# --- filters in a link -----------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(FILTER_KINDS)),
            st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50),
        ),
        max_size=40,
        unique=True,
    )
)
def test_a_link_brings_every_filter_back(pairs):
    filters = tuple(Filter(*pair) for pair in pairs)
    assert read_filters(spell_filters(filters)) == filters


@pytest.mark.parametrize("text", ["", "&&&", "zz=1", "v", "v=", "%", "q=%ff", "v=a&v=a" * 500])
def test_a_link_that_anybody_wrote_is_no_error(text):
    filters = read_filters(text)
    assert len(filters) <= 40
    working_set(filters)


# --- one query -------------------------------------------------------------------------------


def test_the_current_table_has_the_columns_it_tells(hostile):
    current, *_, table = hostile
    assert table.columns == CURRENT.partition(": ")[2].split(", ")
    assert table.height == 250
    assert set(SIGNS) == set(VERDICTS)
    assert current.query("FROM current ORDER BY row").equals(table)


def test_filters_of_a_kind_are_alternatives_and_kinds_hold_together(hostile):
    current, *_, table = hostile
    pool = table.join(current.catalog.query("SELECT row, source FROM samples"), on="row")

    def rows_of(condition):
        return pool.filter(condition)["row"].to_list()

    verdict = pool["verdict"].mode()[0]
    flan, dolly = Filter("source", "flan"), Filter("source", "dolly")
    found = current.working_set([flan, dolly, Filter("verdict", verdict)])
    both = pl.col("source").is_in(["flan", "dolly"]) & (pl.col("verdict") == verdict)
    assert found.rows.tolist() == rows_of(both)
    assert len(current.working_set()) == 250
    assert len(current.working_set([Filter("source", "nobody")])) == 0
    odd = current.working_set([Filter("source", "o'asst"), Filter("where", "row < 100")])
    assert odd.rows.tolist() == [row for row in range(100) if row % 4 == 2]


@pytest.mark.parametrize("text", HOSTILE)
def test_words_are_searched_as_they_are(hostile, text):
    current = hostile[0]
    wanted = [row for row in range(250) if HOSTILE[row % len(HOSTILE)] == text]
    assert current.working_set([Filter("search", text.upper())]).rows.tolist() == wanted


def test_a_pattern_between_slashes_is_searched_as_one(hostile):
    current = hostile[0]
    assert current.working_set([Filter("search", "/ID-00(03|17)$/")]).rows.tolist() == [3, 17]
    assert current.working_set([Filter("search", "id-00")]).rows.tolist() == list(range(100))


@pytest.mark.parametrize(
    "condition",
    [
        "topk_rank <= 10 AND verdict <> 'chosen'",
        "EXISTS (SELECT 1 FROM influences i WHERE i.row = samples.row AND influence > 1e9)",
        "leaves_at IS NOT NULL OR weight > 0",
    ],
)
def test_sql_sees_the_verdicts_at_hand(hostile, condition):
    current = hostile[0]
    sql = (
        f"SELECT row FROM samples JOIN current USING (row, sample_id) WHERE {condition} ORDER BY 1"
    )
    wanted = current.ask(sql)["row"].to_list()
    assert current.working_set([Filter("where", condition)]).rows.tolist() == wanted
    with pytest.raises(CatalogError):
        current.catalog.ask("FROM current")


@pytest.mark.parametrize(
    "bad",
    [
        Filter("where", "1) OR (1=1"),
        Filter("where", "nothing = 1"),
        Filter("where", "1; DROP TABLE samples"),
        Filter("where", "EXISTS (FROM read_text('/etc/passwd'))"),
        Filter("search", "/[/"),
    ],
)
def test_what_duckdb_refuses_is_one_sentence(hostile, says, bad):
    with pytest.raises(CatalogError) as caught:
        hostile[0].working_set([bad])
    says(caught.value)


def test_places_are_found_outside_sql_and_topics_are_alternatives(hostile):
    current = hostile[0]
    topics = [Filter("topic", "1"), Filter("topic", "2")]
    others = [Filter("region", "AAAA"), Filter("range", "length:0:9")]
    some = [np.arange(10), np.arange(20, 30), np.arange(5, 25), np.arange(8, 250)]
    placed = dict(zip([*topics, *others], some, strict=True))
    assert all(is_placed(one) for one in placed)
    assert not is_placed(Filter("source", "flan"))
    found = current.working_set([*placed], placed=placed)
    assert found.rows.tolist() == [8, 9, *range(20, 25)]
    only = current.working_set([*placed, Filter("where", "row > 21")], placed=placed)
    assert only.rows.tolist() == [22, 23, 24]
    none = current.working_set([topics[0]], placed={topics[0]: np.empty(0, np.int64)})
    assert len(none) == 0


def test_marks_and_tags_filter_as_soon_as_they_are_made(own_catalog):
    problem = pose(own_catalog, "maths")
    current = Current(own_catalog, current_table(own_catalog, problem, select(problem, 5)))
    own_catalog.edit("ban", who="me", sample_ids=["id-0004", "id-0009"])
    own_catalog.edit("tag", who="me", sample_id="id-0009", value="a, b <i>")
    assert current.working_set([Filter("mark", "ban")]).rows.tolist() == [4, 9]
    assert current.working_set([Filter("tag", "a, b <i>")]).rows.tolist() == [9]
    page = current.working_set([Filter("mark", "ban")]).page(1, "maths")
    assert page["mark"].to_list() == ["ban", "ban"]
    assert page["tags"].to_list() == [None, "a, b <i>"]


def test_a_table_goes_with_its_object(own_catalog):
    problem = pose(own_catalog, "maths")
    table = current_table(own_catalog, problem, select(problem, 5))
    count = "SELECT count(*) AS n FROM duckdb_tables() WHERE table_name LIKE 'kept_%'"
    one, two = Current(own_catalog, table), Current(own_catalog, table.head(3))
    assert own_catalog.query(count)["n"].item() == 2
    assert (one.query("FROM current").height, two.query("FROM current").height) == (60, 3)
    del one
    assert own_catalog.query(count)["n"].item() == 1


# --- orders ----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_holds_every_sample_once(hostile, order):
    rows = hostile[0].working_set(order=order).rows
    assert sorted(rows.tolist()) == list(range(250))


def test_the_most_valuable_are_the_chosen_by_weight(hostile):
    current, _, selection, *_ = hostile
    first = current.working_set(order="valuable").rows[: len(selection.support)]
    assert first.tolist() == selection.support.tolist()


def test_the_fragile_leave_at_a_tenth_more_or_less(hostile):
    current, _, selection, near, table = hostile
    gone = {
        row
        for row in selection.support.tolist()
        for other in near.values()
        if row not in other.support
    }
    assert gone
    rows = current.working_set(order="fragile").rows
    assert set(rows[: len(gone)].tolist()) == gone
    assert set(table.filter(pl.col("leaves_at").is_not_null())["row"]) == gone


def test_the_surprising_are_far_apart_in_the_two_rankings(hostile):
    current, *_, table = hostile
    ratio = np.abs(np.log(table["gtp_rank"].to_numpy() / table["topk_rank"].to_numpy()))
    rows = current.working_set(order="surprising").rows
    assert (np.diff(ratio[rows]) <= 1e-12).all()
    assert sorted(table["gtp_rank"]) == list(range(1, 251))


def test_the_long_but_weak_are_the_longest_of_the_weaker_half(hostile):
    current, *_, table = hostile
    tokens = current.catalog.query("SELECT n_tokens FROM samples ORDER BY row")["n_tokens"]
    rows = current.working_set(order="long").rows[:100]
    assert (table["topk_rank"].gather(rows) > 125).all()
    assert tokens.gather(rows).is_sorted(descending=True)


@pytest.mark.parametrize(
    ("budget", "found"), [(20, (18, 22)), (22, (20, 27)), (5, ()), (100, ()), (18, ())]
)
def test_prepared_budgets_stand_for_tenths_only_when_near(budget, found):
    path = pl.DataFrame({"method": ["gtp"] * 6, "budget": [5, 18, 20, 22, 27, 100]})
    if budget == 18:
        found = ()  # nothing between 13.5 and 18
    assert prepared_tenths(path, budget) == found


# --- pages and steps -------------------------------------------------------------------------


def test_pages_and_steps_go_through_all_of_it(hostile):
    current, *_ = hostile
    found = current.working_set(order="valuable")
    pages = [found.page(number, "maths") for number in range(1, found.n_pages + 1)]
    assert [page.height for page in pages] == [PAGE, PAGE, 50]
    rows = [row for page in pages for row in page["row"]]
    assert rows == found.rows.tolist()
    ids = found.sample_ids()
    assert found.listed()["sample_id"].to_list() == ids
    assert [found.beside(ids[i], 1) for i in (0, 99, 249)] == [ids[1], ids[100], ids[249]]
    assert [found.beside(ids[i], -1) for i in (0, 100)] == [ids[0], ids[99]]
    assert (found.page_of(ids[99]), found.page_of(ids[100]), found.page_of("nobody")) == (1, 2, 1)
    some = current.working_set([Filter("where", "row < 5")], "pool")
    assert some.beside(current.catalog.sample_ids()[200], 1) == some.sample_ids()[0]
    assert current.working_set([Filter("search", "nowhere")]).beside("id-0001", 1) is None
    assert current.working_set([Filter("search", "nowhere")]).page(1, "maths").is_empty()


def test_a_page_is_shown_with_signs_and_texts_as_they_are(hostile):
    current, *_ = hostile
    found = current.working_set(order="pool")
    table = shown(found.page(1, "maths"), "id-0002")
    assert table[" "].to_list().index("▶") == 2
    assert all(one[0] in SIGNS.values() for one in table["verdict"])
    assert table["prompt"].to_list() == [f"{HOSTILE[r % len(HOSTILE)]} {r}" for r in range(PAGE)]
    parts = np.array(table["by checkpoint"][0])
    assert parts.sum() == pytest.approx(table["influence"][0], abs=1e-3)


# --- similar samples -------------------------------------------------------------------------


def test_similar_gradients_are_exact_cosines_of_trajectories(hostile):
    current, problem, *_ = hostile
    found = nearest_gradients(current.catalog, problem, "id-0005", count=30)
    atoms = problem.less_atoms.rows(np.arange(250)).astype(np.float64)
    lengths = np.linalg.norm(atoms, axis=1)
    cosines = np.nan_to_num(atoms @ atoms[5] / np.maximum(lengths * lengths[5], 1e-30))
    cosines[list(INVALID)] = -1
    assert found.scores == pytest.approx(np.sort(cosines)[::-1][:30], abs=1e-6)
    assert found.rows[0] in (5, 45, 46)  # itself and its copies
    assert set(found.rows[:3].tolist()) == {5, 45, 46}
    near = Filter("near", "id-0005")
    some = current.working_set([near, Filter("where", "row < 50")], nearest={near: found})
    assert some.rows.tolist() == [row for row in found.rows.tolist() if row < 50]
    assert some.page(1, "maths")["similarity"].is_sorted(descending=True)


def test_nothing_is_similar_to_an_unusable_gradient(hostile, says):
    current, problem, *_ = hostile
    for sample_id in ("id-0007", "nobody"):
        with pytest.raises(CatalogError) as caught:
            nearest_gradients(current.catalog, problem, sample_id)
        says(caught.value, sample_id)


def test_similar_texts_share_their_rare_words(hostile):
    current, *_ = hostile
    index = text_index(current.catalog)
    found = index.nearest("alert(1) SCRIPT 60")
    assert set(found.rows[:2].tolist()) == {30, 60}  # 60 is asked for, and the answer to 30 + 30
    assert {row % len(HOSTILE) for row in found.rows[:20].tolist()} == {0}
    own = current.catalog.texts(np.array([7]))
    same = index.nearest(f"{own['prompt'][0]} {own['completion'][0]}")
    assert same.rows[0] == 7
    assert same.scores[0] == pytest.approx(1.0, abs=1e-5)
    for nothing in ("", "?!", "neverwritten", "\x00", "\ud800"):
        assert len(index.nearest(nothing).rows) == 0
