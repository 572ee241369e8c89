"""`GET /metrics`."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ferryman.control.asking import NOT_STORED, Asking
from ferryman.control.metrics.counts import Counts
from ferryman.control.metrics.gauges import Gauges
from ferryman.telemetry.exposition import CONTENT_TYPE, Page
from ferryman.telemetry.metrics import METRICS


class Metrics:
    """Serves all that is counted."""

    def __init__(self, counts: Counts, gauges: Gauges) -> None:
        self._counts = counts
        self._gauges = gauges
        self._asking = Asking("looks at metrics", "the database")

    def __repr__(self) -> str:
        return f"<Metrics of {self._counts!r}>"

    def routes(self) -> list[Route]:
        """What is served."""
        return [Route("/metrics", self._get, methods=["GET"])]

    def close(self) -> None:
        """Begin nothing more; what runs is not waited for."""
        self._asking.close()

    async def _get(self, _request: Request) -> Response:
        """Tell all metrics, as Prometheus reads them."""
        body = await self._asking.in_thread(self._text)
        return Response(body, headers={**NOT_STORED, "content-type": CONTENT_TYPE})

    def _text(self) -> bytes:
        page = Page(METRICS)
        self._counts.put(page)
        self._gauges.put(page, self._counts.keys)
        return page.text().encode()
