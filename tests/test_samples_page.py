"""Promises of Samples and Activity: the core's numbers; edits are seen, honoured and undone."""

import polars as pl
import pytest
import test_app
from test_app import HOSTILE, captions, errors, is_one_sentence, plain

from gtp_core.atoms import pose
from gtp_core.catalog import Current, Filter, Standing, spell_filters
from gtp_core.catalog.edits import LOG
from gtp_core.export import table_csv
from gtp_core.methods import Settings, select
from gtp_core.report import current_table, nearest_gradients, prepare_path, shown, text_index

BUDGET = 9
place, core = test_app.place, test_app.core
_nothing_cached, _through_the_app = test_app._nothing_cached, test_app._through_the_app


@pytest.fixture
def opened(place, monkeypatch, core):
    """`opened(page, **query)` at a budget of 9; what was edited is forgotten afterwards."""
    monkeypatch.setenv("GTP_STORE", str(place / "store"))
    monkeypatch.setenv("GTP_WORKSPACE", str(place / "work"))
    monkeypatch.setattr("getpass.getuser", lambda: "Zoë")
    yield lambda page="samples", **query: test_app.open_page(
        page, **{"budget": str(BUDGET)} | query
    )
    (core.workspace / LOG).unlink(missing_ok=True)


@pytest.fixture
def current(core):
    problem = pose(core, "maths")
    return Current(core, current_table(core, problem, select(problem, BUDGET)))


def table(app) -> pl.DataFrame:
    return pl.from_pandas(app.dataframe[0].value)


def press(app, key):
    app.get_by_key(key).click().run()
    assert not app.exception, app.exception[0].value
    return app


def link(*filters) -> str:
    return spell_filters([Filter(kind, value) for kind, value in filters])


def labels(app) -> list[str]:
    return [plain(button.label) for button in app.button]


# --- what is shown ---------------------------------------------------------------------------


def test_the_table_is_a_page_of_the_working_set(opened, current):
    app = opened()
    found = current.working_set(order="valuable")
    wanted = shown(found.page(1, "maths"), "")
    seen = table(app)
    assert seen.columns == wanted.columns
    for column in ("sample_id", "verdict", "topk_rank", "source", "n_tokens", "prompt", "edit"):
        assert seen[column].to_list() == wanted[column].to_list()
    for column in ("weight", "gain", "influence"):
        left, right = (one[column].fill_null(-9.0).fill_nan(-9.0) for one in (seen, wanted))
        assert left.to_list() == pytest.approx(right.to_list(), abs=1e-9)


def test_a_link_brings_filters_order_focus_and_page(opened, current):
    app = opened(f=link(("verdict", "misaligned")), sort="long", id="id-0030")
    found = current.working_set([Filter("verdict", "misaligned")], "long")
    assert table(app)["sample_id"].to_list() == found.sample_ids()[:100]
    assert app.get_by_key("only-verdict").value == ["misaligned"]
    assert app.code[0].value == "id-0030"
    assert f"**{len(found):,}** of 120 samples" in [m.value for m in app.markdown]
    second = opened(p="2")
    assert (
        table(second)["sample_id"].to_list()
        == current.working_set(order="valuable").sample_ids()[100:]
    )


@pytest.mark.parametrize("wrong", ["0", "99", "x", "-1", "²"])
def test_a_page_that_is_not_there_is_the_nearest(opened, wrong):
    assert table(opened(p=wrong)).height in (100, 20)


def test_filters_are_set_and_taken_away(opened, current):
    app = opened()
    source = current.catalog.sources()[0]
    app.get_by_key("only-source").set_value([source]).run()
    app.get_by_key("search-text").set_value("日本").run()
    wanted = current.working_set([Filter("source", source), Filter("search", "日本")], "valuable")
    assert table(app)["sample_id"].to_list() == wanted.sample_ids()
    assert [b for b in labels(app) if "✕" in b] == [f"source: {source} ✕", "text: 日本 ✕"]
    assert app.get_by_key("search-text").value == ""
    press(app, "pill-1")
    press(app, "pill-0")
    assert table(app).height == 100
    assert app.get_by_key("only-source").value == []


def test_hostile_texts_are_code_and_never_markdown(opened):
    app = opened(id="id-0006")
    texts = [code.value for code in app.code]
    assert texts[1] == f"{HOSTILE[6 % len(HOSTILE)]} 6"
    for text in HOSTILE:
        assert not [m.value for m in (*app.markdown, *app.caption) if text in m.value]
        assert not [b.label for b in app.button if text in b.label]


def test_a_long_text_is_cut_and_says_so(opened, monkeypatch):
    from pages import _review

    monkeypatch.setattr(_review, "_MOST", 10)
    app = opened(id="id-0006")
    assert all(len(code.value) <= 10 for code in app.code)
    assert "characters, cut" in captions(app)


def test_an_id_that_is_not_there_is_said(opened):
    assert "There is no sample 'nobody <b>'" in captions(opened(id="nobody <b>"))


# --- searches --------------------------------------------------------------------------------


def test_similar_gradients_and_texts_come_most_similar_first(opened, current):
    core = current.catalog
    app = press(opened(id="id-0005"), "near-this")
    wanted = core.sample_ids().gather(nearest_gradients(core, pose(core, "maths"), "id-0005").rows)
    assert table(app)["sample_id"].to_list() == wanted.to_list()[:100]
    app.get_by_key("mode").set_value("like").run()
    app.get_by_key("search-text").set_value("bold 24").run()
    wanted = core.sample_ids().gather(text_index(core).nearest("bold 24").rows)
    assert table(app)["sample_id"].to_list() == wanted.to_list()[:100]
    assert table(app)["similarity"].is_sorted(descending=True)
    assert app.selectbox(key="sort").disabled


@pytest.mark.parametrize("bad", [("where", "1) OR (1"), ("where", "x ="), ("search", "/(/")])
def test_a_wrong_filter_is_one_sentence_and_can_be_taken_away(opened, bad):
    app = opened(f=link(bad))
    assert is_one_sentence(app)
    press(app, "pill-0")
    assert not app.error
    assert table(app).height == 100


def test_sql_sees_verdicts_at_hand_and_other_tables(opened, current):
    condition = "verdict = 'chosen' AND EXISTS (SELECT 1 FROM health h WHERE h.row = samples.row)"
    app = opened(f=link(("where", condition)), sort="valuable")
    chosen = select(pose(current.catalog, "maths"), BUDGET).support
    assert (
        table(app)["sample_id"].to_list() == current.catalog.sample_ids().gather(chosen).to_list()
    )


def test_the_fragile_come_from_the_prepared_path_or_are_computed_when_asked(opened, core):
    path = prepare_path(core, pose(core, "maths"), Settings())
    budgets = path.filter(pl.col("method") == "gtp")["budget"].unique().to_list()
    app = opened(sort="fragile", exact="30")
    assert 30 not in budgets
    assert "needs two more selections" in captions(app)
    press(app, "tenths")
    problem = pose(core, "maths")
    whole = select(problem, 30).support
    near = [set(select(problem, budget).support.tolist()) for budget in (27, 33)]
    gone = [row for row in whole.tolist() if any(row not in one for one in near)]
    assert (
        f"{len(gone)} of {len(whole)} chosen samples are gone at a budget of 27 or 33"
        in captions(app)
    )
    seen = table(app)["sample_id"].to_list()[: len(gone)]
    assert set(seen) == set(core.sample_ids().gather(gone))


# --- edits -----------------------------------------------------------------------------------


def left_out(core) -> str:
    support = select(pose(core, "maths"), BUDGET).support.tolist()
    return core.sample_ids()[next(row for row in range(40, 100) if row not in support)]


def test_a_pin_is_noted_seen_and_honoured_when_asked(opened, core):
    sample = left_out(core)
    app = press(opened(id=sample), "pin")
    (edit,) = core.edits()
    assert (edit.what, edit.who, edit.samples) == ("pin", "Zoë", (sample,))
    seen = table(app).filter(sample_id=sample)
    assert seen["edit"].item() == "★ pinned"
    assert "pinned" not in seen["verdict"].item()  # the selection waits
    press(app, "again")
    assert table(app).filter(sample_id=sample)["verdict"].item() == "★ pinned"
    assert "1 pinned" in captions(app)
    assert "again" not in [button.key for button in app.button]


def test_edits_are_honoured_on_other_pages_and_on_the_receipt(opened, core):
    sample = left_out(core)
    banned = core.sample_ids()[int(select(pose(core, "maths"), BUDGET).support[0])]
    app = press(opened(id=sample), "pin")
    core.edit("ban", who="somebody else", sample_id=banned)
    app.switch_page("pages/export.py").run()
    assert "1 pinned · 1 banned" in captions(app)
    next(b for b in app.button if "Save run" in b.label).click().run()
    run, tables = core.read_run(app.session_state["_run"])
    assert (run["settings"]["pins"], run["settings"]["bans"]) == ([sample], [banned])
    chosen = tables["selection"]["sample_id"].to_list()
    assert sample in chosen
    assert banned not in chosen
    assert "--pin" in app.code[len(app.code) - 1].value
    downloads = " ".join(plain(b.proto.label) for b in app.get("download_button"))
    assert "Download the pins" in downloads
    assert "Download the bans" in downloads
    core.delete_run(run["run"])


def test_a_prepared_path_is_not_used_for_another_problem(opened, core):
    core.edit("ban", who="Zoë", sample_id="id-0001")
    app = opened("overview")
    assert "Prepare the budget path" in labels(app)
    press(app, "undo")
    assert "Prepare the budget path" not in labels(app)
    assert len(app.get("plotly_chart")) >= 4


def test_undo_takes_back_ones_own_newest_edit(opened, core):
    app = opened(id="id-0044")
    assert app.get_by_key("undo").disabled
    press(press(app, "ban"), "free")
    theirs = core.edit("ban", who="somebody else", sample_id="id-0050")
    assert core.standing() == Standing((), ("id-0050",))
    press(app, "undo")
    assert core.standing() == Standing((), ("id-0044", "id-0050"))
    press(app, "undo")
    assert core.edits() == [theirs]
    assert app.get_by_key("undo").disabled
    banned = opened(f=link(("mark", "ban")))
    assert table(banned)["edit"].to_list() == ["⊘ banned"]


def test_a_tag_needs_a_name_and_filters(opened, core):
    app = press(opened(id="id-0044"), "tag")
    assert core.edits() == []
    app.get_by_key("tag-text").set_value("*look* [x](y)").run()
    press(app, "tag")
    assert core.tags() == ["*look* [x](y)"]
    app.get_by_key("only-tag").set_value(["*look* [x](y)"]).run()
    assert table(app)["sample_id"].to_list() == ["id-0044"]
    assert table(app)["tags"].to_list() == ["*look* [x](y)"]


def test_next_and_previous_go_through_the_working_set(opened, current):
    ids = current.working_set(order="valuable").sample_ids()
    app = opened()
    for key, wanted in (("next", 0), ("next", 1), ("next", 2), ("previous", 1)):
        press(app, key)
        assert app.session_state["_kept"]["id"] == ids[wanted]
    app = press(opened(id=ids[99]), "next")
    assert table(app)["sample_id"].to_list() == ids[100:]


def test_pins_that_no_budget_holds_are_one_sentence_that_undo_ends(opened, core):
    usable = [i for i, ok in zip(core.sample_ids(), core.valid(), strict=True) if ok]
    core.edit("pin", who="Zoë", sample_ids=usable[: BUDGET + 1])
    app = opened("overview")
    assert is_one_sentence(app, "pinned")
    press(app, "undo")
    assert errors(app) == []


def test_the_overview_leads_to_what_is_worth_a_look(opened, core):
    app = opened("overview", task="dates")
    links = [one.proto for one in app.get("page_link")]
    problem = pose(core, "dates")
    heaviest = core.sample_ids()[int(select(problem, BUDGET).support[0])]
    (why,) = (one for one in links if plain(one.label) == f"Why {heaviest}?")
    assert f"id={heaviest}" in why.query_string
    assert all("task=dates" in one.query_string for one in links)
    assert any("f=v%3Dchosen" in one.query_string for one in links)


# --- Activity --------------------------------------------------------------------------------


def test_activity_tells_who_did_what_and_what_is_in_force(opened, core):
    core.edit("ban", who="Ann <b>", sample_ids=["id-0001", "id-0002"])
    tag = core.edit("tag", who="Bob", sample_id="id-0003", value="*x*")
    core.edit("undo", who="Bob", undoes=tag.edit)
    app = opened("activity")
    log = table(app)
    assert log["what"].to_list() == ["undo", "tag", "ban"]
    assert log["who"].to_list() == ["Bob", "Bob", "Ann <b>"]
    assert log["state"].to_list() == ["undid 2", "undone", "in force"]
    assert log["samples"].to_list() == ["", "id-0003", "2 samples"]
    app.text_input(key="who").set_value("Ann <b>").run()
    press(app, "undo")
    assert core.edits() == []


def test_a_csv_of_ids_runs_nothing():
    rows = pl.DataFrame({"sample_id": ["=1+1", "@x", "id"], "weight": [0.5, None, 1.0]})
    lines = table_csv(rows).decode().splitlines()
    assert lines[1:] == ['"\'=1+1","0.5"', '"\'@x",""', '"id","1.0"']
