"""llama.cpp in this process, through ``xllamacpp``: whole completions and streams.

Its server engine does continuous batching over slots and keeps prompt prefixes. It insists on a
listening socket; it gets one in a folder that only this user can enter, under a random key, so no
port is open. Calls go to it directly, never over that socket; only what the binding leaves out
does: the words of a prompt and its tokens, for fine-tuning.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx
import xllamacpp

from xingyue.errors import Internal, InvalidRequest
from xingyue_models.language_model.options import SpeakerOptions

_BATCH_TOKENS = 128
"""Prompt tokens read in one step: a cancelled call stops between two steps."""


@dataclass(frozen=True, slots=True)
class Completion:
    text: str
    finish_reason: str
    """``stop`` or ``length``."""
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Step:
    """Of a stream: new text, and all tokens read and generated so far."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None = None
    """Set on the last step, and only there."""


class LlamaServer:
    """Safe to call from several threads; ``slots`` calls are worked on at once, others wait."""

    def __init__(
        self,
        model: Path,
        options: SpeakerOptions,
        threads: int,
        device: str,
        adapters: Sequence[Path] = (),
    ) -> None:
        """``adapters``: GGUF files. None of them is applied but where a call's ``lora`` says so,
        and then every call must have one: see ``adapter_pool``."""
        self._context_tokens = options.context_tokens
        self._folder = Path(tempfile.mkdtemp(prefix="xingyue-llama-"))
        self._workers: set[threading.Thread] = set()
        self._closing = threading.Event()
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        slots = options.adapter_slots if adapters else options.slots
        params.n_ctx = options.context_tokens * slots
        params.n_parallel = slots
        params.n_batch = params.n_ubatch = _BATCH_TOKENS
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
        # Waiting threads sleep at once: spinning would take the cores from other trunks.
        params.cpuparams.poll = params.cpuparams_batch.poll = 0
        params.n_gpu_layers = 0 if device == "cpu" else -1
        params.main_gpu = int(device.partition(":")[2] or 0)
        # Cached prompts are not told apart by their adapter (llama.cpp issue 26207): with adapters
        # there is no cache beyond a slot's own, which is dropped when the slot's adapter changes.
        params.cache_ram_mib = 0 if adapters else options.cache_mib
        params.cache_idle_slots = not adapters
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(p), 1.0) for p in adapters]
        params.lora_init_without_apply = True
        params.fit_params = False
        params.verbosity = -1
        self._socket, self._key = str(self._folder / "engine.sock"), secrets.token_hex(32)
        params.hostnames = [self._socket]
        params.api_keys = [self._key]
        try:
            self._server: Any = xllamacpp.Server(params)
        except Exception as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise Internal(f"the language model {model.name} could not be loaded") from error
        # The engine's threads call back into Python: left running, they abort the interpreter's
        # exit.
        atexit.register(self.close)

    def complete(self, body: Mapping[str, Any]) -> Completion:
        """``body``: as OpenAI's chat completions. ``InvalidRequest`` if it does not fit."""
        answer = self._server.handle_chat_completions(dict(body))
        self._check(answer)
        choice, usage = answer["choices"][0], answer["usage"]
        return Completion(
            choice["message"].get("content") or "",
            choice["finish_reason"],
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )

    def stream(self, body: Mapping[str, Any]) -> Iterator[Step]:
        """Steps as they come. Closing the iterator stops the work before the next token, or
        between two steps of a long prompt."""
        events: SimpleQueue[Any] = SimpleQueue()
        stopped = threading.Event()
        asked = {
            **body,
            "stream": True,
            "stream_options": {"include_usage": True},
            "timings_per_token": True,
            "return_progress": True,
        }

        def on_event(event: Any) -> bool:
            events.put(event)
            return stopped.is_set() or self._closing.is_set()

        worker = threading.Thread(
            target=self._work, args=(asked, on_event, events), name="llama-stream", daemon=True
        )
        self._workers = {w for w in self._workers if w.is_alive()} | {worker}
        worker.start()
        try:
            yield from self._steps(events)
        finally:
            stopped.set()

    def count_tokens(self, text: str) -> int:
        answer = self._server.handle_completions({"prompt": text, "max_tokens": 1})
        self._check(answer)
        return int(answer["usage"]["prompt_tokens"])

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        """What the model reads for a chat, by the template in its file, up to where it answers."""
        return str(self._ask("/apply-template", {"messages": list(messages)})["prompt"])

    def tokens(self, text: str) -> list[int]:
        """Marks of turns count as such: never pass a caller's text without ``requests.plain``."""
        body = {"content": text, "add_special": False, "parse_special": True}
        return list(self._ask("/tokenize", body)["tokens"])

    def next_logprobs(
        self, tokens: Sequence[int], choice: Mapping[str, Any], count: int
    ) -> dict[int, float]:
        """Log-probability of the ``count`` likeliest next tokens. ``choice``: of a ``Voice``, empty
        without adapters."""
        body = {"prompt": list(tokens), "max_tokens": 1, "logprobs": count, "temperature": 0.0}
        answer = self._server.handle_completions({**body, **choice})
        self._check(answer)
        (first,) = answer["choices"][0]["logprobs"]["content"]
        return {found["id"]: found["logprob"] for found in first["top_logprobs"]}

    def close(self) -> None:
        """Stops streams under way, then frees the model. Idempotent."""
        atexit.unregister(self.close)
        self._closing.set()
        for worker in self._workers:
            worker.join()
        if "_http" in vars(self):
            self._http.close()
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)
        # What an engine's threads freed stays with glibc, and a trunk may start many engines in its
        # life. Elsewhere there is no such call.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)

    def _ask(self, path: str, body: Mapping[str, Any]) -> Any:
        answer = self._http.post(path, json=dict(body)).json()
        self._check(answer)
        return answer

    @cached_property
    def _http(self) -> httpx.Client:
        return httpx.Client(
            transport=httpx.HTTPTransport(uds=self._socket, verify=False),
            base_url="http://engine",
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=60,
        )

    def _work(self, asked: dict[str, Any], on_event: Any, events: SimpleQueue[Any]) -> None:
        try:
            self._server.handle_chat_completions(asked, on_event)
        except Exception as error:
            events.put(error)
        finally:
            events.put(None)

    def _steps(self, events: SimpleQueue[Any]) -> Iterator[Step]:
        finish_reason = None
        while (event := events.get()) is not None:
            if isinstance(event, Exception):
                raise Internal("the language model failed; the fault was logged") from event
            self._check(event)
            if usage := event.get("usage"):
                yield Step(
                    "", usage["prompt_tokens"], usage["completion_tokens"], finish_reason or "stop"
                )
                return
            choice = event["choices"][0]
            finish_reason = choice["finish_reason"] or finish_reason
            if text := choice["delta"].get("content"):
                timings = event["timings"]
                read = timings["cache_n"] + timings["prompt_n"]
                yield Step(text, read, timings["predicted_n"])
        raise Internal("the language model stopped without an end")

    def _check(self, event: Mapping[str, Any]) -> None:
        error = event.get("error")
        if error is None:
            return
        if error.get("type") == "exceed_context_size_error":
            raise InvalidRequest(
                f"the messages have {error['n_prompt_tokens']} tokens; this model's context holds "
                f"{self._context_tokens}, the answer included; shorten them",
                code="context_length_exceeded",
                param="messages",
            )
        if error.get("code") == 400:
            raise InvalidRequest(f"the language model refused the request: {error['message']}")
        raise Internal(f"the language model failed: {error.get('message')}")
