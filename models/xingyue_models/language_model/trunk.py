"""The trunk of a language model: chat and grounded answers, whole or streamed, by the model as it
is or by a variant's adapter."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from xingyue.contract import Chunk, Head, HeadFiles, Outcome, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue_models.language_model.adapter import Adapter, read_adapter
from xingyue_models.language_model.adapter_pool import AdapterPool, Start, Voice
from xingyue_models.language_model.answer import (
    TOKENS_DEFAULT,
    Plan,
    answer_value,
    plan_answer,
    supporting,
)
from xingyue_models.language_model.answerability import default_answerability
from xingyue_models.language_model.gguf_header import GgufHeader, read_header
from xingyue_models.language_model.options import SpeakerOptions
from xingyue_models.language_model.prompts import NOT_FOUND, span_messages
from xingyue_models.language_model.requests import (
    ANSWER,
    CHAT,
    JUDGE,
    AnswerRequest,
    ChatRequest,
)


class SpeakerTrunk:
    """Safe to call from several threads. Heads are adapters; they chat, and leave answers from
    documents to the model as it is."""

    def __init__(self, path: Path, options: SpeakerOptions, start: Start) -> None:
        """``path``: the model's file. ``start``: adapter files -> an engine of that model."""
        self._path = path
        self._llama = start(())
        self._options = options
        self._adapters = AdapterPool(start, options.adapters_max)
        self._pool = ThreadPoolExecutor(options.slots, thread_name_prefix="speaker")
        self._refusal_tokens = {
            language: self._warm_up(language, text) for language, text in NOT_FOUND.items()
        }

    def load_head(self, files: HeadFiles) -> Adapter:
        """``InvalidRequest`` or ``IntegrityError`` if it is no adapter of this very model."""
        header, sha256 = self._identity
        return read_adapter(files, header, sha256)

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        """Items of a batch are worked on at once, as far as there are slots."""
        if len(items) == 1:
            return [self._outcome(items[0], heads[0])]
        return list(self._pool.map(self._outcome, items, heads))

    def generate(self, item: WorkItem, head: Head | None) -> Iterator[Chunk]:
        if item.op == ANSWER:
            _check_headless(item, head)
            yield from self._stream_answer(item)
            return
        body = self.chat_body(item)
        with self.voice(head) as voice:
            yield from self._stream_chat(voice, body)

    @contextmanager
    def voice(self, head: Head | None) -> Iterator[Voice]:
        """The engine that answers for ``head``, for as long as it is used."""
        if head is None:
            yield Voice(self._llama, {})
            return
        if not isinstance(head, Adapter):
            raise Internal("a language model was given a head of another family")
        with self._adapters.voice(head) as voice:
            yield voice

    def chat_body(self, item: WorkItem) -> dict[str, Any]:
        """What the engine is asked for a chat: the messages are those that the model reads."""
        if item.op != CHAT:
            raise InvalidRequest(
                f"a language model answers {CHAT}, {ANSWER} and {JUDGE}, not {item.op!r}",
                param="op",
            )
        return ChatRequest.parse(
            item.params, self._options.system_prompt, self._options.context_tokens
        ).body

    @cached_property
    def _identity(self) -> tuple[GgufHeader, str]:
        # Only with the first adapter: it reads the whole file.
        with self._path.open("rb") as file:
            return read_header(self._path), hashlib.file_digest(file, "sha256").hexdigest()

    def _stream_chat(self, voice: Voice, body: dict[str, Any]) -> Iterator[Chunk]:
        said = ""
        for step in voice.llama.stream({**body, **voice.choice}):
            said += step.text
            units = step.prompt_tokens + step.completion_tokens
            final = None
            if step.finish_reason is not None:
                value = {
                    "content": said,
                    "finish_reason": step.finish_reason,
                    "prompt_tokens": step.prompt_tokens,
                    "completion_tokens": step.completion_tokens,
                }
                final = WorkResult(value, units)
            yield Chunk(step.text, units, final)

    def close(self) -> None:
        self._pool.shutdown()
        self._adapters.close()
        self._llama.close()

    def _outcome(self, item: WorkItem, head: Head | None) -> Outcome:
        try:
            _check_headless(item, head)
            if item.op == JUDGE:
                request = self._answer_request(item)
                judge = default_answerability()
                return WorkResult({"grounded": judge.holds(request.question, request.passages)}, 0)
            if item.op == ANSWER:
                # One code path for both: what is streamed is what is answered whole.
                *_, last = self._stream_answer(item)
                return last.final or Internal("the answer broke off")
            body = self.chat_body(item)
            with self.voice(head) as voice:
                done = voice.llama.complete({**body, **voice.choice})
        except XingyueError as error:
            return error
        value = {
            "content": done.text,
            "finish_reason": done.finish_reason,
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
        }
        return WorkResult(value, done.prompt_tokens + done.completion_tokens)

    def _answer_request(self, item: WorkItem) -> AnswerRequest:
        return AnswerRequest.parse(item.params, TOKENS_DEFAULT, self._options.context_tokens)

    def _stream_answer(self, item: WorkItem) -> Iterator[Chunk]:
        plan = plan_answer(self._answer_request(item))
        if plan.said is None:
            yield from self._word(plan)
            return
        # Counted before the first word is sent: a caller that hangs up pays for what it got.
        if plan.evidence:
            tokens = self._llama.count_tokens(plan.said)
        else:
            tokens = self._refusal_tokens[plan.language]
        yield Chunk(plan.said, tokens)
        value = answer_value(plan.said, plan.evidence, "stop", 0, tokens)
        yield Chunk("", tokens, WorkResult(value, tokens))

    def _word(self, plan: Plan) -> Iterator[Chunk]:
        """The model's words. Nothing is sent before they hold a letter or a digit; if they never
        do, the best sentence is the answer."""
        said, sent = "", ""
        for step in self._llama.stream(plan.body or {}):
            said = (said + step.text).lstrip()
            units = step.prompt_tokens + step.completion_tokens
            if step.finish_reason is None:
                ready = said.rstrip() if any(c.isalnum() for c in said) else ""
                if fresh := ready[len(sent) :]:
                    sent = ready
                    yield Chunk(fresh, units)
                continue
            best = supporting(plan, sent) if sent else plan.evidence[0]
            rest = "" if sent else best.text
            value = answer_value(
                sent + rest,
                (best,),
                step.finish_reason if sent else "stop",
                step.prompt_tokens,
                step.completion_tokens,
            )
            yield Chunk(rest, units, WorkResult(value, units))

    def _warm_up(self, language: str, text: str) -> int:
        """Reads the fixed part of the prompts into the cache; gives the tokens of ``text``."""
        self._llama.complete({"messages": span_messages(language, text, text), "max_tokens": 1})
        return self._llama.count_tokens(text)


def _check_headless(item: WorkItem, head: Head | None) -> None:
    if head is not None and item.op in (ANSWER, JUDGE):
        raise InvalidRequest(
            f"a variant of a language model answers {CHAT}, not {item.op!r}", param="model"
        )
