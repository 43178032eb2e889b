"""The training sample: losses of the windows themselves, and where the model finds answers instead."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from albertqa.data.reading import load_examples
from albertqa.decode.agreement import Agreement, label_agreement
from albertqa.decode.predict import run_windows
from albertqa.model.load import SpanModel, load_model
from albertqa.run.loop import TrainingWindows
from albertqa.run.train_sample import TrainSample
from albertqa.windows.build import build_windows
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import load_tokenizer

EXAMPLES = load_examples("starter:train", limit=150)


@pytest.fixture
def model(tiny_weights: Path) -> SpanModel:
    return load_model(tiny_weights, device=torch.device("cpu"))


@pytest.fixture
def store(tiny_weights: Path) -> WindowStore:
    return build_windows(EXAMPLES, load_tokenizer(tiny_weights), max_seq_length=128, doc_stride=32)


def test_a_sample_has_the_figures_that_an_evaluation_of_all_windows_has(model: SpanModel, store: WindowStore) -> None:
    ids = pa.array([one.id for one in EXAMPLES])
    everything = run_windows(model, store)
    columns = store.columns
    agreement = label_agreement(everything.logits, columns["start_position"], columns["end_position"])
    labelled = np.flatnonzero(columns["start_position"] > 0)
    figures, suspects = TrainSample(TrainingWindows(store, ids), 10_000).evaluate(model, batch_size=8)
    assert figures["sample_windows"] == len(labelled) < len(store)
    assert figures["sample_loss"] == pytest.approx(float(everything.losses[labelled].mean()), rel=1e-5)
    contradicted = 100 * float(agreement.contradicts[labelled].mean())
    assert figures["sample_contradicted_percent"] == pytest.approx(contradicted, abs=0.01)
    assert len(suspects) <= agreement.contradicts.sum()
    times = [one["times"] for one in suspects]
    assert times == sorted(times, reverse=True)
    by_id = {one.id: one for one in EXAMPLES}
    assert all(0 <= one["start_char"] < one["end_char"] <= len(by_id[one["id"]].context) for one in suspects)


def test_what_was_contradicted_once_stays_a_suspect(
    model: SpanModel, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = TrainSample(TrainingWindows(store, pa.array([one.id for one in EXAMPLES])), 10_000)
    count = len(sample._windows)
    starts = np.array([sample._windows[at].context_start for at in range(count)])

    def contradicting(at: int, times: float) -> Agreement:
        found = np.zeros(count, dtype=bool)
        found[at] = True
        return Agreement(starts, starts, np.full(count, times), found)

    said = iter([contradicting(3, 50.0), contradicting(5, 80.0), contradicting(3, 30.0)])
    monkeypatch.setattr("albertqa.run.train_sample.label_agreement", lambda *_: next(said))
    found = [[one["times"] for one in sample.evaluate(model, batch_size=8)[1]] for _ in range(3)]
    assert found == [[50.0], [80.0, 50.0], [80.0, 50.0]]


def test_a_sample_is_as_large_as_the_validation_data_but_never_tiny(store: WindowStore) -> None:
    windows = TrainingWindows(store, pa.array([one.id for one in EXAMPLES]))
    assert len(TrainSample(windows, 10)._windows) == 128
    assert len(TrainSample(windows, 140)._windows) == 140


def test_without_answers_there_is_nothing_to_compare(model: SpanModel, store: WindowStore) -> None:
    windows = TrainingWindows(store, pa.array([one.id for one in EXAMPLES]))
    store.columns["start_position"][:] = 0
    assert TrainSample(windows, 10).evaluate(model, batch_size=8) == ({}, [])
