"""Training windows changed at random, anew in every epoch; the answer stays exact.

Everything happens to the tokens of a window when it is read: the store, the number of windows and their order are as
without, and what a window becomes follows from seed, epoch and its position alone, so a resumed run repeats it. The
ways, in the order in which they are applied:

- ``crop``: a random run of neighbouring sentences is left of the context, with the whole answer in it. A window without
  an answer is cropped like any other: were it not, its length would give the answer's absence away.
- ``word-dropout``, ``typo``: the question; see `albertqa.windows.question_edits`. Where it has grown too long for the
  window, context tokens at an end that is free of the answer give way.
- ``distractor``: text of another article before or after the context; see `albertqa.windows.distractors`.
- ``token-substitution``: see `albertqa.windows.token_substitution`; never a token of the answer.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from albertqa.config import Augmentation
from albertqa.data.example import Example
from albertqa.windows.distractors import Distractors
from albertqa.windows.question_edits import mistyped, without_words
from albertqa.windows.sentences import sentence_borders
from albertqa.windows.store import Int32Array, Int64Array, Window, WindowStore, join
from albertqa.windows.token_substitution import TokenSubstitution
from albertqa.windows.tokenizer import PairLayout, QATokenizer

_Number = TypeVar("_Number", np.int32, np.int64)

# `start_char` and `end_char` of a distractor's tokens: they are nowhere in the example's context.
NOWHERE = -1

_TRIES = 8
# What a way's draws are keyed by, so that they do not depend on which other ways are asked for. 0 is left out: a seed
# of NumPy ends in zeros without saying so, and the order of an epoch is drawn from (seed, epoch).
_NUMBERS: dict[Augmentation, int] = {way: number for number, way in enumerate(get_args(Augmentation), 1)}


@dataclass(frozen=True, slots=True)
class _Draft:
    """A window taken apart, while it is changed.

    Attributes:
        index: Position of the window.
        example: Position of its example.
        question: Tokens of the question.
        context: Tokens of the context.
        start_char: First character of each context token.
        end_char: Character after the last one of each context token.
        answer: The answer's first and last token among the context's, or None.
        question_text: The question as it reads now; None: as in the data.
    """

    index: int
    example: int
    question: Int64Array
    context: Int64Array
    start_char: Int32Array
    end_char: Int32Array
    answer: tuple[int, int] | None
    question_text: str | None = None

    @classmethod
    def of(cls, window: Window, index: int, layout: PairLayout) -> "_Draft":
        begin = window.context_start
        has_answer = window.start_position >= begin
        return cls(
            index,
            window.example_index,
            question=window.input_ids[len(layout.prefix) : begin - len(layout.middle)],
            context=window.input_ids[begin : begin + len(window.start_char)],
            start_char=window.start_char,
            end_char=window.end_char,
            answer=(window.start_position - begin, window.end_position - begin) if has_answer else None,
        )

    def window(self, layout: PairLayout) -> Window:
        input_ids, token_type_ids, begin = join(layout, self.question, self.context)
        return Window(
            example_index=self.example,
            input_ids=input_ids,
            token_type_ids=token_type_ids,
            context_start=begin,
            start_char=self.start_char,
            end_char=self.end_char,
            start_position=begin + self.answer[0] if self.answer else 0,
            end_position=begin + self.answer[1] if self.answer else 0,
        )

    def cut(self, first: int, end: int) -> "_Draft":
        """Keep the context's tokens from `first` to before `end`, the answer's among them."""
        return replace(
            self,
            context=self.context[first:end],
            start_char=self.start_char[first:end],
            end_char=self.end_char[first:end],
            answer=(self.answer[0] - first, self.answer[1] - first) if self.answer else None,
        )


_Change: TypeAlias = Callable[[_Draft, np.random.Generator], _Draft | None]


class Augmenter:
    """Changes the windows of an epoch.

    Args:
        store: The windows.
        examples: The data they were built of; nothing of it is kept but the texts that the ways need.
        tokenizer: The tokenizer they were built with.
        ways: What is done; their order does not matter.
        rate: Share of the windows that each way changes, from 0 to 1; drawn for each way on its own.
        seed: Seed of all draws.
        normalize: Reduces a text to what the metric compares; in this sense no distractor holds a gold.

    Attributes:
        counts: For each way the windows ``seen``, those ``changed``, and those drawn but ``impossible`` to change.

    Raises:
        DataError: The data are not fit for distractors (see `Distractors`).
    """

    def __init__(
        self,
        store: WindowStore,
        examples: Sequence[Example],
        tokenizer: QATokenizer,
        *,
        ways: Collection[Augmentation],
        rate: float,
        seed: int,
        normalize: Callable[[str], str],
    ) -> None:
        self._store, self._tokenizer, self._rate, self._seed = store, tokenizer, rate, seed
        self._room = store.max_seq_length - store.layout.num_special_tokens
        # Arrow keeps the texts of a large data set in a fraction of the memory that its examples take.
        asks, reads = {"word-dropout", "typo"} & {*ways}, {"crop", "distractor"} & {*ways}
        self._questions = pa.array([one.question.lstrip() for one in examples] if asks else [], pa.large_string())
        self._contexts = pa.array(_context_texts(store, examples) if reads else [], pa.large_string())
        self._has_answer = np.asarray([one.has_answer for one in examples], dtype=bool)
        changes: dict[Augmentation, _Change] = {
            "crop": self._crop,
            "word-dropout": self._leave_words_out,
            "typo": self._mistype,
        }
        if "distractor" in ways:
            distractors = Distractors(store, examples, self._contexts, normalize)
            changes["distractor"] = partial(self._distract, distractors)
        if "token-substitution" in ways:
            changes["token-substitution"] = partial(_substitute, TokenSubstitution(tokenizer))
        self._changes = {way: change for way, change in changes.items() if way in ways}
        self.counts = {str(way): {"seen": 0, "changed": 0, "impossible": 0} for way in self._changes}

    def __call__(self, epoch: int) -> "_EpochView":
        """Return the windows as an epoch sees them: as many as in the store, in the same order.

        Args:
            epoch: The epoch, from 0.

        Returns:
            A view of the store; reading a window of it counts.
        """
        drawn = {
            way: np.random.default_rng([self._seed, epoch, _NUMBERS[way]]).random(len(self._store)) < self._rate
            for way in self._changes
        }
        return _EpochView(self, epoch, drawn)

    def count_on(self, counts: Mapping[str, Mapping[str, int]]) -> None:
        """Go on counting from an earlier process's counts.

        Args:
            counts: Its `counts`.
        """
        self.counts = {way: dict(of_way) for way, of_way in counts.items()}

    def changed(self, index: int, epoch: int, ways: Collection[Augmentation]) -> Window:
        """Return a window changed in some of the ways, as far as each is possible.

        Args:
            index: Position of the window.
            epoch: The epoch.
            ways: The ways drawn for it.

        Returns:
            The window.
        """
        window = self._store[index]
        if not ways:
            return window
        draft = _Draft.of(window, index, self._store.layout)
        for way in ways:
            # The position goes in from 1, for the zeros at a seed's end.
            rng = np.random.default_rng([self._seed, epoch, _NUMBERS[way], index + 1])
            new = self._changes[way](draft, rng)
            self.counts[way]["impossible" if new is None else "changed"] += 1
            draft = new or draft
        return draft.window(self._store.layout)

    def _crop(self, draft: _Draft, rng: np.random.Generator) -> _Draft | None:
        borders = sentence_borders(self._context_text(draft), draft.start_char, draft.end_char)
        num_sentences = len(borders) - 1
        if num_sentences < 2:
            return None
        # Without an answer any sentence is as good as another to be kept.
        kept = draft.answer or (int(borders[rng.integers(num_sentences)]),) * 2
        first, last = (int(np.searchsorted(borders, token, side="right")) - 1 for token in kept)
        # Each pair of a first sentence up to `first` and a last one from `last` on has the same chance, but for pair 0,
        # which is the whole context.
        num_lasts = num_sentences - last
        if (first + 1) * num_lasts == 1:
            return None
        before, after = divmod(int(rng.integers(1, (first + 1) * num_lasts)), num_lasts)
        return draft.cut(int(borders[before]), int(borders[num_sentences - after]))

    def _leave_words_out(self, draft: _Draft, rng: np.random.Generator) -> _Draft | None:
        has_answer = bool(self._has_answer[draft.example])
        return self._ask(draft, lambda question: without_words(question, rng, has_answer=has_answer))

    def _mistype(self, draft: _Draft, rng: np.random.Generator) -> _Draft | None:
        return self._ask(draft, lambda question: mistyped(question, rng))

    def _ask(self, draft: _Draft, rewrite: Callable[[str], str | None]) -> _Draft | None:
        """Ask the question in other words that are other tokens, too, where there are such."""
        text = draft.question_text
        if text is None:
            text = str(self._questions[draft.example].as_py())
        for _ in range(_TRIES):
            new = rewrite(text)
            if new is None or new == text:
                continue
            tokens = np.asarray(self._tokenizer.encode_batch([new])[0].ids, dtype=np.int64)
            if len(tokens) and not np.array_equal(tokens, draft.question):
                fitting = _shortened(draft, self._room - len(tokens))
                if fitting is not None:
                    return replace(fitting, question=tokens, question_text=new)
        return None

    def _distract(self, distractors: Distractors, draft: _Draft, rng: np.random.Generator) -> _Draft | None:
        room = self._room - len(draft.question) - len(draft.context)
        found = distractors.draw(draft.index, room, rng)
        if found is None:
            return None
        nowhere = np.full(len(found), NOWHERE, dtype=np.int32)
        is_before = rng.random() < 0.5
        shift = len(found) if is_before else 0

        def beside(own: NDArray[_Number], other: NDArray[_Number]) -> NDArray[_Number]:
            return np.concatenate([other, own] if is_before else [own, other])

        return replace(
            draft,
            context=beside(draft.context, found),
            start_char=beside(draft.start_char, nowhere),
            end_char=beside(draft.end_char, nowhere),
            answer=(draft.answer[0] + shift, draft.answer[1] + shift) if draft.answer else None,
        )

    def _context_text(self, draft: _Draft) -> str:
        return str(self._contexts[int(self._store.columns["context_index"][draft.index])].as_py())


@dataclass(frozen=True)
class _EpochView:
    """The windows as one epoch sees them.

    Attributes:
        augmenter: Changes them.
        epoch: The epoch.
        drawn: For each way, which windows it changes, (W,) bool.
    """

    augmenter: Augmenter
    epoch: int
    drawn: dict[Augmentation, NDArray[np.bool_]]

    def __getitem__(self, index: int) -> Window:
        for way in self.drawn:
            self.augmenter.counts[way]["seen"] += 1
        ways = [way for way, is_drawn in self.drawn.items() if is_drawn[index]]
        return self.augmenter.changed(index, self.epoch, ways)


def _substitute(noise: TokenSubstitution, draft: _Draft, rng: np.random.Generator) -> _Draft | None:
    tokens = np.concatenate([draft.question, draft.context])
    may_change = np.ones(len(tokens), dtype=bool)
    if draft.answer:
        first, last = (len(draft.question) + token for token in draft.answer)
        may_change[first : last + 1] = False
    replaced = noise.replaced(tokens, may_change, rng)
    if replaced is None:
        return None
    question, context = np.split(replaced, [len(draft.question)])
    return replace(draft, question=question, context=context)


def _shortened(draft: _Draft, room: int) -> _Draft | None:
    """Cut the context down to `room` tokens, at its end or else its beginning, where that spares the answer."""
    num_tokens = len(draft.context)
    if num_tokens <= room:
        return draft
    if room < 1:
        return None
    if draft.answer is None or draft.answer[1] < room:
        return draft.cut(0, room)
    return draft.cut(num_tokens - room, num_tokens) if draft.answer[0] >= num_tokens - room else None


def _context_texts(store: WindowStore, examples: Sequence[Example]) -> list[str]:
    """Return the text of each of the store's contexts."""
    indices = store.columns["context_index"][store.first_window[:-1]]
    texts = [""] * (int(indices.max(initial=-1)) + 1)
    for index, example in zip(indices, examples, strict=True):
        texts[index] = example.context
    return texts
