"""How a sample's text becomes what the model reads: plain pairs, or the model's chat template."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from gtp_core.collect.encode import Encoded, encode
from gtp_core.errors import CollectError

Message = Mapping[str, str]


class Template:
    """Encodes records of a pool: `messages` by the chat template, pairs plainly or as a chat.

    Args:
        kind: `chat` reads a prompt and completion as a chat of two messages too; `plain` puts a
            line end between them; `auto` is `chat` where the tokenizer has a template.
        chat_template: instead of the tokenizer's own.
        max_tokens: a longer sample loses its end.

    Raises:
        CollectError: `chat` without a template.
    """

    def __init__(
        self,
        tokenizer: Any,
        *,
        kind: str = "auto",
        chat_template: str | None = None,
        max_tokens: int = 2048,
    ) -> None:
        own = chat_template or getattr(tokenizer, "chat_template", None)
        if kind == "chat" and not own:
            raise CollectError(
                "the tokenizer has no chat template; --template chat needs one. "
                "Give it with --chat-template FILE, or use --template plain."
            )
        self.kind = ("chat" if own else "plain") if kind == "auto" else kind
        self.max_tokens = max_tokens
        self._tokenizer = tokenizer
        self._chat = own if isinstance(own, str) or own is None else own.get("default")

    def digest(self) -> str:
        """SHA-256 of everything that decides how a text is encoded, but the tokenizer's files."""
        told = [self.kind, self._chat, self.max_tokens]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def encode(self, sample: Mapping[str, Any]) -> Encoded:
        """A sample with `messages`, or with `prompt` and `completion`, as token ids."""
        messages = sample.get("messages")
        if messages is None and self.kind == "plain":
            return encode(
                self._tokenizer, sample["prompt"], sample["completion"], max_tokens=self.max_tokens
            )
        if messages is None:
            messages = [
                {"role": "user", "content": sample["prompt"]},
                {"role": "assistant", "content": sample["completion"]},
            ]
        return self._chat_ids(messages)

    def _chat_ids(self, messages: Sequence[Message]) -> Encoded:
        if not self._chat:
            raise CollectError(
                "the pool has chat messages and the tokenizer no chat template. "
                "Give one with --chat-template FILE."
            )
        text, spans = self._learned_spans(messages)
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        ids = found["input_ids"][: self.max_tokens]
        learned = [
            any(begin < end <= stop and begin >= start for start, stop in spans)
            for begin, end in found["offset_mapping"][: self.max_tokens]
        ]
        first = learned.index(True) if True in learned else len(ids)
        silent = [at for at, is_learned in enumerate(learned[first:]) if not is_learned]
        return Encoded(tuple(ids[:first]), tuple(ids[first:]), tuple(silent))

    def _learned_spans(self, messages: Sequence[Message]) -> tuple[str, list[tuple[int, int]]]:
        """The chat as text, and where in it the assistant's answers are, their end mark included.

        An answer is learned from its first character to the mark that ends it, not the line end
        after that: no model is asked to write more than the mark.
        """
        text = self._text(messages)
        spans = []
        for at, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before = self._text(messages[:at], opened=True) if at else ""
            through = self._text(messages[: at + 1])
            if not (text.startswith(through) and through.startswith(before)):
                raise CollectError(
                    "the chat template writes a message differently once others follow it, so "
                    "answers cannot be found in the text. Give a template with --chat-template "
                    "FILE that adds messages one after the other."
                )
            start = through.find(message["content"].strip(), len(before))
            spans.append((max(start, len(before)), len(through.rstrip())))
        return text.rstrip(), spans

    def _text(self, messages: Sequence[Message], *, opened: bool = False) -> str:
        return self._tokenizer.apply_chat_template(
            list(messages),
            chat_template=self._chat,
            tokenize=False,
            add_generation_prompt=opened,
        )


def shown(messages: Sequence[Message]) -> tuple[str, str]:
    """A chat as prompt and completion for people to read: all before the last answer, and it.

    A prompt of several messages names who says what.
    """
    last = max(
        (at for at, m in enumerate(messages) if m["role"] == "assistant"), default=len(messages)
    )
    before = messages[:last]
    prompt = (
        before[0]["content"]
        if len(before) == 1
        else "\n\n".join(f"{m['role']}: {m['content']}" for m in before)
    )
    return prompt, messages[last]["content"] if last < len(messages) else ""
