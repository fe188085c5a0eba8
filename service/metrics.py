"""What `/metrics` tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from fankui.tags import Tags

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_TEXTS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """All instruments of one application, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fankui_requests", "Answered requests.", ("method", "route", "status"), registry=self._registry
        )
        self._latency = Histogram(
            "fankui_request_seconds", "Time to answer.", ("route",), buckets=_SECONDS, registry=self._registry
        )
        self._call_texts = Histogram(
            "fankui_model_call_texts", "Texts in one model call.", buckets=_TEXTS, registry=self._registry
        )
        self._call_seconds = Histogram(
            "fankui_model_call_seconds", "Time of one model call.", buckets=_SECONDS, registry=self._registry
        )
        self._labels = Counter(
            "fankui_labels", "Labels given by the model.", ("head", "label"), registry=self._registry
        )
        # The lookup in the library takes longer than counting.
        self._request = cache(self._requests.labels)
        self._took = cache(self._latency.labels)
        self._label = cache(self._labels.labels)
        self._classified = Counter(
            "fankui_classified",
            "Classified texts, and whether they need review.",
            ("needs_review",),
            registry=self._registry,
        )
        self._deliveries = Counter(
            "fankui_webhook_deliveries", "Attempts to deliver an event.", ("outcome",), registry=self._registry
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._request(method, route, str(int(status))).inc()
        self._took(route).observe(seconds)

    def call(self, texts: int, _characters: int, seconds: float) -> None:
        """Count a model call."""
        self._call_texts.observe(texts)
        self._call_seconds.observe(seconds)

    def tags(self, tags: Tags) -> None:
        """Count what the model said of a text."""
        self._classified.labels("true" if tags.needs_review else "false").inc()
        self._label("sentiment", tags.sentiment.label).inc()
        self._label("request", tags.request.label).inc()
        self._label("loyalty", tags.loyalty.label).inc()
        for head, items in (("cause", tags.causes), ("servqual", tags.servqual), ("demand", tags.demand)):
            for item in items:
                self._label(head, item.label).inc()

    def delivery(self, outcome: str) -> None:
        """Count an attempt to deliver an event: delivered, failed, dead."""
        self._deliveries.labels(outcome).inc()

    def watch(self, readings: Callable[[], Iterable[Metric]]) -> None:
        """Ask `readings` whenever the metrics are asked for."""
        self._registry.register(_Watched(readings))

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)


class _Watched(Collector):
    def __init__(self, readings: Callable[[], Iterable[Metric]]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        yield from self._readings()


def gauge(name: str, description: str, value: float, **labels: str) -> Metric:
    """A reading that goes up and down."""
    family = GaugeMetricFamily(name, description, labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def counter(name: str, description: str, value: float) -> Metric:
    """A reading that only grows."""
    family: Any = CounterMetricFamily(name, description)
    family.add_metric([], value)
    return family  # type: ignore[no-any-return]
