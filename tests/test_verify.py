"""Promises of `verify`: trials on tiny models, kept whole, paired over seeds, never a seen test."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from conftest import build_store
from scipy.stats import ttest_rel
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gtp_core.atoms import pose
from gtp_core.catalog import open_catalog
from gtp_core.cli import main
from gtp_core.cli.verifying import _lines
from gtp_core.collect.encode import Encoded
from gtp_core.collect.model import adapted, load_model
from gtp_core.collect.warmup import trainable
from gtp_core.errors import CancelledError, CollectError, MethodError, RunError, TaskError
from gtp_core.methods import Settings, select
from gtp_core.report import given, save
from gtp_core.verify import Asked, VerifySettings, as_collected, verify
from gtp_core.verify.comparing import comparisons, paired, sentences
from gtp_core.verify.examples import final_answer
from gtp_core.verify.steps import marks_of, places_met, samples_met, samples_seen, steps_of
from gtp_core.verify.training import train

ROOT = Path(__file__).parents[1]
SMALL = ["--rank", "2", "--alpha", "4", "--batch-size", "4", "--learning-rate", "3e-2"]
SMALL += ["--warmup-share", "0.4", "--epochs", "2", "--dim", "32", "--max-tokens", "48"]
SMALL += ["--threads", "1", "--device", "cpu", "--targets", "v_proj,o_proj"]
FAST = {"seeds": 2, "points": 2, "max_new_tokens": 4, "threads": 1}


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def sums(start, count, word):
    """Questions whose answers all begin alike, so that a few steps teach something."""
    return [
        {
            "id": f"{word}{i}",
            "subtask": "xy"[i % 2],
            "prompt": f"{word} {i} + {i}?",
            "completion": f"== {i % 10}",
        }
        for i in range(start, start + count)
    ]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A Llama of one small layer with random weights and a token a byte."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: at for at, letter in enumerate(["</s>", *alphabet])}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=96,
        bos_token_id=None,
        eos_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory, model_folder):
    """A collected store with its test examples; tests may read it, and work elsewhere."""
    folder = tmp_path_factory.mktemp("store") / "tiny"
    given = tmp_path_factory.mktemp("given")
    pool = write_lines(given / "pool.jsonl", sums(0, 24, "What is"))
    tasks = [f"{n}={write_lines(given / f'{n}.jsonl', sums(50, 6, n))}" for n in ("sums", "more")]
    arguments = ["collect", "--model", str(model_folder), "--pool", str(pool), *SMALL]
    arguments += [word for task in tasks for word in ("--task", task)]
    assert main([*arguments, "--out", str(folder)]) == 0
    write_lines(folder / "tests" / "sums.jsonl", sums(70, 8, "sums"))
    return folder


def saved(catalog, task, method):
    problem = pose(catalog, task)
    selection = select(problem, 8, method=method, settings=Settings(ridge=0.1))
    return save(catalog, problem, selection, None)["run"]


@pytest.fixture(scope="module")
def runs(store, tmp_path_factory):
    """A workspace with three runs: gtp and top-k of 8 for sums, gtp of 8 for more."""
    workspace = tmp_path_factory.mktemp("runs")
    found = []
    catalog = open_catalog(store, workspace=workspace)
    for task, method in (("sums", "gtp"), ("sums", "top-k"), ("more", "gtp")):
        found.append(saved(catalog, task, method))
    catalog.close()
    return workspace, found


@pytest.fixture
def fresh(store, runs, tmp_path):
    """A catalog with the runs in a workspace of the test's own."""
    shutil.copytree(runs[0], tmp_path / "work")
    catalog = open_catalog(store, workspace=tmp_path / "work")
    yield catalog
    catalog.close()


def asked(runs, model_folder, **more):
    told = {**FAST, **more.pop("told", {})}
    return Asked(runs=runs, model=str(model_folder), told=told, **more)


def trials_in(folder):
    """Every trial by its file's name, without the time it took."""
    found = {p.name: json.loads(p.read_text("utf-8")) for p in Path(folder).glob("trials/*.json")}
    return {name: {k: v for k, v in t.items() if k != "seconds"} for name, t in found.items()}


# --- from end to end -------------------------------------------------------------------------


def test_the_command_trains_every_arm_and_says_what_it_found(
    store, runs, fresh, model_folder, tmp_path, capsys
):
    _, (one, other, _) = runs
    words = ["verify", str(store), one, other, "--workspace", str(tmp_path / "work"), "--random"]
    words += ["--full", "--model", str(model_folder), "--seeds", "2", "--epochs", "3"]
    capsys.readouterr()
    assert main([*words, "--max-new-tokens", "4", "--threads", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["arm"]: row for row in found["table"]}
    assert list(rows) == ["base", one, other, "random-8", "full"]
    assert [rows[a]["n_samples"] for a in rows] == [0, 8, 8, 8, 24]
    assert [rows[a]["steps"] for a in rows] == [0, 6, 6, 6, 18]  # equal epochs, batches of 4
    assert all(rows[a]["test_loss"] < rows["base"]["test_loss"] for a in list(rows)[1:])
    assert rows["full"]["test_loss"] < rows[one]["test_loss"]  # three times as many steps
    assert all(0 <= row["exact_match"] <= 1 for row in rows.values())
    assert len(found["sentences"]) == 6  # three others, two measures
    assert "equal epochs" in found["notes"][0]
    assert "unweighted" in found["notes"][0]
    kept = json.loads((Path(found["folder"]) / "table.json").read_text("utf-8"))
    assert kept == found
    curves = pl.read_parquet(Path(found["folder"]) / "curves.parquet")
    assert Counter(curves["arm"]) == {one: 8, other: 8, "random-8": 8, "full": 8}
    last = curves.filter((pl.col("arm") == one) & (pl.col("seed") == 0))["test_loss"][-1]
    assert last == trials_in(found["folder"])[f"{one}.seed-0.json"]["test_loss"]
    assert main([*words, "--max-new-tokens", "4", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in rows)


def test_no_difference_where_both_subsets_are_one(fresh, runs, model_folder):
    """The whole pool as a list of the visitor's own, and by --full: the same model to the bit."""
    everything = fresh.sample_ids().to_list()
    problem = pose(fresh, "sums", n_splits=0)
    run = save(fresh, problem, given(fresh, problem, everything, name="all"), None)["run"]
    found = verify(fresh, asked([run], model_folder, full=True))
    assert [c["difference"] for c in found["comparisons"]] == [0.0, 0.0]
    assert not any(c["beyond_noise"] for c in found["comparisons"])


def test_what_is_done_is_not_done_again_and_more_seeds_are_added(fresh, runs, model_folder):
    first = verify(fresh, asked(runs[1][:1], model_folder, told={"seeds": 1}))
    before = {p: p.stat().st_mtime_ns for p in Path(first["folder"]).glob("trials/*.json")}
    told = []
    again = verify(
        fresh, asked(runs[1][:1], model_folder, told={"seeds": 1}), lambda *one: told.append(one)
    )
    assert again == first
    assert told == []
    more = verify(fresh, asked(runs[1][:2], model_folder, told={"seeds": 2}))
    assert more["folder"] == first["folder"]
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert [row["trials"] for row in more["table"]] == [1, 2, 2]


def test_a_trial_does_not_depend_on_those_before_it(fresh, runs, model_folder):
    one, other, _ = runs[1]
    folder = Path(verify(fresh, asked([one, other], model_folder))["folder"])
    before = trials_in(folder)
    for path in folder.glob("trials/*.json"):
        path.unlink()
    assert Path(verify(fresh, asked([other, one], model_folder))["folder"]) == folder
    assert trials_in(folder) == before


# --- interruptions ---------------------------------------------------------------------------


def test_killed_it_goes_on_to_the_same_numbers(store, runs, fresh, model_folder, tmp_path):
    one, other, _ = runs[1]
    words = ["verify", str(store), one, other, "--workspace", str(tmp_path / "work"), "--model"]
    words += [str(model_folder), "--seeds", "4", "--epochs", "3", "--max-new-tokens", "4"]
    words += ["--threads", "1", "--points", "2"]
    command = [sys.executable, "-m", "gtp_core", *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ}, **quiet)
    folder = fresh.workspace / "verify"
    end = time.monotonic() + 120
    while len(list(folder.glob("*/trials/*.json"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    (folder,) = folder.iterdir()
    cut = trials_in(folder)  # every file of a trial is whole
    assert 2 <= len(cut) < 9
    assert not (folder / "table.json").exists()
    told = {"seeds": 4, "epochs": 3}
    found = verify(fresh, asked([one, other], model_folder, told=told))
    assert Path(found["folder"]) == folder
    whole = trials_in(folder)
    assert len(whole) == 9
    assert cut.items() <= whole.items()
    for path in folder.glob("trials/*.json"):
        path.unlink()
    verify(fresh, asked([one, other], model_folder, told=told))
    assert trials_in(folder) == whole


def test_ctrl_c_keeps_what_is_done(fresh, runs, model_folder):
    def stop_in_the_second_arm(done, total, what):
        if "top-k" in what:
            raise KeyboardInterrupt

    found = verify(fresh, asked(runs[1][:2], model_folder), stop_in_the_second_arm)
    assert found["cancelled"]
    assert "2 of 5 trials" in found["notes"][-1]
    assert [row["trials"] for row in found["table"]] == [1, 1, 0]
    whole = verify(fresh, asked(runs[1][:2], model_folder))
    assert not whole["cancelled"]
    assert [row["trials"] for row in whole["table"]] == [1, 2, 2]


def test_ctrl_c_before_any_trial_is_one_sentence(fresh, runs, model_folder):
    def stop(done, total, what):
        raise KeyboardInterrupt

    with pytest.raises(CancelledError, match="before any trial"):
        verify(fresh, asked(runs[1][:1], model_folder), stop)


def test_a_damaged_trial_is_done_again(fresh, runs, model_folder):
    found = verify(fresh, asked(runs[1][:1], model_folder))
    path = Path(found["folder"]) / "trials" / f"{runs[1][0]}.seed-1.json"
    whole = trials_in(found["folder"])
    path.write_text(path.read_text("utf-8")[:100], "utf-8")
    verify(fresh, asked(runs[1][:1], model_folder))
    assert trials_in(found["folder"]) == whole


def test_progress_ends_at_its_total(fresh, runs, model_folder):
    told = []
    more = asked(runs[1][:2], model_folder, random=True, full=True, told={"steps": 5})
    verify(fresh, more, lambda *one: told.append(one))
    counts = [done for done, _, _ in told]
    assert counts == sorted(counts)
    assert counts[-1] == told[0][1]


# --- the test examples -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"prompt": "SUMS  50 +\n50?", "completion": "== 9"}, "prompt"),
        ({"id": "sums51", "prompt": "new", "completion": "== 1"}, "id"),
    ],
)
def test_validation_examples_are_never_asked(fresh, runs, model_folder, tmp_path, row, word):
    path = write_lines(tmp_path / "test.jsonl", [*sums(80, 2, "sums"), row])
    with pytest.raises(TaskError, match=f"has the {word} of a validation example of sums"):
        verify(fresh, asked(runs[1][:1], model_folder, test=path))
    assert not (fresh.workspace / "verify").exists()


def test_a_test_example_that_is_trained_on_is_told(fresh, runs, model_folder, tmp_path):
    path = write_lines(tmp_path / "test.jsonl", [*sums(80, 2, "sums"), *sums(3, 1, "What is")])
    found = verify(fresh, asked(runs[1][:1], model_folder, test=path, full=True))
    assert any("1 of 3 test examples have the prompt" in note for note in found["notes"])


def test_a_task_without_answers_has_losses_only(fresh, runs, model_folder, tmp_path):
    rows = [{**row, "completion": "a long story " * 6} for row in sums(80, 3, "sums")]
    path = write_lines(tmp_path / "test.jsonl", rows)
    found = verify(fresh, asked(runs[1][:1], model_folder, test=path, told={"max_tokens": 90}))
    assert [row["exact_match"] for row in found["table"]] == [None, None]
    assert all(row["test_loss"] > 0 for row in found["table"])


CHAT = "{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + '</s>\\n' }}{% endfor %}"
CHAT += "{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"


def test_chats_need_a_template_and_take_the_one_given(fresh, runs, model_folder, tmp_path):
    turns = [{"role": "user", "content": "sums 80 + 80?"}]
    turns += [{"role": "assistant", "content": "== 0"}]
    path = write_lines(tmp_path / "test.jsonl", [{"messages": turns}])
    with pytest.raises(CollectError, match="--chat-template"):
        verify(fresh, asked(runs[1][:1], model_folder, test=path))
    told = {"template": "chat", "max_tokens": 90}
    found = verify(
        fresh, asked(runs[1][:1], model_folder, test=path, chat_template=CHAT, told=told)
    )
    assert found["table"][1]["test_loss"] < found["table"][0]["test_loss"]
    twice = write_lines(tmp_path / "twice.jsonl", [{"messages": turns * 2}])
    found = verify(
        fresh, asked(runs[1][:1], model_folder, test=twice, chat_template=CHAT, told=told)
    )
    assert found["table"][0]["exact_match"] is None  # no model writes two answers at once


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("7 + 5 = 12\n#### 12", "12"),
        ("So the answer is (B).", "(b)"),
        ("14 + 4 = 18. Answer: 18", "18"),
        ("It costs $5.\nThe answer is $1,024.\nQ: next", "1024"),
        ("Tuesday\nand more", "tuesday"),
        ("", ""),
    ],
)
def test_final_answers(text, answer):
    assert final_answer(text) == answer


# --- training --------------------------------------------------------------------------------


def trained(model_folder, samples, weights, settings):
    model = load_model(model_folder, dtype="fp32", device=torch.device("cpu"))
    tuned = adapted(model, settings.collecting(0), [])
    ticks = []
    points = list(
        train(
            tuned,
            samples,
            np.array(weights, float),
            settings=settings,
            seed=0,
            pad_id=0,
            tick=ticks.append,
        )
    )
    return {name: p.detach().clone() for name, p in trainable(tuned)}, points, ticks


PLAIN = VerifySettings(rank=2, alpha=4, dropout=0.0, learning_rate=1e-2, batch_size=2, steps=5)


def test_weights_decide_what_is_learned(model_folder):
    a, b = Encoded((5, 6, 7), (8, 9, 0)), Encoded((15, 16), (18, 19, 20, 0))
    alone, _, _ = trained(model_folder, [a], [1.0], PLAIN)
    only_a, _, _ = trained(model_folder, [a, b], [2.0, 0.0], PLAIN)
    both, _, _ = trained(model_folder, [a, b], [1.0, 1.0], PLAIN)
    for name in alone:
        torch.testing.assert_close(only_a[name], alone[name], rtol=1e-4, atol=1e-6)
    assert any((both[name] - alone[name]).abs().max() > 1e-3 for name in alone)


def test_weighted_and_unweighted_are_different_trials(fresh, runs, model_folder):
    plain = verify(fresh, asked(runs[1][:1], model_folder, random=True))
    weighted = verify(fresh, asked(runs[1][:1], model_folder, random=True, told={"weighted": 1}))
    assert plain["key"] != weighted["key"]
    one, other = trials_in(plain["folder"]), trials_in(weighted["folder"])
    name = f"{runs[1][0]}.seed-0.json"
    assert one[name]["test_loss"] != other[name]["test_loss"]
    assert one["random-8.seed-0.json"] == other["random-8.seed-0.json"]  # it has no weights
    assert "unweighted loss" in plain["notes"][0]
    assert "8, weighted" not in plain["notes"][0]


def test_equal_steps_are_equal_whatever_the_size(fresh, runs, model_folder):
    found = verify(fresh, asked(runs[1][:1], model_folder, full=True, told={"steps": 7}))
    assert [row["steps"] for row in found["table"]] == [0, 7, 7]
    assert "7 steps (equal steps)" in found["notes"][0]
    assert not any("come by" in note for note in found["notes"])  # 28 places, 24 samples


def test_prompts_and_samples_that_no_step_comes_by_are_not_counted(
    store, fresh, runs, model_folder, tmp_path, capsys
):
    """Two steps of four meet 8 of 24 samples: others' prompts in the test are no leak."""
    settings = VerifySettings(**{**vars(PLAIN), "steps": 2, "batch_size": 4})
    met = places_met(24, settings, 0)
    unmet = next(at for at in range(24) if at not in met)
    prompts = fresh.query("SELECT prompt FROM samples ORDER BY row")["prompt"].to_list()
    path = write_lines(
        tmp_path / "test.jsonl",
        [{"prompt": prompts[at], "completion": "4"} for at in (int(met[0]), unmet)],
    )
    told = {"steps": 2, "seeds": 1, "batch_size": 4}
    found = verify(fresh, asked(runs[1][:1], model_folder, test=path, full=True, told=told))
    assert trials_in(found["folder"])["full.seed-0.json"]["n_seen"] == 1
    assert [row["n_met"] for row in found["table"]] == [0, 8, 8]
    assert any(
        note.startswith("full: 2 steps come by 8 of its 24 samples") for note in found["notes"]
    )
    assert any("8 of 24 " in line for line in _lines(found))


@pytest.mark.parametrize("count", [1, 3, 4, 9, 24])
@pytest.mark.parametrize("steps", [1, 2, 5, 9])
def test_samples_met_are_as_counted_beforehand(count, steps):
    settings = VerifySettings(**{**vars(PLAIN), "steps": steps, "batch_size": 4})
    assert len(places_met(count, settings, 3)) == samples_met(count, steps, 4)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
@pytest.mark.parametrize("told", [{"steps": 5}, {"epochs": 2}, {"steps": 1}])
def test_steps_and_samples_are_as_counted_beforehand(model_folder, count, told):
    settings = VerifySettings(**{**vars(PLAIN), "steps": 0, "batch_size": 4, "points": 3, **told})
    samples = [Encoded((5,), (6 + i, 0)) for i in range(count)]
    _, points, ticks = trained(model_folder, samples, np.ones(count), settings)
    assert len(ticks) == steps_of(count, settings)
    assert sum(ticks) == samples_seen(count, settings)
    assert [step for step, _ in points] == marks_of(len(ticks), settings)
    assert points[-1][0] == len(ticks)


def test_chance_draws_differ_by_seed_and_have_the_size(fresh, runs, model_folder):
    found = verify(fresh, asked(runs[1][:1], model_folder, random=True))
    trials = trials_in(found["folder"])
    drawn = [trials[f"random-8.seed-{seed}.json"] for seed in (0, 1)]
    assert drawn[0]["subset"] != drawn[1]["subset"]
    assert [trial["n_samples"] for trial in drawn] == [8, 8]


# --- what is refused -------------------------------------------------------------------------


def test_refusals_are_sentences(fresh, runs, model_folder, tmp_path):
    one, _, elsewhere = runs[1]
    with pytest.raises(RunError, match="different tasks"):
        verify(fresh, asked([one, elsewhere], model_folder))
    with pytest.raises(RunError, match="each id"):
        verify(fresh, asked([one, one], model_folder))
    with pytest.raises(TaskError, match=r"more\.jsonl is not there"):
        verify(fresh, asked([elsewhere], model_folder))
    with pytest.raises(MethodError, match="epochs is 0"):
        verify(fresh, asked([one], model_folder, told={"epochs": 0}))
    empty = write_lines(tmp_path / "none.jsonl", [])
    with pytest.raises(TaskError, match="no examples"):
        verify(fresh, asked([one], model_folder, test=empty))


def test_a_model_that_is_not_here_is_asked_for(tmp_path):
    store = build_store(tmp_path / "store", tasks={"maths": {"": 2}})
    catalog = open_catalog(store, workspace=tmp_path / "work")
    run = saved(catalog, "maths", "top-k")
    path = write_lines(tmp_path / "test.jsonl", sums(0, 2, "t"))
    with pytest.raises(MethodError, match=r"'nobody/toy' is no folder here.*--model"):
        verify(catalog, Asked(runs=[run], test=path, told={"learning_rate": 1e-3}))
    catalog.close()


def test_settings_are_those_of_the_collection_unless_told(fresh):
    settings = as_collected(fresh.store, {"epochs": 3})
    told = (settings.rank, settings.alpha, settings.batch_size, settings.learning_rate)
    assert told == (2, 4, 4, 3e-2)
    assert (settings.targets, settings.max_tokens, settings.epochs) == ("v_proj,o_proj", 48, 3)


# --- noise -----------------------------------------------------------------------------------


def test_the_interval_is_that_of_a_paired_t_test():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=5), generator.normal(0.3, size=5)
    found, wanted = paired(a, b), ttest_rel(b, a).confidence_interval(0.95)
    np.testing.assert_allclose([found["low"], found["high"]], [wanted.low, wanted.high])


def trial(arm, seed, right):
    return {"arm": arm, "seed": seed, "losses": [1.0 + 0.1 * seed] * len(right), "right": right}


def test_seeds_that_agree_by_chance_are_not_beyond_noise():
    """One more right answer of 40, with both seeds alike: seeds alone would call it certain."""
    trials = [trial("a", s, [True] * 10 + [False] * 30) for s in (0, 1)]
    trials += [trial("b", s, [True] * 11 + [False] * 29) for s in (0, 1)]
    (one,) = [c for c in comparisons(trials, ["a", "b"]) if c["measure"] == "exact_match"]
    assert one["difference"] == pytest.approx(0.025)
    assert one["low"] > 0
    assert one["examples_low"] < 0
    assert one["beyond_noise"] is False
    assert "not more than the noise of 2 seeds" in sentences([one])[0]


def test_a_clear_difference_is_said_to_be_one():
    trials = [trial("a", s, [True] * 10 + [False] * 30) for s in (0, 1)]
    trials += [trial("b", s, [True] * (30 + s) + [False] * (10 - s)) for s in (0, 1)]
    (one,) = [c for c in comparisons(trials, ["a", "b"]) if c["measure"] == "exact_match"]
    assert one["beyond_noise"]
    assert sentences([one])[0].endswith("b is better.")
    assert "51.2 points higher" in sentences([one])[0]


def test_one_seed_says_nothing_of_noise():
    trials = [trial("a", 0, [True, False]), trial("b", 0, [True, True])]
    found = comparisons(trials, ["a", "b"])
    assert {c["beyond_noise"] for c in found} == {None}
    assert all("one seed says nothing" in text for text in sentences(found))
