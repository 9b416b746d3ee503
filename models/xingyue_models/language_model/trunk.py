"""The trunk of a language model: chat and grounded answers, whole or streamed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from xingyue.contract import Chunk, Head, HeadFiles, Outcome, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue_models.language_model.answer import (
    TOKENS_DEFAULT,
    Plan,
    answer_value,
    plan_answer,
    supporting,
)
from xingyue_models.language_model.answerability import default_answerability
from xingyue_models.language_model.llama import LlamaServer
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
    """Has no heads. Safe to call from several threads."""

    def __init__(self, llama: LlamaServer, options: SpeakerOptions) -> None:
        self._llama = llama
        self._options = options
        self._pool = ThreadPoolExecutor(options.slots, thread_name_prefix="speaker")
        self._refusal_tokens = {
            language: self._warm_up(language, text) for language, text in NOT_FOUND.items()
        }

    def load_head(self, files: HeadFiles) -> Head:
        raise InvalidRequest("a language model takes no heads", param="head")

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        """Items of a batch are worked on at once, as far as there are slots."""
        if len(items) == 1:
            return [self._outcome(items[0])]
        return list(self._pool.map(self._outcome, items))

    def generate(self, item: WorkItem, head: Head | None) -> Iterator[Chunk]:
        if item.op == ANSWER:
            yield from self._stream_answer(item)
            return
        said = ""
        for step in self._llama.stream(self._chat(item).body):
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
        self._llama.close()

    def _outcome(self, item: WorkItem) -> Outcome:
        try:
            if item.op == JUDGE:
                request = self._answer_request(item)
                judge = default_answerability()
                return WorkResult({"grounded": judge.holds(request.question, request.passages)}, 0)
            if item.op == ANSWER:
                # One code path for both: what is streamed is what is answered whole.
                *_, last = self._stream_answer(item)
                return last.final or Internal("the answer broke off")
            done = self._llama.complete(self._chat(item).body)
        except XingyueError as error:
            return error
        value = {
            "content": done.text,
            "finish_reason": done.finish_reason,
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
        }
        return WorkResult(value, done.prompt_tokens + done.completion_tokens)

    def _chat(self, item: WorkItem) -> ChatRequest:
        if item.op != CHAT:
            raise InvalidRequest(
                f"a language model answers {CHAT}, {ANSWER} and {JUDGE}, not {item.op!r}",
                param="op",
            )
        return ChatRequest.parse(
            item.params, self._options.system_prompt, self._options.context_tokens
        )

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
