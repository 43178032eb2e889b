"""Which characters of a text belong to which token.

A tokenizer's own offsets leave gaps: what its normalizer drops (combining marks, Indic vowel signs, variation
selectors, zero-width spaces) is in no token, so that "café" in five code points would come back as "cafe". Here every
character but white space belongs to a token.
"""

import functools

import numpy as np
from numpy.typing import NDArray

from albertqa.windows.store import Int32Array

# From here on no character is white space.
_END_OF_SPACES = 0x3001


def token_characters(text: str, offsets: Int32Array) -> tuple[Int32Array, Int32Array]:
    """Return the characters of each token.

    White space at a token's beginning, which some tokenizers count to it, is taken away; a token of nothing else (a
    lone ``▁``) takes the next character, as it does where the pre-tokenizer splits at white space first. Then every
    character that no token covers, white space aside, goes to a token: to the one before it, or at the beginning of a
    word, and of a pair of quotes that became one character, to the one after it.

    Args:
        text: The text.
        offsets: The tokenizer's own offsets.

    Returns:
        First character of each token, and the one after its last.

    Shapes:
        offsets: (T, 2) int32
        returns: two of (T,) int32
    """
    if not len(offsets):
        return offsets[:, 0], offsets[:, 1]
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    space = _space_table()[np.minimum(codes, _END_OF_SPACES)]
    start_char, end_char = _without_leading_space(space, offsets[:, 0].copy(), offsets[:, 1].copy())
    return _without_gaps(codes, space, start_char, end_char)


@functools.cache
def _space_table() -> NDArray[np.bool_]:
    return np.asarray([chr(code).isspace() for code in range(_END_OF_SPACES + 1)])


def _without_leading_space(
    space: NDArray[np.bool_], start_char: Int32Array, end_char: Int32Array
) -> tuple[Int32Array, Int32Array]:
    last = len(space) - 1
    while (leading := (start_char < end_char) & space[np.minimum(start_char, last)]).any():
        start_char[leading] += 1
        end_char[leading & (start_char == end_char) & (end_char <= last)] += 1
    # Beside a token that was moved, a byte-level "Ġ" of no characters would end before its neighbours.
    return np.maximum.accumulate(start_char), np.maximum.accumulate(end_char)


def _without_gaps(
    codes: NDArray[np.uint32], space: NDArray[np.bool_], start_char: Int32Array, end_char: Int32Array
) -> tuple[Int32Array, Int32Array]:
    """Move the tokens' borders so that the characters between tokens belong to one of them."""
    num_chars, num_tokens = len(space), len(start_char)
    # Each token, and the end of the text, with the place up to which the tokens before it cover the text.
    covered = np.concatenate([[0], np.maximum.accumulate(end_char)])
    begins = np.append(start_char, num_chars)
    num_text = np.concatenate([[0], np.cumsum(~space)])
    gaps = np.flatnonzero(num_text[begins] > num_text[covered])
    if not len(gaps):
        return start_char, end_char
    # One past the last white space, and past the last other character, before each place.
    places = np.arange(1, num_chars + 1)
    after_space = np.concatenate([[0], np.maximum.accumulate(np.where(space, places, 0))])
    after_text = np.concatenate([[0], np.maximum.accumulate(np.where(space, 0, places))])
    first, end = covered[gaps], begins[gaps]
    # Where the part of a gap begins that goes to the next token: at that token's word, if it begins inside the gap.
    split = np.where((after_space[end] > first) & (gaps < num_tokens), after_space[end], end)
    is_pair = (split == end) & (gaps < num_tokens) & (codes[end - 1] == codes[np.minimum(end, num_chars - 1)])
    split = np.where(gaps == 0, np.argmin(space), split - is_pair)
    ends, starts = np.arange(num_chars + 1, dtype=np.int32), np.arange(num_chars + 1, dtype=np.int32)
    ends[first] = np.maximum(first, after_text[split])
    starts[end] = split
    # Tokens that share their characters (a lone "▁" and what follows it) move together.
    return starts[start_char], ends[end_char]
