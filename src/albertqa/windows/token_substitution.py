"""Single tokens hidden or exchanged, as in the masked-language-model training of BERT.

Source: Devlin et al. 2019, section 3.1, with its 80, 10 and 10 percent; of one token in ten, where it has 15 in 100.
"""

import re

import numpy as np
from numpy.typing import NDArray

from albertqa.windows.store import Int64Array
from albertqa.windows.tokenizer import QATokenizer

_CHOSEN_SHARE = 0.1
_MASKED_SHARE = 0.8
_RANDOM_SHARE = 0.1
_TRIES = 8
# [CLS], <unk>, [unused7], <0x0A>: not text, whatever they are for.
_CONTROL = re.compile(r"\[.+\]|<.+>")


class TokenSubstitution:
    """Replaces some tokens by the mask token or by random ones.

    Args:
        tokenizer: The run's tokenizer; one without a mask token gives random tokens only.
    """

    def __init__(self, tokenizer: QATokenizer) -> None:
        vocabulary: dict[str, int] = tokenizer.backend.get_vocab(with_added_tokens=True)
        layout = tokenizer.layout
        special = {*layout.prefix, *layout.middle, *layout.suffix}
        special |= {at for at, token in tokenizer.backend.get_added_tokens_decoder().items() if token.special}
        # Sorted, because the vocabulary comes in another order every time.
        ordinary = sorted(at for token, at in vocabulary.items() if at not in special and not _CONTROL.fullmatch(token))
        self._ordinary = np.asarray(ordinary, dtype=np.int64)
        self._is_ordinary = np.zeros(max(vocabulary.values()) + 1, dtype=bool)
        self._is_ordinary[self._ordinary] = True
        self._mask = tokenizer.token_id("mask")

    def replaced(
        self, tokens: Int64Array, may_change: NDArray[np.bool_], rng: np.random.Generator
    ) -> Int64Array | None:
        """Replace some tokens; special tokens, and those that may not change, stay.

        Args:
            tokens: Token ids.
            may_change: Which ones may be replaced.
            rng: Decides which and by what.

        Returns:
            The token ids with at least one changed, or None where none may be.

        Shapes:
            tokens, may_change: (T,)
            returns: (T,) int64
        """
        free = np.flatnonzero(may_change & self._is_ordinary[tokens])
        if not len(free) or not len(self._ordinary):
            return None
        for _ in range(_TRIES):
            chosen = free[rng.random(len(free)) < _CHOSEN_SHARE]
            if not len(chosen):
                chosen = free[rng.integers(len(free), size=1)]
            fate = rng.random(len(chosen))
            random_tokens = self._ordinary[rng.integers(len(self._ordinary), size=len(chosen))]
            new = np.where(fate < _MASKED_SHARE + _RANDOM_SHARE, random_tokens, tokens[chosen])
            if self._mask is not None:
                new[fate < _MASKED_SHARE] = self._mask
            if (new != tokens[chosen]).any():
                replaced = tokens.copy()
                replaced[chosen] = new
                return replaced
        return None
