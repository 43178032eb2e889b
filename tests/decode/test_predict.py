"""One pass over the windows gives, window by window, what Transformers' own model gives."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from albertqa.decode.predict import run_windows
from albertqa.decode.reader import Reader, load_reader
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .cases import save_reader, starter_examples

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reader(reader_folder: Path) -> Reader:
    return load_reader(reader_folder, max_seq_length=96, device="cpu", mixed_precision="no")


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
    model = load_reader(folder, max_seq_length=96, device="cpu", mixed_precision="no").model
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
