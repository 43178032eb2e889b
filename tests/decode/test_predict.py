"""One pass over the windows gives, window by window, what Transformers' own model gives."""

from pathlib import Path

import numpy as np
import pytest
import torch

from albertqa.config import DeviceConfig
from albertqa.decode.predict import run_windows
from albertqa.decode.reader import Reader, load_reader
from albertqa.errors import SettingsError
from albertqa.model.load import SpanModel
from albertqa.windows.batches import PackedBatch
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .cases import save_reader, starter_examples

CPU = DeviceConfig(device="cpu", mixed_precision="no")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def reader(reader_folder: Path) -> Reader:
    return load_reader(reader_folder, CPU, max_seq_length=96, doc_stride=32)


@pytest.fixture(scope="module")
def store(tokenizer: QATokenizer) -> WindowStore:
    store = windows_in_memory(starter_examples(12), tokenizer, max_seq_length=96, doc_stride=32)
    assert len(set(store.lengths.tolist())) > 3
    assert store.columns["start_position"].any()
    return store


def test_logits_and_losses_equal_transformers_own(reader: Reader, reader_folder: Path, store: WindowStore) -> None:
    from transformers import AlbertForQuestionAnswering

    theirs = AlbertForQuestionAnswering.from_pretrained(reader_folder).eval()
    found = run_windows(reader.model, store)
    segments_matter = False
    for index in range(len(store)):
        window = store[index]
        inputs = {"input_ids": torch.from_numpy(window.input_ids)[None]}
        labels = {
            "start_positions": torch.tensor([window.start_position]),
            "end_positions": torch.tensor([window.end_position]),
        }
        segments = torch.from_numpy(window.token_type_ids)[None]
        with torch.inference_mode():
            expected = theirs(**inputs, token_type_ids=segments, **labels)
            without_segments = theirs(**inputs)
        part = slice(*found.logits.first_token[index : index + 2])
        np.testing.assert_allclose(found.logits.start[part], expected.start_logits[0], **CLOSE)
        np.testing.assert_allclose(found.logits.end[part], expected.end_logits[0], **CLOSE)
        np.testing.assert_allclose(found.losses[index], expected.loss, **CLOSE)
        segments_matter |= not np.allclose(expected.start_logits, without_segments.start_logits, atol=1e-2)
    # Otherwise this test could not tell a pass with segment ids from one without.
    assert segments_matter
    assert found.loss == pytest.approx(found.losses.mean())
    assert found.seconds > 0


@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_results_come_in_the_stores_order_whatever_the_batch(
    reader: Reader, store: WindowStore, batch_size: int
) -> None:
    done: list[int] = []
    found = run_windows(reader.model, store, batch_size=batch_size, progress=done.append)
    usual = run_windows(reader.model, store)
    assert sum(done) == len(store)
    assert (len(done) == 1) == (batch_size == 1000)
    assert found.logits.first_token.tolist() == [0, *np.cumsum(store.lengths).tolist()]
    np.testing.assert_allclose(found.logits.start, usual.logits.start, **CLOSE)
    np.testing.assert_allclose(found.logits.end, usual.logits.end, **CLOSE)
    np.testing.assert_allclose(found.losses, usual.losses, **CLOSE)


def test_dropout_is_off_during_the_pass_and_the_mode_comes_back(
    tiny_folder: Path, store: WindowStore, tmp_path: Path
) -> None:
    folder = save_reader(tmp_path, tiny_folder, hidden_dropout_prob=0.5, attention_probs_dropout_prob=0.5)
    model = load_reader(folder, CPU, max_seq_length=96, doc_stride=32).model
    assert not model.model.training
    usual = run_windows(model, store)
    assert not model.model.training
    model.model.train()
    found = run_windows(model, store)
    assert model.model.training
    assert all(module.training for module in model.model.modules())
    np.testing.assert_array_equal(found.logits.start, usual.logits.start)
    np.testing.assert_array_equal(found.losses, usual.losses)

    def interrupted(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_windows(model, store, progress=interrupted)
    assert model.model.training


def test_a_pass_leaves_no_gradients_behind(reader: Reader, store: WindowStore) -> None:
    run_windows(reader.model, store)
    assert all(parameter.grad is None for parameter in reader.model.model.parameters())
    assert all(parameter.requires_grad for parameter in reader.model.model.parameters())


class SmallGpu:
    """Stands for a GPU that holds only so many windows; a mock, as the allocator's real error needs a real GPU."""

    def __init__(self, model: SpanModel, most_windows: int) -> None:
        self._logits, self._most_windows, self.refused = model.logits, most_windows, 0

    def __call__(self, batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        if len(batch.lengths) > self._most_windows:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory (planted by a test)")
        return self._logits(batch)


@pytest.mark.parametrize("most_windows", [1, 3, 10])
def test_where_the_memory_holds_fewer_windows_fewer_are_taken(
    reader: Reader, store: WindowStore, monkeypatch: pytest.MonkeyPatch, most_windows: int
) -> None:
    expected = run_windows(reader.model, store)
    gpu = SmallGpu(reader.model, most_windows)
    monkeypatch.setattr(reader.model, "logits", gpu)
    done: list[int] = []
    found = run_windows(reader.model, store, progress=done.append)
    np.testing.assert_allclose(found.losses, expected.losses, **CLOSE)
    np.testing.assert_allclose(found.logits.start, expected.logits.start, **CLOSE)
    np.testing.assert_allclose(found.logits.end, expected.logits.end, **CLOSE)
    assert sum(done) == len(store)
    assert max(done) <= most_windows
    assert 1 <= gpu.refused <= 6, "what was found to fit holds for the rest"


def test_where_it_does_not_hold_one_the_user_is_told(
    reader: Reader, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader.model, "logits", SmallGpu(reader.model, 0))
    with pytest.raises(SettingsError, match=r"^out of memory with one window of \d+ tokens\. Use a shorter"):
        run_windows(reader.model, store)


def test_one_by_one_a_windows_logits_are_the_same_to_the_bit_in_any_company(
    reader_folder: Path, store: WindowStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_reader(reader_folder, DeviceConfig(device="cpu", mixed_precision="bf16")).model
    lengths: list[tuple[int, ...]] = []
    logits = model.logits

    def spy(batch: PackedBatch) -> tuple[torch.Tensor, torch.Tensor]:
        lengths.append(batch.lengths)
        return logits(batch)

    monkeypatch.setattr(model, "logits", spy)
    found = run_windows(model, store, one_by_one=True)
    assert sorted(lengths) == sorted((length,) for length in store.lengths.tolist())
    examples = starter_examples(12)
    for index in (0, 7, 11):
        alone = windows_in_memory(
            [examples[index]], load_reader(reader_folder, CPU).tokenizer, max_seq_length=96, doc_stride=32
        )
        first, last = found.logits.first_token[store.first_window[index : index + 2]]
        passed = run_windows(model, alone, one_by_one=True)
        np.testing.assert_array_equal(passed.logits.start, found.logits.start[first:last])
        np.testing.assert_array_equal(passed.logits.end, found.logits.end[first:last])
