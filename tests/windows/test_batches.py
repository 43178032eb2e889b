"""Batches without padding: every window once, under the budget, in an order that a resumed run can repeat."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.windows.batches import PackedBatch, by_length, epoch_order, pack
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer

from .cases import starter_examples


@pytest.fixture(scope="module")
def store(tokenizer: QATokenizer) -> WindowStore:
    return windows_in_memory(starter_examples(30), tokenizer, max_seq_length=64, doc_stride=16)


@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_a_packed_batch_is_its_windows_end_to_end(store: WindowStore, data: st.DataObject) -> None:
    indices = data.draw(st.lists(st.integers(0, len(store) - 1), min_size=1, max_size=6))
    batch = pack(store, np.asarray(indices))
    windows = [store[index] for index in indices]
    assert batch.lengths == tuple(len(window.input_ids) for window in windows)
    assert batch.num_tokens == sum(batch.lengths) == len(batch.input_ids)
    assert batch.first_token.tolist() == [sum(batch.lengths[:at]) for at in range(len(indices) + 1)]
    assert batch.longest == max(batch.lengths)
    parts = [tensor.split(batch.lengths) for tensor in (batch.input_ids, batch.token_type_ids, batch.position_ids)]
    for at, window in enumerate(windows):
        assert parts[0][at].tolist() == window.input_ids.tolist()
        assert parts[1][at].tolist() == window.token_type_ids.tolist()
        assert parts[2][at].tolist() == list(range(len(window.input_ids)))
    assert batch.start_positions.tolist() == [window.start_position for window in windows]
    assert batch.end_positions.tolist() == [window.end_position for window in windows]
    assert {tensor.dtype for tensor in tensors_of(batch).values()} == {torch.int64}


def tensors_of(batch: PackedBatch) -> dict[str, torch.Tensor]:
    return {name: value for name, value in vars(batch).items() if isinstance(value, torch.Tensor)}


def test_a_batch_moves_whole(store: WindowStore) -> None:
    batch = pack(store, [1, 0])
    moved = batch.to(torch.device("meta"))
    assert len(tensors_of(batch)) == 6
    for name, tensor in tensors_of(batch).items():
        assert getattr(moved, name).device.type == "meta"
        assert getattr(moved, name).shape == tensor.shape
    assert (moved.lengths, moved.longest) == (batch.lengths, batch.longest)


@given(lengths=st.lists(st.integers(1, 512), max_size=80), max_tokens=st.integers(1, 4096))
def test_every_window_is_in_one_batch_under_the_budget_longest_first(lengths: list[int], max_tokens: int) -> None:
    array = np.asarray(lengths, dtype=np.int32)
    batches = by_length(array, max_tokens=max_tokens)
    assert sorted(np.concatenate(batches).tolist() if batches else []) == list(range(len(lengths)))
    read = [lengths[index] for batch in batches for index in batch]
    assert read == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or int(array[batch].sum()) <= max_tokens
    # No batch could take the next window as well, were it as long as its first.
    for batch in batches[:-1]:
        assert (len(batch) + 1) * int(array[batch[0]]) > max_tokens


def test_windows_of_one_length_keep_their_order() -> None:
    batches = by_length(np.asarray([5, 9, 5, 9, 5], dtype=np.int32), max_tokens=18)
    assert [batch.tolist() for batch in batches] == [[1, 3], [0, 2, 4]]


@given(num_windows=st.integers(0, 300), seed=st.integers(0, 2**32), epoch=st.integers(0, 50))
def test_an_epochs_order_is_a_permutation_of_seed_and_epoch_alone(num_windows: int, seed: int, epoch: int) -> None:
    order = epoch_order(num_windows, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(num_windows))
    np.random.default_rng(0).random(100)
    np.testing.assert_array_equal(order, epoch_order(num_windows, seed=seed, epoch=epoch))


def test_seeds_and_epochs_have_orders_of_their_own() -> None:
    orders = {tuple(epoch_order(50, seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


def test_the_order_of_an_epoch_never_changes_between_versions() -> None:
    # A run resumed after an update must see the windows in the order it began with.
    assert epoch_order(8, seed=42, epoch=0).tolist() == [3, 4, 2, 7, 6, 1, 5, 0]
    assert epoch_order(8, seed=42, epoch=1).tolist() == [0, 4, 6, 1, 2, 7, 3, 5]
