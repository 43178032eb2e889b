"""Contexts that were tokenized before: the second question on a long document does not tokenize it again."""

import threading
from collections import OrderedDict

from albertqa.windows.build import ContextTokens, tokenize_contexts
from albertqa.windows.tokenizer import QATokenizer


class TokenizedContexts:
    """The tokens of the contexts that were read last; safe to use from several threads.

    Args:
        max_tokens: Tokens kept in all, each some 20 bytes with its text. The contexts that were not read for the
            longest time are dropped first; one with more tokens than this is not kept.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._kept: OrderedDict[str, ContextTokens] = OrderedDict()
        self._lock = threading.Lock()
        self.num_tokens = 0

    def tokenize(self, texts: list[str], tokenizer: QATokenizer) -> dict[str, ContextTokens]:
        """Return the tokens of each context, as `tokenize_contexts` does."""
        with self._lock:
            found = {text: self._kept[text] for text in texts if text in self._kept}
        found |= tokenize_contexts([text for text in texts if text not in found], tokenizer)
        with self._lock:
            for text in texts:
                self._keep(text, found[text])
        return {text: found[text] for text in texts}

    def _keep(self, text: str, tokens: ContextTokens) -> None:
        if text in self._kept:
            self._kept.move_to_end(text)
            return
        if len(tokens.input_ids) > self._max_tokens:
            return
        self._kept[text] = tokens
        self.num_tokens += len(tokens.input_ids)
        while self.num_tokens > self._max_tokens:
            _, dropped = self._kept.popitem(last=False)
            self.num_tokens -= len(dropped.input_ids)
