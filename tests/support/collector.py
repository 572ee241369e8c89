"""An OpenTelemetry collector of the tests' own: takes OTLP over HTTP, and keeps what came."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

DEADLINE_SECONDS = 15.0

KINDS = {2: "server", 3: "client"}
ERROR = 2


class SentSpan(NamedTuple):
    """A span as it came; ids in hexadecimal digits, the parent's empty for none."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    started_at_nanoseconds: int
    ended_at_nanoseconds: int
    attributes: dict[str, Any]
    resource: dict[str, Any]
    error: str | None


class Collector:
    """Between `with` and its end it takes spans; `status` is what it answers."""

    def __init__(self, status: int = 200) -> None:
        self.spans: list[SentSpan] = []
        self.paths: set[str] = set()
        self.headers: dict[str, str] = {}
        self.asked = 0
        self.status = status
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, name="collector", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join(DEADLINE_SECONDS)
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def wanted(self, number: int) -> list[SentSpan]:
        """The first `number` spans, waited for."""
        self.until(lambda: len(self.spans) >= number)
        return self.spans[:number]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for `condition`, looked at when something has come."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        with self._changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"only {self.spans}"
                self._changed.wait(left)

    def _take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        request = ExportTraceServiceRequest.FromString(body)
        with self._changed:
            self.asked += 1
            self.paths.add(path)
            self.headers = headers
            if self.status == 200:
                for one in request.resource_spans:
                    resource = _attributes(one.resource.attributes)
                    self.spans += [_sent(span, resource) for scope in one.scope_spans for span in scope.spans]
            self._changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                collector._take(self.path, headers, body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # of the library
                """Say nothing."""

        return Handler


def _sent(span: Any, resource: dict[str, Any]) -> SentSpan:
    return SentSpan(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        KINDS[span.kind],
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
        resource,
        span.status.message if span.status.code == ERROR else None,
    )


def _attributes(found: Any) -> dict[str, Any]:
    return {one.key: _value(one.value) for one in found}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    return getattr(value, kind)
