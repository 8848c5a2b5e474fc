"""What the server counts of itself, in the text form of Prometheus. Names routes, never users."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

MEDIA_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "callfare_http_requests", "Requests answered.", ("method", "route", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "callfare_http_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ("route",),
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._events = Counter(
            "callfare_usage_events", "Usage events taken and refused.", ("result",), registry=self._registry
        )
        self.in_flight = Gauge("callfare_http_in_flight", "Requests being answered.", registry=self._registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def took(self, *, recorded: int, refused: int) -> None:
        """Count usage events."""
        if recorded:
            self._events.labels("recorded").inc(recorded)
        if refused:
            self._events.labels("refused").inc(refused)

    def text(self) -> bytes:
        """Return all counts as text."""
        return generate_latest(self._registry)
