"""A first signal asks a run to stop, a second one stops it."""

import os
import signal
import threading

import pytest

from albertqa.run.interrupt import StopRequest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_remembered_and_does_nothing_else(number: signal.Signals) -> None:
    with StopRequest() as request:
        assert request.signal_number is None
        os.kill(os.getpid(), number)
        assert request.signal_number == number


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_stops_at_once(second: signal.Signals) -> None:
    with StopRequest() as request:
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), second)
        assert request.signal_number == signal.SIGTERM


def test_the_handlers_before_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopRequest():
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_thread_may_train_without_taking_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found = []

    def train() -> None:
        with StopRequest() as request:
            found.append((request.signal_number, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [(None, before)]
