"""A tiny trained-looking reader, and what decoding needs: small stores with drawn logits."""

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from albertqa.data.example import Example
from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from albertqa.decode.spans import WindowLogits
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import WindowStore
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer


def save_reader(folder: Path, config: Path, *, with_head: bool = True, **overrides: Any) -> Path:
    """Save a tiny ALBERT with random weights and its tokenizer as a trained model's folder.

    Args:
        folder: A new folder.
        config: Folder with the config of a tiny ALBERT and its tokenizer.
        with_head: Whether the span head is saved, too.
        overrides: Entries of the config to change.
    """
    import torch
    from transformers import AlbertConfig, AlbertForQuestionAnswering
    from transformers.utils import logging

    generator = torch.random.get_rng_state()
    torch.manual_seed(7)
    model = AlbertForQuestionAnswering(AlbertConfig(**json.loads((config / "config.json").read_text()) | overrides))
    torch.random.set_rng_state(generator)
    with torch.no_grad():
        # Random logits lie so close together that any two answers would all but tie.
        model.qa_outputs.weight.mul_(50)
    logging.disable_progress_bar()
    (model if with_head else model.albert).save_pretrained(folder)
    load_tokenizer(config).save(folder)
    return folder


def starter_examples(count: int, *, version_2: bool = False) -> list[Example]:
    """The first examples of the bundled set."""
    return load_examples(starter_file("dev", version_2=version_2), limit=count)


WORDS = ("the", "Normans", "(oapec)", "swam", "in", "1976,", "½", "é.", "xylophone")
# Few values give many ties; the two zeros are equal and the least steps are told apart.
LEVELS = (0.0, -0.0, 1.0, -1.0, 2.5, float(np.nextafter(np.float32(2.5), np.float32(3))), -7.25, 1e-40, -1e-40, 3e4)


@dataclass(frozen=True)
class Case:
    """Examples with windows and logits."""

    examples: list[Example]
    store: WindowStore
    logits: WindowLogits


@st.composite
def cases(draw: st.DrawFn, tokenizer: QATokenizer, *, most_examples: int = 3) -> Case:
    """Draw examples of no to many windows of few to many tokens, and logits with and without ties."""
    examples = [
        Example(f"q{number}", "Who?", " ".join(draw(st.lists(st.sampled_from(WORDS), max_size=25))))
        for number in range(draw(st.integers(1, most_examples)))
    ]
    max_seq_length = draw(st.integers(12, 60))
    store = windows_in_memory(examples, tokenizer, max_seq_length=max_seq_length, doc_stride=draw(st.integers(0, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32), label="seed of logits"))
    num_tokens = int(store.lengths.sum())
    levels = draw(st.one_of(st.none(), st.lists(st.sampled_from(LEVELS), min_size=1, max_size=4)))
    start, end = (
        (rng.normal(size=num_tokens) if levels is None else rng.choice(levels, num_tokens)).astype(np.float32)
        for _ in range(2)
    )
    return Case(examples, store, logits_of(store, start, end))


def logits_of(store: WindowStore, start: np.ndarray[Any, Any], end: np.ndarray[Any, Any]) -> WindowLogits:
    """Say where each window's logits begin."""
    return WindowLogits(start, end, np.concatenate([[0], np.cumsum(store.lengths, dtype=np.int64)]))


def part(case: Case, tokenizer: QATokenizer, index: int) -> Case:
    """Give one example with its own store and its share of the logits."""
    example = copy.copy(case.examples[index])
    store = windows_in_memory(
        [example], tokenizer, max_seq_length=case.store.max_seq_length, doc_stride=case.store.doc_stride
    )
    first, last = case.logits.first_token[case.store.first_window[index : index + 2]]
    return Case([example], store, logits_of(store, case.logits.start[first:last], case.logits.end[first:last]))
