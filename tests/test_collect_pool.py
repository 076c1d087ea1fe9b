"""Promises of pools and templates: every format gives the same records, only answers count."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_collect_verb import CHAT, byte_tokenizer

from gtp_core.collect.pool import pool_digest, read_records
from gtp_core.collect.template import Template, shown
from gtp_core.errors import CollectError

ROWS = [
    {"id": "a", "source": "x", "prompt": "1 + 1?", "completion": "zwei \u2028 ü"},
    {"id": "b", "source": "y", "prompt": "", "completion": "2"},
]
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": " Yes? "},
    {"role": "user", "content": "2?"},
    {"role": "assistant", "content": "two"},
]


def write_lines(path, rows):
    path.write_bytes("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode())
    return path


def saved_dataset(folder, rows):
    """A folder as `datasets` saves it: Arrow streams, named in state.json."""
    folder.mkdir()
    names = []
    for at, row in enumerate(rows):
        names.append({"filename": f"data-{at:05d}-of-{len(rows):05d}.arrow"})
        table = pa.Table.from_pylist([row])
        with (
            pa.OSFile(str(folder / names[-1]["filename"]), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as writer,
        ):
            writer.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": names}))
    return folder


def test_every_format_gives_the_same_records(tmp_path):
    jsonl = write_lines(tmp_path / "p.jsonl", ROWS)
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "p.parquet")
    paths = [jsonl, tmp_path / "p.parquet", saved_dataset(tmp_path / "saved", ROWS)]
    found = [list(read_records(path)) for path in paths]
    assert found[0] == found[1] == found[2]
    assert [record.id for record in found[0]] == ["a", "b"]
    assert found[0][0].line == json.dumps(ROWS[0], ensure_ascii=False)


def test_what_a_record_lacks_is_named_after_its_place(tmp_path):
    rows = [{"prompt": "p", "completion": "c"}, {"messages": TURNS, "dataset": "d", "subtask": "s"}]
    one, two = read_records(write_lines(tmp_path / "mine.jsonl", rows))
    assert (one.id, one.source, one.subtask) == ("mine-0000000", "mine", "")
    assert (two.id, two.source, two.subtask) == ("mine-0000001", "d", "s")
    assert two.completion == "two"
    assert two.prompt.startswith("system: Be brief.\n\nuser: Hi")


@pytest.mark.parametrize(
    "row", [{"prompt": "p"}, {"prompt": 1, "completion": "c"}, [1], {"messages": []},
            {"messages": [{"role": "user"}]}, {"messages": "hi"}, None]
)  # fmt: skip
def test_a_record_that_cannot_be_used_is_named(tmp_path, row, says):
    path = write_lines(tmp_path / "p.jsonl", [ROWS[0], row])
    with pytest.raises(CollectError) as error:
        list(read_records(path))
    says(error.value, "line 2", "p.jsonl")


def test_files_that_are_no_pool_are_refused(tmp_path, says):
    (tmp_path / "p.csv").write_text("a,b")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "broken.jsonl").write_bytes(b'{"prompt": "\xff"}\n')
    (tmp_path / "lines.jsonl").write_text("no json\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "splits").mkdir()
    saved_dataset(tmp_path / "splits" / "train", ROWS)
    for name, told in {
        "p.csv": "is no pool", "broken.parquet": "cannot be read", "broken.jsonl": "UTF-8",
        "lines.jsonl": "line 1", "empty": "state.json", "splits": "splits: train",
        "gone.parquet": "not there",
    }.items():  # fmt: skip
        with pytest.raises(CollectError) as error:
            list(read_records(tmp_path / name))
        says(error.value, name, told)


def test_the_digest_of_a_pool_is_of_its_bytes_in_order(tmp_path):
    one, two = (write_lines(tmp_path / f"{n}.jsonl", [ROWS[n]]) for n in (0, 1))
    assert pool_digest([one, two]) != pool_digest([two, one])
    before = pool_digest([one])
    write_lines(one, [ROWS[0], ROWS[1]])
    assert pool_digest([one]) != before


def learned(template, sample):
    """What a template learns from, as text, answer by answer."""
    text, tokenizer = template.encode(sample), byte_tokenizer()
    pieces, current = [], []
    for at, token in enumerate(text.completion):
        if at in text.silent:
            pieces, current = [*pieces, current] if current else pieces, []
        else:
            current.append(token)
    return [tokenizer.decode(piece) for piece in [*pieces, current]]


def test_only_answers_and_their_end_marks_are_learned():
    template = Template(byte_tokenizer(CHAT))
    # The answer counts from its first letter, the space before it is the template's doing.
    assert learned(template, {"messages": TURNS}) == ["Yes? </s>", "two</s>"]
    text = template.encode({"messages": TURNS})
    whole = "".join(f"<{m['role']}>{m['content']}</s>\n" for m in TURNS).rstrip()
    assert byte_tokenizer().decode(text.prompt + text.completion) == whole


def test_pairs_are_chats_where_there_is_a_template_and_plain_where_not():
    pair = {"prompt": "Hi", "completion": "Yes"}
    chat, plain = Template(byte_tokenizer(CHAT)), Template(byte_tokenizer())
    assert (chat.kind, plain.kind) == ("chat", "plain")
    assert learned(chat, pair) == learned(plain, pair) == ["Yes</s>"]
    decode = byte_tokenizer().decode
    assert decode(chat.encode(pair).prompt) == "<user>Hi</s>\n<assistant>"
    assert decode(plain.encode(pair).prompt) == "Hi\n"
    assert chat.digest() != plain.digest()
    given = Template(byte_tokenizer(), chat_template=CHAT)
    assert given.encode(pair) == chat.encode(pair)
    assert given.digest() == chat.digest()


def test_a_cut_may_take_every_answer():
    for most in (3, 24, 40):
        text = Template(byte_tokenizer(CHAT), max_tokens=most).encode({"messages": TURNS})
        assert len(text) == most
        assert text.n_learned == 0
    assert Template(byte_tokenizer(CHAT), max_tokens=60).encode({"messages": TURNS}).n_learned > 0


def test_templates_that_cannot_serve_are_refused(says):
    with pytest.raises(CollectError) as error:
        Template(byte_tokenizer(), kind="chat")
    says(error.value, "--template plain")
    with pytest.raises(CollectError) as error:
        Template(byte_tokenizer()).encode({"messages": TURNS})
    says(error.value, "no chat template")
    forgetful = "{% for m in messages[-2:] %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    with pytest.raises(CollectError) as error:
        Template(byte_tokenizer(forgetful)).encode({"messages": TURNS})
    says(error.value, "one after the other")


def test_a_chat_is_shown_as_what_was_said_before_its_last_answer():
    assert shown([{"role": "user", "content": "Hi"}]) == ("Hi", "")
    assert shown(TURNS[1:3]) == ("Hi", " Yes? ")
