"""The demo's text: deterministic, faults as planted, answers right, nothing leaks."""

import contextlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from random import Random

import pytest

from gtp_core.demo.pool import make_pool, make_pretraining, write_pool
from gtp_core.demo.skills import SKILLS, answer_of
from gtp_core.demo.skills.filler import ODDITIES
from gtp_core.demo.skills.sources import COPIES, SOURCES
from gtp_core.demo.tasks import make_tasks, reserved_prompts

ROOT = Path(__file__).parents[1]
DAYS = [date(2024, 1, n).strftime("%A") for n in range(1, 8)]  # Monday to Sunday
FACTORS = {
    ("meters", "centimeters"): 100,
    ("kilometers", "meters"): 1000,
    ("feet", "inches"): 12,
    ("hours", "minutes"): 60,
    ("minutes", "seconds"): 60,
    ("weeks", "days"): 7,
    ("years", "months"): 12,
    ("kilograms", "grams"): 1000,
    ("tons", "kilograms"): 1000,
    ("pounds", "ounces"): 16,
    ("dollars", "cents"): 100,
    ("euros", "cents"): 100,
    ("dimes", "cents"): 10,
}


def numbers(text):
    return [int(found) for found in re.findall(r"\d+", text)]


def dates_in(prompt):
    found = re.findall(r"([A-Z][a-z]{2,8}) (\d{1,2})\b", prompt)
    return [date.fromisoformat(f"2023-{_month(name):02d}-{int(day):02d}") for name, day in found]


def _month(name):
    return [date(2023, m, 1).strftime("%B") for m in range(1, 13)].index(name) + 1


def spoken(day):
    return f"{day.strftime('%B')} {day.day}"


def solve_story(prompt):
    a, b, *c = numbers(prompt)
    if c:
        return a + b - c[0]
    if re.search("each|Each", prompt):
        return a * b
    return a - b if re.search("left|still|remain", prompt) else a + b


def solve_sum(prompt):
    a, sign, b = re.search(r"(\d+) ([-+*]) (\d+)", prompt).groups()
    return {"+": int(a) + int(b), "-": int(a) - int(b), "*": int(a) * int(b)}[sign]


def solve_conversion(prompt):
    (n,) = numbers(prompt)
    big = re.search(r"\d+ (\w+)", prompt).group(1)
    small = [unit for unit in re.findall(r"\w+", prompt) if (big, unit) in FACTORS]
    return n * FACTORS[big, small[0]]


def solve_weekday(prompt):
    shift = numbers(prompt)[0] * (-1 if " ago" in prompt else 1)
    day = next(day for day in DAYS if day in prompt)
    monday = date(2024, 1, 1)  # a Monday
    return DAYS[(monday + timedelta(DAYS.index(day) + shift)).weekday()]


def solve_code(prompt):
    program = "\n".join(line for line in prompt.split("\n") if "=" in line or "print(" in line)
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        exec(program, {})  # the program is our own
    return shown.getvalue().strip()


def solve_cell(prompt):
    rows = [line.split(" | ") for line in prompt.split("\n") if " | " in line]
    asked = " ".join(line for line in prompt.split("\n") if " | " not in line)
    row = next(row for row in rows[1:] if row[0] in asked)
    return row[1 if "price" in asked else 2]


def quoted(prompt):
    return re.search('"([^"]+)"', prompt).group(1)


SOLVERS = {
    ("word-problems", None): solve_story,
    ("arithmetic", "addition"): solve_sum,
    ("arithmetic", "subtraction"): solve_sum,
    ("arithmetic", "missing-number"): lambda p: numbers(p)[1] - numbers(p)[0],
    ("unit-conversion", None): solve_conversion,
    ("sequence", "steady-steps"): lambda p: 2 * numbers(p)[-1] - numbers(p)[-2],
    ("sequence", "multiplying"): lambda p: numbers(p)[-1] ** 2 // numbers(p)[-2],
    ("dates", "weekday"): solve_weekday,
    ("dates", "next-date"): lambda p: spoken(dates_in(p)[0] + timedelta(1)),
    ("dates", "days-between"): lambda p: (dates_in(p)[1] - dates_in(p)[0]).days,
    ("comparison", "larger-number"): lambda p: max(numbers(p)),
    ("comparison", "earlier-date"): lambda p: spoken(min(dates_in(p))),
    ("table-lookup", "cell"): solve_cell,
    ("list-ops", "sort"): lambda p: ", ".join(map(str, sorted(numbers(p)))),
    ("list-ops", "largest"): lambda p: max(numbers(p)),
    ("list-ops", "count"): lambda p: len(re.findall(rf"\b{quoted(p)}\b", p)) - 1,
    ("string-edit", "reverse"): lambda p: quoted(p)[::-1],
    ("string-edit", "upper"): lambda p: quoted(p).upper(),
    ("string-edit", "remove-vowels"): lambda p: re.sub("[aeiou]", "", quoted(p)),
    ("string-edit", "first-letters"): lambda p: "".join(w[0] for w in quoted(p).split()),
    ("code", "variables"): solve_code,
    ("code", "list-call"): solve_code,
    ("code", "string-index"): solve_code,
}


def solution(skill, subskill, prompt):
    """The answer found by another road than the generator's, or None where there is none."""
    solver = SOLVERS.get((skill, subskill)) or SOLVERS.get((skill, None))
    return str(solver(prompt)) if solver else None


@pytest.fixture(scope="module")
def pool():
    return make_pool(seed=0)


@pytest.fixture(scope="module")
def rows(pool):
    """Record and truth of every sample as one dict, by id."""
    return {r["id"]: r | t for r, t in zip(pool.records, pool.truth, strict=True)}


@pytest.fixture(scope="module")
def asked():
    """Every prompt of every task: task -> split -> list."""
    return {
        task.name: {s: [row["prompt"] for row in getattr(task, s)] for s in ("validation", "test")}
        for task in make_tasks(seed=0)
    }


def of_kind(rows, *kinds):
    return [row for row in rows.values() if row["kind"] in kinds]


def every_example(count):
    for name, skill in SKILLS.items():
        for part in skill.subskills:
            for index in range(count):
                yield skill.generate(Random(f"test/{name}/{part}/{index}"), part)


def contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_same_seed_same_bytes(tmp_path):
    write_pool(tmp_path / "one", seed=3, size=400)
    write = "import sys; from gtp_core.demo.pool import write_pool; write_pool(sys.argv[1], "
    command = [sys.executable, "-c", write + "seed=3, size=400)", str(tmp_path / "two")]
    subprocess.run(command, check=True, cwd=ROOT)  # another process, hence another hash seed
    write_pool(tmp_path / "other", seed=4, size=400)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_files_hold_the_pool_line_by_line(tmp_path):
    pool = write_pool(tmp_path, seed=0, size=400)
    names = ("shop-arithmetic", "tidy-data", "calendar")
    splits = {f"tasks/{name}/{split}.jsonl" for name in names for split in ("validation", "test")}
    assert set(contents(tmp_path)) == {"pool.jsonl", "truth.jsonl"} | splits
    lines = (tmp_path / "pool.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert [json.loads(line) for line in lines] == pool.records
    assert all(list(json.loads(line)) == ["id", "source", "prompt", "completion"] for line in lines)
    assert [set(t) for t in pool.truth] == [{"id", "skill", "subskill", "kind", "of"}] * 400


@pytest.mark.parametrize("size", [100, 1000, 4000])
def test_planted_shares_are_near_their_targets(size):
    pool = make_pool(seed=0, size=size)
    found = Counter(row["kind"] for row in pool.truth)
    targets = {"exact-duplicate": 0.04, "near-duplicate": 0.06, "paraphrase-duplicate": 0.05}
    targets |= {"wrong-answer": 0.06, "truncated": 0.03, "filler": 0.12}
    assert len(pool.records) == size
    for kind, share in targets.items():
        assert found[kind] / size == pytest.approx(share, abs=0.005 + 1 / size), kind


def test_sources_differ_in_quality(rows):
    faults = {
        source.name: Counter(r["kind"] for r in rows.values() if r["source"] == source.name)
        for source in SOURCES
    }
    share = {name: {k: v / sum(c.values()) for k, v in c.items()} for name, c in faults.items()}
    assert share["textbook"]["clean"] > 0.98
    assert share["forum"]["wrong-answer"] == pytest.approx(0.12, abs=0.01)
    assert share["forum"]["truncated"] == pytest.approx(0.05, abs=0.01)
    assert max(share, key=lambda name: share[name].get("filler", 0)) == "scraped-web"
    assert min(share["synthetic-a"]["near-duplicate"], share["synthetic-b"]["near-duplicate"]) > 0.1


def test_ids_are_unique_and_tell_only_the_source(pool, rows):
    assert len(rows) == len(pool.records)
    assert all(row["id"].rsplit("-", 1)[0] == row["source"] for row in rows.values())
    for source in SOURCES:
        kinds = [row["kind"] for row in rows.values() if row["source"] == source.name]
        clean = [kind == "clean" for kind in kinds]
        half = len(clean) // 2  # no kind sits at one end of the numbers
        assert sum(clean[:half]) / half == pytest.approx(sum(clean[half:]) / half, abs=0.15)


def test_exact_duplicates_are_equal(rows):
    for row in of_kind(rows, "exact-duplicate"):
        original = rows[row["of"]]
        assert (row["prompt"], row["completion"]) == (original["prompt"], original["completion"])


def test_near_and_paraphrase_duplicates_differ_with_the_same_answer(rows):
    for row in of_kind(rows, "near-duplicate", "paraphrase-duplicate"):
        original = rows[row["of"]]
        assert row["prompt"] != original["prompt"]
        assert answer_of(row["completion"]) == answer_of(original["completion"])
        assert (original["kind"], original["skill"]) == ("clean", row["skill"])


def test_only_planted_exact_duplicates_repeat_a_prompt(rows):
    prompts = Counter(r["prompt"] for r in rows.values() if r["kind"] != "exact-duplicate")
    assert max(prompts.values()) == 1
    assert all((row["of"] is not None) == (row["kind"] in COPIES) for row in rows.values())


def test_wrong_answers_are_wrong_and_clean_ones_right(rows):
    checked = Counter()
    for row in of_kind(rows, "clean", "wrong-answer", "near-duplicate", "paraphrase-duplicate"):
        right = solution(row["skill"], row["subskill"], row["prompt"])
        if right is not None:
            is_right = answer_of(row["completion"]) == right
            assert is_right == (row["kind"] != "wrong-answer"), row
            checked[row["kind"]] += 1
    assert min(checked.values()) > 80


def test_truncated_completions_lack_the_answer(rows):
    for row in of_kind(rows, "truncated"):
        assert row["completion"]
        right = solution(row["skill"], row["subskill"], row["prompt"])
        assert answer_of(row["completion"]) != right


def test_every_skill_answers_rightly():
    for example in every_example(60):
        for prompt in example.phrasings:
            right = solution(example.skill, example.subskill, prompt)
            assert right in (None, example.answer), example
        assert example.answer == answer_of(example.completion)
        assert example.prompt in example.phrasings
        assert len(set(example.phrasings)) >= 3


def test_mistakes_never_hold_the_right_answer():
    for example in every_example(100):
        assert example.mistakes, example
        assert example.answer not in map(answer_of, example.mistakes)


def test_shown_steps_add_up():
    for example in every_example(30):
        steps = re.findall(r"([\d +*-]+) = (\d+)", example.completion)
        assert all(eval(left) == int(right) for left, right in steps), example
        if steps:
            assert steps[-1][1] == example.answer


def test_json_answers_hold_what_the_sentence_says():
    skill = SKILLS["extract-json"]
    for index in range(200):
        example = skill.generate(Random(f"json/{index}"))
        fields = json.loads(example.answer)
        assert len(fields) == 3
        assert all(str(value) in example.prompt for value in fields.values())
        assert all(key in example.prompt for key in fields)


def test_completed_functions_compute_what_was_wanted():
    skill = SKILLS["code"]
    for index in range(100):
        example = skill.generate(Random(f"code/{index}"), "complete-line")
        word, n = re.search(r"x (plus|minus|times) (\d+)", example.prompt).groups()
        wanted = {"plus": 7 + int(n), "minus": 7 - int(n), "times": 7 * int(n)}[word]
        assert eval(example.answer, {"x": 7}) == wanted


def test_answer_is_read_from_steps_and_sentences():
    assert answer_of("3 + 4 = 7. Answer: 7") == "7"
    assert answer_of(" Answer: 12.\nQuestion: what now? Answer: 3") == "12"
    assert answer_of("The lamp was sold by Ben.") == answer_of("The lamp  was sold by Ben")
    assert answer_of("") == ""


def test_tasks_have_the_promised_sizes_and_even_subtasks():
    sizes = {task.name: (len(task.validation), len(task.test)) for task in make_tasks(seed=0)}
    assert sizes == {"shop-arithmetic": (96, 300), "tidy-data": (80, 300), "calendar": (6, 200)}
    for task in make_tasks(seed=0):
        for split in (task.validation, task.test):
            per_subtask = Counter(row["subtask"] for row in split).values()
            assert max(per_subtask) - min(per_subtask) <= 1
            assert {tuple(r) for r in split} == {("example_id", "subtask", "prompt", "completion")}


def test_nothing_leaks_between_tasks_pool_and_pretraining(pool, asked):
    splits = [prompts for task in asked.values() for prompts in task.values()]
    every = [prompt for prompts in splits for prompt in prompts]
    assert len(every) == len(set(every))
    assert set(every) <= reserved_prompts(seed=0)  # these hold every other phrasing, too
    assert reserved_prompts(seed=0).isdisjoint(record["prompt"] for record in pool.records)
    assert reserved_prompts(seed=0).isdisjoint(p for p, _ in make_pretraining(seed=0, size=20_000))


def test_pretraining_shows_the_tasks_mostly_in_another_habit():
    found = Counter()
    for prompt, completion in make_pretraining(seed=0, size=6000):
        if prompt.startswith(("Extract", "Turn the ", "JSON with")):
            found["json", completion.startswith("{")] += 1
            assert len(json.loads(answer_of(completion))) == 3
        elif prompt.startswith("Convert"):
            found["units", "Answer:" in completion] += 1
    for skill in ("json", "units"):
        share = found[skill, True] / (found[skill, True] + found[skill, False])
        assert 0.02 < share < 0.25, skill


def test_pretraining_is_the_same_whatever_its_length():
    openings = list(make_pretraining(seed=0, size=6000))
    assert openings == list(make_pretraining(seed=0, size=6000))
    assert openings[:100] == list(make_pretraining(seed=0, size=100))


def test_prompts_are_readable(rows, asked):
    odd = {prompt for _, prompt, _ in ODDITIES}
    for row in rows.values():
        text = row["prompt"] + row["completion"]
        assert text.replace("\n", "").isprintable()
        assert row["prompt"] in odd or 20 <= len(row["prompt"]) <= 160, row["prompt"]
        assert 1 <= len(row["completion"]) <= 60
        assert row["completion"] == row["completion"].strip()
    prompts = [prompt for task in asked.values() for split in task.values() for prompt in split]
    assert sum(len(prompt) >= 40 for prompt in prompts) > 0.8 * len(prompts)


def test_hostile_looking_text_is_in_the_pool_as_filler(rows):
    fillers = [row["prompt"] for row in of_kind(rows, "filler")]
    assert "=1+1" in fillers
    assert any("<script>" in prompt for prompt in fillers)
    assert any(not prompt.isascii() for prompt in fillers)


def test_too_large_a_pool_is_refused(monkeypatch):
    drill = replace(SOURCES[0], name="drill", share=1.0, skills={"unit-conversion": 1})
    monkeypatch.setattr("gtp_core.demo.pool.SOURCES", (drill,))
    with pytest.raises(ValueError, match="smaller pool"):
        make_pool(seed=0, size=2000)
