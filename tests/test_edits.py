"""Promises of the edit log: batches, the last word, undo, several people, kills."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import INVALID

from gtp_core.atoms import pose
from gtp_core.catalog import Standing, open_catalog
from gtp_core.catalog.edits import LOG
from gtp_core.cli import main
from gtp_core.errors import CatalogError
from gtp_core.methods import select

MANY = [f"id-{i:04d}" for i in range(40)]


def log_of(catalog) -> bytes:
    return (catalog.workspace / LOG).read_bytes()


# --- many at once ----------------------------------------------------------------------------


def test_a_batch_is_one_line_and_undone_as_one(own_catalog):
    pin = own_catalog.edit("pin", who="Zoë", sample_id="id-0050")
    batch = own_catalog.edit("ban", who="Zoë", sample_ids=MANY)
    assert log_of(own_catalog).count(b"\n") == 2
    assert batch.samples == tuple(MANY)
    assert own_catalog.standing() == Standing(("id-0050",), tuple(MANY))
    rows = own_catalog.query("SELECT edit, sample_id FROM edits WHERE what = 'ban' ORDER BY 2")
    assert rows.rows() == [(2, sample_id) for sample_id in MANY]
    own_catalog.edit("undo", who="Zoë", undoes=batch.edit)
    assert own_catalog.standing() == Standing(("id-0050",), ())
    assert own_catalog.edits() == [pin]


def test_a_batch_with_an_unknown_id_is_refused_whole(own_catalog, says):
    with pytest.raises(CatalogError) as caught:
        own_catalog.edit("ban", who="me", sample_ids=[*MANY, "nobody"])
    says(caught.value, "'nobody'")
    assert own_catalog.edits() == []


@pytest.mark.parametrize("cut", [1, 2, 30, 300])
def test_a_batch_cut_short_is_there_whole_or_not_at_all(own_catalog, cut):
    own_catalog.edit("tag", who="me", sample_ids=MANY, value="x")
    log = own_catalog.workspace / LOG
    log.write_bytes(log.read_bytes()[:-cut])
    tagged = open_catalog(own_catalog.store).query("SELECT sample_id FROM tags ORDER BY 1")
    assert tagged["sample_id"].to_list() == (MANY if cut == 1 else [])


# --- the last word ---------------------------------------------------------------------------


def test_the_last_word_about_a_sample_counts(own_catalog):
    me = {"who": "me"}
    own_catalog.edit("pin", sample_ids=MANY[:4], **me)
    own_catalog.edit("ban", sample_id=MANY[1], **me)
    freed = own_catalog.edit("free", sample_ids=MANY[2:4], **me)
    assert own_catalog.standing() == Standing((MANY[0],), (MANY[1],))
    own_catalog.edit("undo", undoes=freed.edit, **me)
    assert own_catalog.standing() == Standing((MANY[0], MANY[2], MANY[3]), (MANY[1],))
    pose(own_catalog, "maths", pins=own_catalog.standing().pins, bans=own_catalog.standing().bans)


def test_tags_come_and_go(own_catalog):
    for what, value in (("tag", "a"), ("tag", "a"), ("tag", "b"), ("untag", "a"), ("untag", "c")):
        own_catalog.edit(what, who="me", sample_ids=MANY[:2], value=value)
    assert own_catalog.query("FROM tags ORDER BY 1").rows() == [(MANY[0], "b"), (MANY[1], "b")]


def test_a_pin_without_a_usable_gradient_stands_in_nobodys_way(own_catalog):
    bad = [f"id-{row:04d}" for row in INVALID]
    own_catalog.edit("pin", who="me", sample_ids=[*bad, "id-0001"])
    own_catalog.edit("ban", who="me", sample_id=bad[0])
    assert own_catalog.standing() == Standing(("id-0001",), (bad[0],))
    strange = {"time": "", "who": "me", "what": "pin", "sample_id": "of another store"}
    with open(own_catalog.workspace / LOG, "a") as log:
        log.write(json.dumps(strange) + "\n")
    assert own_catalog.standing() == Standing(("id-0001",), (bad[0],))


# --- several people --------------------------------------------------------------------------


def test_undo_takes_back_ones_own_newest_edit(own_catalog):
    other = open_catalog(own_catalog.store)
    own_catalog.edit("pin", who="Ann", sample_id=MANY[0])
    other.edit("ban", who="Bob", sample_id=MANY[1])
    assert own_catalog.standing() == Standing((MANY[0],), (MANY[1],))
    assert own_catalog.undo("Ann").samples == (MANY[0],)
    assert other.standing() == own_catalog.standing() == Standing((), (MANY[1],))
    assert own_catalog.undo("Ann") is None
    assert own_catalog.undo("Bob").what == "ban"
    assert own_catalog.edits() == []


# --- the next problem ------------------------------------------------------------------------


def test_the_command_honours_the_edits_and_says_so_on_the_run(own_catalog, capsys):
    plain = select(pose(own_catalog, "maths"), 6)
    ids = own_catalog.sample_ids().gather(plain.support).to_list()
    left_out = next(i for i in MANY if i not in ids and int(i[3:]) not in INVALID)
    own_catalog.edit("ban", who="me", sample_ids=ids[:2])
    own_catalog.edit("pin", who="me", sample_id=left_out)
    command = ["select", str(own_catalog.store.folder), "--task", "maths", "--budget", "6"]
    runs = []
    for extra in ([], ["--ignore-edits"]):
        assert main([*command, "--json", *extra]) == 0
        runs.append(json.loads(capsys.readouterr().out))
    assert left_out in runs[0]["sample_ids"]
    assert not set(ids[:2]) & set(runs[0]["sample_ids"])
    assert runs[0]["settings"]["pins"] == [left_out]
    assert runs[0]["settings"]["bans"] == sorted(ids[:2])
    assert sorted(runs[1]["sample_ids"]) == sorted(ids)


# --- kills -----------------------------------------------------------------------------------

EDITOR = """
import sys
from gtp_core.catalog import open_catalog
catalog = open_catalog(sys.argv[1])
many = [f"id-{i:04d}" for i in range(60)] * 500
print("ready", flush=True)
while True:
    catalog.edit("tag", who="me", sample_ids=many, value="x")
    print("one", flush=True)
"""


def test_a_kill_leaves_every_edit_that_was_told_and_no_half_of_one(own_catalog):
    known = 0
    for moment in (0.0, 0.013, 0.031):
        process = subprocess.Popen(
            [sys.executable, "-c", EDITOR, str(own_catalog.store.folder)],
            stdout=subprocess.PIPE,
            cwd=os.getcwd(),
        )
        assert process.stdout.readline() == b"ready\n"
        assert process.stdout.readline() == b"one\n"
        time.sleep(moment)
        process.send_signal(signal.SIGKILL)
        told = 1 + process.stdout.read().count(b"one\n")
        process.wait(10)
        process.stdout.close()
        edits = own_catalog.edits()
        assert len(edits) - known in (told, told + 1)
        assert {len(edit.samples) for edit in edits} == {60 * 500}
        known = len(edits)
    mine = own_catalog.edit("pin", who="me", sample_id="id-0001")
    assert own_catalog.edits()[-1] == mine
