"""Numbers for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60)
QUESTIONS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What GET /metrics shows.

    Args:
        waiting: Gives the number of questions in the queue.
        in_hand: Gives the number of questions that are received and not answered yet.
    """

    def __init__(self, waiting: Callable[[], float], in_hand: Callable[[], float]):
        self.registry = CollectorRegistry()
        self.requests = Counter('lisa_requests', 'Requests', ['path', 'status'], registry=self.registry)
        self.seconds = Histogram(
            'lisa_request_seconds', 'From the first byte to the last', ['path'], buckets=SECONDS, registry=self.registry
        )
        self.batches = Histogram('lisa_batch_questions', 'Questions answered at once', buckets=QUESTIONS, registry=self.registry)
        self.tokens = Counter('lisa_tokens', 'Tokens of answered questions', ['kind'], registry=self.registry)
        queue = Gauge('lisa_queue_questions', 'Questions that wait for a batch', registry=self.registry)
        queue.set_function(waiting)
        hand = Gauge('lisa_in_hand_questions', 'Questions received and not answered yet', registry=self.registry)
        hand.set_function(in_hand)

    def text(self) -> bytes:
        """All numbers in Prometheus' format."""
        return generate_latest(self.registry)
