"""Promises of the trial on a real pool: what it draws, how it shortens, that its parts are kept."""

import argparse
import json
import sys
from itertools import islice

import pytest
from test_verify import sums, write_lines

from benchmarks import real_pool
from benchmarks.real_model import LENGTH, ROWS, _rows, trained_model
from gtp_core.collect.encode import encode
from gtp_core.demo.model import held_out_loss, load_model, train_tokenizer


def given(folder, **more):
    found = {
        "pool": folder / "pool.jsonl",
        "text": None,
        "samples": 30,
        "seed": 0,
        "counterparts": 0,
        "unseen": False,
    }
    return argparse.Namespace(**{**found, **more})


def test_help_is_help(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["real_pool", "--help"])
    with pytest.raises(SystemExit) as left:
        real_pool.main()
    assert left.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_the_model_never_reads_what_is_in_the_store(tmp_path):
    write_lines(tmp_path / "pool.jsonl", sums(0, 40, "a"))
    text, samples = real_pool.drawn(given(tmp_path))
    assert (len(text), len(samples)) == (20, 20)
    assert not {row["id"] for row in text} & {row["id"] for row in samples}
    assert real_pool.drawn(given(tmp_path)) == (text, samples)
    more = write_lines(tmp_path / "text.jsonl", sums(0, 60, "a"))
    text, samples = real_pool.drawn(given(tmp_path, text=more))
    assert (len(text), len(samples)) == (20, 30)
    assert not {row["id"] for row in text} & {row["id"] for row in samples}


def test_a_long_prompt_keeps_its_end(tmp_path):
    tokenizer = train_tokenizer(["one two three four five 12345"], vocabulary=300)
    text = "é one two three four five 12345?"
    cut = real_pool.shortened(tokenizer, text, 5)
    assert text.endswith(cut)
    assert len(tokenizer.encode(cut, add_special_tokens=False)) <= 5
    assert real_pool.shortened(tokenizer, "one", 5) == "one"


def test_parts_that_are_there_are_not_made_again(tmp_path, monkeypatch):
    work = tmp_path / "work"
    for name in ("model/card.json", "pool.jsonl", "store/manifest.json"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(json.dumps({}), "utf-8")
    assert list(real_pool.steps(given(tmp_path, work=work))) == []
    (work / "store" / "manifest.json").unlink()
    made = []
    monkeypatch.setattr(real_pool, "collected", made.append)
    assert list(real_pool.steps(given(tmp_path, work=work))) == ["store"]
    assert len(made) == 1


def test_tests_are_apart_from_validation_however_short(tmp_path):
    tokenizer = train_tokenizer(["one two three four five 12345"], vocabulary=300)
    (tmp_path / "work" / "model").mkdir(parents=True)
    tokenizer.save_pretrained(tmp_path / "work" / "model")
    seen = [{"id": "v", "prompt": "one two three four", "completion": "5", "subset": "s"}]
    rows = [{**seen[0], "id": "a", "prompt": "five two three four"}]
    rows += [{**seen[0], "id": "b", "prompt": "one two three five"}]
    write_lines(tmp_path / "tasks" / "t" / "validation.jsonl", seen)
    write_lines(tmp_path / "tasks" / "t" / "test.jsonl", rows)
    found = given(tmp_path, work=tmp_path / "work", tasks=tmp_path / "tasks", max_tokens=4)
    real_pool.laid_out(found, rows)
    kept = real_pool.read_lines(tmp_path / "work" / "tests" / "t.jsonl")
    assert len(real_pool.read_lines(tmp_path / "work" / "tasks" / "t.jsonl")[0]["prompt"]) < 18
    assert [row["id"] for row in kept] == ["b"]
    assert [row["subtask"] for row in kept] == ["s"]


def test_the_model_trains_for_the_time_given_and_learns(tmp_path):
    rows = [{"prompt": "say the word", "completion": "pursuit pursuit pursuit"}] * 40
    trained_model(rows, tmp_path / "model", minutes=0.03, seed=0)
    card = json.loads((tmp_path / "model" / "card.json").read_text("utf-8"))
    assert card["tokens"] % (LENGTH * ROWS) == 0
    assert card["tokens"] > 0
    assert 1 <= card["seconds"] < 30
    model, tokenizer = load_model(tmp_path / "model")
    assert card["parameters"] == sum(p.numel() for p in model.parameters())
    known, other = (
        encode(tokenizer, "say the word", text, max_tokens=60)
        for text in ("pursuit pursuit pursuit", "word say the say")
    )
    losses = [held_out_loss(model, [one], pad_id=tokenizer.pad_token_id) for one in (known, other)]
    assert losses[0] < losses[1]


def test_rows_hold_whole_texts_end_to_end_without_padding():
    tokenizer = train_tokenizer(["one two three four five"], vocabulary=300)
    rows = list(islice(_rows(tokenizer, [("one", "two"), ("three", "four")]), 4))
    assert {len(row) for row in rows} == {LENGTH}
    texts = "".join(map(tokenizer.decode, rows)).split("<|end|>")
    assert set(texts[1:-1]) >= {"one\ntwo", "three\nfour"}
