"""Windows the slow way, one token at a time, and SentencePiece itself: what the fast code must equal.

Source: `prepare_train_features` of `run_qa.py` (Transformers). It differs in two places, where the original is wrong:

- There the search for the first answer token runs on into the special tokens and the padding, whose offsets are (0, 0);
  an answer that begins in a window's last context token is labelled with the window's very last position. Here it stops
  at the last context token.
- One character that became several tokens (``½``) makes the end come before the start there; here it is the start.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from albertqa.data.example import Example, Gold
from albertqa.windows.tokenizer import QATokenizer


@dataclass(frozen=True)
class SlowWindow:
    """One window; `offsets` are those of its context tokens."""

    input_ids: list[int]
    token_type_ids: list[int]
    context_start: int
    offsets: list[tuple[int, int]]
    start_position: int
    end_position: int


def slow_windows(
    example: Example, tokenizer: QATokenizer, max_seq_length: int, doc_stride: int
) -> list[SlowWindow] | None:
    """Give an example's windows, or None where its question leaves no room for new context tokens."""
    # The backend in which no text can spell a special token.
    pair = tokenizer._plain_backend.encode(example.question.lstrip(), example.context)
    inside = [at for at, sequence in enumerate(pair.sequence_ids) if sequence == 1]
    if not inside:
        # The last special token stands behind the (empty) context.
        return (
            [SlowWindow(pair.ids, pair.type_ids, len(pair.ids) - 1, [], 0, 0)] if len(pair) <= max_seq_length else None
        )
    begin, after = inside[0], inside[-1] + 1
    num_other = begin + len(pair) - after
    room = max_seq_length - num_other
    if len(inside) > room and room <= doc_stride:
        return None
    offsets = slow_characters(example.context, [pair.offsets[at] for at in inside])
    windows = []
    for first, end in _slow_slices(len(inside), room, doc_stride):
        labels = _slow_labels(offsets[first:end], example.golds[0] if example.golds else None)
        windows.append(
            SlowWindow(
                input_ids=pair.ids[:begin] + pair.ids[begin + first : begin + end] + pair.ids[after:],
                token_type_ids=pair.type_ids[:begin]
                + pair.type_ids[begin + first : begin + end]
                + pair.type_ids[after:],
                context_start=begin,
                offsets=offsets[first:end],
                start_position=0 if labels is None else begin + labels[0],
                end_position=0 if labels is None else begin + labels[1],
            )
        )
    return windows


def _slow_slices(num_tokens: int, room: int, doc_stride: int) -> Iterator[tuple[int, int]]:
    first = 0
    while True:
        end = min(first + room, num_tokens)
        yield first, end
        if end == num_tokens:
            return
        first = end - doc_stride


def slow_characters(text: str, offsets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Give each token its characters, one uncovered character at a time.

    A character that no token covers, and that is not white space, belongs to the token before it in its word, else to
    the one after it in its word, else to the one before its word, else to the first one; the first of two equal ones of
    which the second begins a token belongs to that token.
    """
    offsets = [_off_white_space(text, *one) for one in offsets]
    offsets = [tuple(map(max, zip(*offsets[: at + 1], strict=True))) for at in range(len(offsets))]
    covered = {at for start, end in offsets for at in range(start, end)}
    free = {at for at, character in enumerate(text) if at not in covered and not character.isspace()}
    spans = [list(one) for one in offsets]
    for at in sorted(free):
        before, after = at, at
        while before - 1 in free:
            before -= 1
        while after + 1 in free:
            after += 1
        ends = [end for _, end in offsets if end <= before]
        starts = {start for start, _ in offsets}
        if not ends:
            owner, begins = min(starts), True
        elif at + 1 in starts and text[at] == text[at + 1]:
            # "''" became one quotation mark, whose offsets are those of the second quote.
            owner, begins = at + 1, True
        elif max(ends) == before or after + 1 not in starts:
            owner, begins = max(ends), False
        else:
            owner, begins = after + 1, True
        for span, (start, end) in zip(spans, offsets, strict=True):
            if begins and start == owner:
                span[0] = min(span[0], at)
            elif not begins and end == owner:
                span[1] = max(span[1], at + 1)
    return [(start, end) for start, end in spans]


def _off_white_space(text: str, start: int, end: int) -> tuple[int, int]:
    """Move an offset off its leading white space; one of nothing else takes the next character."""
    while start < end and text[start].isspace():
        start += 1
        if start == end and end < len(text):
            end += 1
    return start, end


def _slow_labels(offsets: list[tuple[int, int]], gold: Gold | None) -> tuple[int, int] | None:
    """Give the first and last answer token of a slice, or None where the gold is not wholly inside."""
    if gold is None or not (offsets[0][0] <= gold.answer_start and offsets[-1][1] >= gold.answer_end):
        return None
    start = 0
    while start < len(offsets) and offsets[start][0] <= gold.answer_start:
        start += 1
    end = len(offsets) - 1
    while end >= 0 and offsets[end][1] >= gold.answer_end:
        end -= 1
    return start - 1, max(start - 1, end + 1)


class SentencePieceAlbert:
    """ALBERT's tokenization by the `sentencepiece` library, as the original's `preprocess_text` feeds it.

    Args:
        model: ``spiece.model``.
    """

    def __init__(self, model: Path) -> None:
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(model.read_bytes())
        for piece in proto.pieces:
            if len(piece.piece) > 1 and piece.piece[-1] == "," and piece.piece[-2].isdigit():
                piece.score -= 100
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=proto.SerializeToString())

    def encode(self, texts: list[str], out_type: type) -> list[list[Any]]:
        """Give pieces (`str`) or ids (`int`) of texts."""
        encoded: list[list[Any]] = self._processor.encode([_preprocessed(text) for text in texts], out_type=out_type)
        return encoded


def _preprocessed(text: str) -> str:
    text = " ".join(text.split())
    text = unicodedata.normalize("NFKD", text.replace("``", '"').replace("''", '"'))
    return "".join(character for character in text if not unicodedata.combining(character)).lower()
