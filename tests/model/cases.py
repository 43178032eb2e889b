"""Small models and batches that the tests of model and training share."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AlbertConfig, AlbertForQuestionAnswering, PreTrainedModel

from albertqa.windows.batches import PackedBatch
from albertqa.windows.tokenizer import SPIECE_MODEL

# Weights this wide make attention far from uniform and gradients far from zero, so that a difference shows.
WIDE = 0.2


def save_albert(source: Path, target: Path, *, seed: int = 0, **changes: object) -> Path:
    """Save an ALBERT with random weights beside its tokenizer, by Transformers' own code.

    Args:
        source: Folder with ``config.json`` and ``spiece.model``.
        target: Folder to write.
        seed: Seed of the weights.
        changes: Fields of the configuration to change.

    Returns:
        `target`.
    """
    config = AlbertConfig.from_pretrained(source, **{"initializer_range": WIDE, **changes})
    torch.manual_seed(seed)
    AlbertForQuestionAnswering(config).save_pretrained(target)
    shutil.copyfile(source / SPIECE_MODEL, target / SPIECE_MODEL)
    return target


def random_batch(lengths: Sequence[int], vocab_size: int, *, seed: int = 0) -> PackedBatch:
    """Make windows of random tokens, two segments and random labels."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int, size: int) -> torch.Tensor:
        return torch.randint(low, high, (size,), generator=generator)

    spans = [sorted(draw(0, length, 2).tolist()) for length in lengths]
    return PackedBatch(
        input_ids=draw(5, vocab_size, sum(lengths)),
        token_type_ids=torch.cat([(torch.arange(length) > length // 3).long() for length in lengths]),
        position_ids=torch.cat([torch.arange(length) for length in lengths]),
        first_token=torch.tensor([0, *lengths]).cumsum(0),
        lengths=tuple(lengths),
        longest=max(lengths),
        start_positions=torch.tensor([start for start, _ in spans]),
        end_positions=torch.tensor([end for _, end in spans]),
    )


def padded(batch: PackedBatch, *, pad_id: int, has_segments: bool = True) -> dict[str, torch.Tensor]:
    """Lay a packed batch out the usual way: one row a window, padded, with an attention mask."""

    def rows(values: torch.Tensor, padding: int) -> torch.Tensor:
        return torch.nn.utils.rnn.pad_sequence(list(values.split(batch.lengths)), True, padding)

    inputs = {
        "input_ids": rows(batch.input_ids, pad_id),
        "attention_mask": rows(torch.ones_like(batch.input_ids), 0),
    }
    return inputs | ({"token_type_ids": rows(batch.token_type_ids, 0)} if has_segments else {})


def padded_losses(model: PreTrainedModel, batch: PackedBatch, *, has_segments: bool = True) -> torch.Tensor:
    """Give every window's loss by Transformers' own padded forward, the softmax over real tokens only."""
    inputs = padded(batch, pad_id=model.config.pad_token_id, has_segments=has_segments)
    output = model(**inputs)
    is_padding = inputs["attention_mask"] == 0
    start, end = (
        functional.cross_entropy(logits.masked_fill(is_padding, -torch.inf), labels, reduction="none")
        for logits, labels in (
            (output.start_logits, batch.start_positions),
            (output.end_logits, batch.end_positions),
        )
    )
    return (start + end) / 2


def unpadded_losses(model: PreTrainedModel, batch: PackedBatch, *, has_segments: bool = True) -> torch.Tensor:
    """Give every window's loss as Transformers' own model computes it, one window at a time and so without padding."""
    losses = []
    first = 0
    for window, length in enumerate(batch.lengths):
        inside = slice(first, first + length)
        segments = {"token_type_ids": batch.token_type_ids[None, inside]} if has_segments else {}
        output = model(
            input_ids=batch.input_ids[None, inside],
            start_positions=batch.start_positions[window, None],
            end_positions=batch.end_positions[window, None],
            **segments,
        )
        losses.append(output.loss)
        first += length
    return torch.stack(losses)
