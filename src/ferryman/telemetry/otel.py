"""Spans on their way to a collector. Imported only where traces are on: it costs 15 MB, and 0.2 s of start.

All that can be said about the way there is in OpenTelemetry's own variables, which its library reads:
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/.
"""

from __future__ import annotations

import logging
import re
from hashlib import blake2b

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ferryman import __version__
from ferryman.telemetry.spans import Span

UNNAMED = "unknown_service"
"""How a resource is called that nobody has given a name (https://opentelemetry.io/docs/specs/semconv/resource/)."""


TRIAL_SECONDS = 3.0
"""For a collector to take a message; the library tries again until then."""


_SYSTEM_REASON = re.compile(r"\[Errno -?[0-9]+\] ([^\"')]+)")
"""What the system says, among all that the library says around it."""


class EntryIds(IdGenerator):
    """Ids that follow from the id of an entry: one that is told of twice, after a crash, is one span.

    Not for more than one thread.

    Attributes:
        entry_id: of the span that is made next.
    """

    entry_id = ""

    def generate_span_id(self) -> int:
        """64 bits, not all of them 0."""
        return self._digest(8) or 1

    def generate_trace_id(self) -> int:
        """128 bits, where the client has told of no trace."""
        return self._digest(16) or 1

    def is_trace_id_random(self) -> bool:
        """As evenly spread as if it were, which is what samplers need."""
        return True

    def _digest(self, size: int) -> int:
        return int.from_bytes(blake2b(self.entry_id.encode(), digest_size=size).digest(), "big")


class Tracing:
    """The way to the collector. For one thread."""

    def __init__(self) -> None:
        """Take it from the variables; nothing is connected yet.

        Raises:
            ValueError: a variable cannot be used.
        """
        self._ids = EntryIds()
        self._provider = TracerProvider(resource=resource(), id_generator=self._ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("ferryman", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def send(self, span: Span) -> None:
        """Take `span` among those that are sent, unless the sampler in force leaves it out."""
        self._ids.entry_id = span.id
        carrier = {} if span.traceparent is None else {"traceparent": span.traceparent}
        made = self._tracer.start_span(
            span.name,
            context=self._propagator.extract(carrier, context=Context()),
            kind=SpanKind.CLIENT if span.calls_model else SpanKind.SERVER,
            attributes=span.attributes,
            start_time=span.started_at_nanoseconds,
        )
        if span.error is not None:
            made.set_status(StatusCode.ERROR, span.error)
        made.end(end_time=span.ended_at_nanoseconds)

    def flush(self) -> None:
        """Wait until all has been sent, or given up after the time that the variables allow."""
        self._provider.force_flush()

    def close(self) -> None:
        """Send what is left, and end."""
        self._provider.shutdown()


class _Said(logging.Handler):
    """Keeps what the library says first: the reason, before that it has given up."""

    text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep `record`."""
        self.text = self.text or record.getMessage()


def trial() -> str | None:
    """Send the collector a message without spans; why it does not take that, `None` if it does.

    Raises:
        ValueError: a variable cannot be used.
    """
    said, logger = _Said(), logging.getLogger("opentelemetry")
    logger.addHandler(said)
    try:
        exporter = OTLPSpanExporter(timeout=TRIAL_SECONDS)
        taken = exporter.export([]) is SpanExportResult.SUCCESS
        exporter.shutdown()  # type: ignore[no-untyped-call]  # of the library
    finally:
        logger.removeHandler(said)
    found = _SYSTEM_REASON.search(said.text)
    return None if taken else found[1].lower() if found else said.text or "no reason is told"


def resource() -> Resource:
    """Who sends: what the variables say, else `ferryman`."""
    found = Resource.create({SERVICE_VERSION: __version__})
    if str(found.attributes[SERVICE_NAME]).startswith(UNNAMED):
        found = found.merge(Resource({SERVICE_NAME: "ferryman"}))
    return found
