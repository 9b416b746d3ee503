"""OpenTelemetry behind ``tracing``: imported only where tracing is on.

The provider is our own, never the process's global one, which is Ray's to set.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import httpx
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    ConsoleSpanExporter,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from xingyue.errors import XingyueError
from xingyue.tracing import TraceTarget

log = logging.getLogger(__name__)

_PATH = "/v1/traces"
_EXPORT_TIMEOUT_S = 5.0
_W3C = TraceContextTextMapPropagator()


class OtlpExporter(SpanExporter):
    """OTLP over HTTP with protobuf bodies (opentelemetry-proto, ``/v1/traces``)."""

    def __init__(self, endpoint: str) -> None:
        """``endpoint``: the collector's base URL, or the whole one of its traces."""
        base = endpoint.rstrip("/")
        self._url = base if base.endswith(_PATH) else base + _PATH
        # No proxy of the environment: spans go where the setting says.
        self._client = httpx.Client(timeout=_EXPORT_TIMEOUT_S, trust_env=False)
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        body = encode_spans(spans).SerializeToString()
        try:
            headers = {"content-type": "application/x-protobuf"}
            self._client.post(self._url, content=body, headers=headers).raise_for_status()
        except httpx.HTTPError as error:
            # Once per outage: a collector that is away must not fill the log.
            if not self._failing:
                log.warning("%d spans were lost: %s: %s", len(spans), self._url, error)
            self._failing = True
            return SpanExportResult.FAILURE
        self._failing = False
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._client.close()


class Tracing:
    """Of one process. Spans may begin and end on any task or thread."""

    def __init__(self, service: str, exporters: Sequence[SpanExporter], sample: float) -> None:
        facts = {"service.name": service, "service.namespace": "xingyue"}
        resource = Resource.create({**facts, "service.instance.id": str(os.getpid())})
        sampler = ParentBased(TraceIdRatioBased(sample))
        self._provider = TracerProvider(resource=resource, sampler=sampler, shutdown_on_exit=False)
        for exporter in exporters:
            self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("xingyue")

    @classmethod
    def to(cls, service: str, target: TraceTarget) -> Tracing:
        exporters: list[SpanExporter] = []
        if target.endpoint is not None:
            exporters.append(OtlpExporter(target.endpoint))
        if target.console:
            exporters.append(ConsoleSpanExporter(out=sys.stderr, formatter=_line))
        return cls(service, exporters, target.sample)

    def close(self) -> None:
        self._provider.shutdown()

    def flush(self) -> None:
        """Finished spans are with the exporters when it returns."""
        self._provider.force_flush()

    def request(
        self, headers: Mapping[str, str], facts: Mapping[str, Any]
    ) -> AbstractContextManager[Span]:
        """The span of one HTTP request, current while the block lasts."""
        parent = _W3C.extract(headers, context=context.Context())
        return self._tracer.start_as_current_span(
            "request",
            context=parent,
            kind=SpanKind.SERVER,
            attributes=dict(facts),
            record_exception=False,
        )

    def step(self, name: str) -> AbstractContextManager[Span]:
        return self._tracer.start_as_current_span(name, record_exception=False)

    def current(self) -> context.Context:
        return context.get_current()

    def remote(self, traceparent: str) -> context.Context:
        """The context that a ``traceparent`` stands for."""
        return _W3C.extract({"traceparent": traceparent}, context=context.Context())

    def traceparent(self, span: Span) -> str:
        """W3C Trace Context, level 1."""
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, context=trace.set_span_in_context(span))
        return carrier.get("traceparent", "")

    def begin(
        self,
        name: str,
        parent: context.Context,
        facts: Mapping[str, Any],
        started_ns: int | None = None,
    ) -> Span:
        return self._tracer.start_span(
            name, context=parent, attributes=dict(facts), start_time=started_ns
        )

    def finish(
        self, span: Span, error: BaseException | None = None, ended_ns: int | None = None
    ) -> None:
        if error is not None:
            code = error.code if isinstance(error, XingyueError) else type(error).__name__
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR, str(error)[:200]))
        span.end(ended_ns)


def _line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"
