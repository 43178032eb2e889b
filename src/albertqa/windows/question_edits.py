"""Questions written less carefully: with a slip of the fingers, or without words that one can do without.

Neither may make another question of it. Numbers, names and the question word say what is asked, so typing slips leave
every word with a digit alone and words are left out only from among the rest.

Source: slips as in Pruthi, Dhingra and Lipton 2019 (swap, drop, double and neighbouring key, inner letters of words of
four letters or more); left-out words as in Wei and Zou 2019 (random deletion, one word in ten), but for the words kept.
"""

import re

import numpy as np

_WORD = re.compile(r"\w{4,}")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_DROP_SHARE = 0.1
# Without one of these the question asks for something else: what is asked, negation, who did it to whom ("was killed
# by"), and on which side of a limit.
_KEPT = frozenset(
    (
        *("who", "whom", "whose", "what", "which", "when", "where", "why", "how"),
        *("no", "not", "never", "none", "neither", "nor", "cannot", "without", "except", "only", "other", "same"),
        *("is", "are", "was", "were", "be", "been", "being", "by", "to", "from"),
        *("than", "more", "less", "most", "least", "first", "last", "before", "after", "since", "until"),
    )
)
# A question without an answer may get one when it asks for less ("the smallest city"), and where nothing has a capital
# a name looks like any word: such questions lose only these.
_EMPTY = frozenset(("a", "an", "the", "of", "do", "does", "did", "has", "have", "had"))


def _neighbours() -> dict[str, str]:
    """Lay out the letters as the fingers find them: to the left and right, above and below."""
    places = {key: (row, column) for row, keys in enumerate(_KEYS) for column, key in enumerate(keys)}
    around = {(0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0)}
    return {
        key: "".join(other for other, there in places.items() if (there[0] - row, there[1] - column) in around)
        for key, (row, column) in places.items()
    }


_NEIGHBOURS = _neighbours()


def mistyped(question: str, rng: np.random.Generator) -> str:
    """Make one or two typing slips inside words of letters.

    Args:
        question: The question.
        rng: Decides where and which.

    Returns:
        The question with slips; as it was where no word has four letters.
    """
    for _ in range(int(rng.integers(1, 3))):
        words = [found for found in _WORD.finditer(question) if found[0].isalpha()]
        if not words:
            break
        word = words[int(rng.integers(len(words)))]
        at = int(rng.integers(word.start() + 1, word.end() - 1))
        question = question[:at] + _slip(question[at : word.end() - 1], rng) + question[word.end() - 1 :]
    return question


def _slip(letters: str, rng: np.random.Generator) -> str:
    """Mistype the first of a word's inner letters; only a swap needs the second."""
    first, second, rest = letters[0], letters[1:2], letters[2:]
    slips = [second + rest, first + first + second + rest]
    if second and second != first:
        slips.append(second + first + rest)
    if keys := _NEIGHBOURS.get(first.lower()):
        key = keys[int(rng.integers(len(keys)))]
        slips.append((key.upper() if first.isupper() else key) + second + rest)
    return slips[int(rng.integers(len(slips)))]


def without_words(question: str, rng: np.random.Generator, *, has_answer: bool) -> str | None:
    """Leave out each word that one can do without with a probability of 0.1, but at least one and never all.

    A word one can do without is written in lower case. Capitals and digits (names, dates), the question word
    and a word with punctuation attached stay.

    Args:
        question: The question.
        rng: Decides which.
        has_answer: Whether it has an answer; one without, or without a capital, loses articles, auxiliaries and "of"
            only.

    Returns:
        The question without them, or None where there is no such word, or nothing else.
    """
    words = question.split()
    empty_only = not has_answer or not any(letter.isupper() for letter in question)
    candidates = [at for at, word in enumerate(words) if word in _EMPTY or (not empty_only and _is_plain(word))]
    if not candidates or len(words) == 1:
        return None
    dropped = {at for at in candidates if rng.random() < _DROP_SHARE}
    if not dropped or len(dropped) == len(words):
        dropped = {candidates[int(rng.integers(len(candidates)))]}
    return " ".join(word for at, word in enumerate(words) if at not in dropped)


def _is_plain(word: str) -> bool:
    return word.isalpha() and word.islower() and word not in _KEPT
