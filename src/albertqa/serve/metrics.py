"""What a server counts, for Prometheus; never a word of a user's text."""

from collections.abc import Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKENS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 65536)
_QUESTIONS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of one server, in a registry of their own.

    Args:
        queue_tokens: Returns the tokens waiting and being read.
        queue_requests: Returns the requests waiting.
    """

    def __init__(self, queue_tokens: Callable[[], int], queue_requests: Callable[[], int]) -> None:
        self._registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        Gauge("albertqa_queue_tokens", "Tokens waiting and being read", registry=own).set_function(queue_tokens)
        Gauge("albertqa_queue_requests", "Requests waiting", registry=own).set_function(queue_requests)
        self._requests = Counter("albertqa_requests", "Requests", ["route", "status"], registry=own)
        self._request_seconds = Histogram(
            "albertqa_request_seconds", "Time of a request", ["route"], buckets=_SECONDS, registry=own
        )
        self._queue_seconds = Histogram(
            "albertqa_queue_seconds", "Time that a question waited", buckets=_SECONDS, registry=own
        )
        self._batch_seconds = Histogram("albertqa_batch_seconds", "Time of a batch", buckets=_SECONDS, registry=own)
        self._batch_tokens = Histogram("albertqa_batch_tokens", "Tokens of a batch", buckets=_TOKENS, registry=own)
        self._batch_questions = Histogram(
            "albertqa_batch_questions", "Questions of a batch", buckets=_QUESTIONS, registry=own
        )
        self._answers = Counter("albertqa_answers", "Answers given", ["kind"], registry=own)

    def on_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def on_batch(self, *, num_tokens: int, waited: Sequence[float], seconds: float) -> None:
        """Count a batch."""
        self._batch_tokens.observe(num_tokens)
        self._batch_questions.observe(len(waited))
        self._batch_seconds.observe(seconds)
        for one in waited:
            self._queue_seconds.observe(one)

    def on_answer(self, *, is_answer: bool) -> None:
        """Count an answer that was given."""
        self._answers.labels("answer" if is_answer else "no_answer").inc()

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
