"""Load an encoder's tokenizer exactly as the encoder was trained with it, without Transformers.

A ``tokenizer.json`` is taken as it is; older vocabulary files are built into one (`albertqa.windows.vocabularies`).
Whatever would silently change a model's input is refused (`albertqa.windows.tokenizer_checks`).
"""

import functools
import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albertqa.errors import DataError, TokenizerError
from albertqa.files import fetch_folder
from albertqa.windows.tokenizer_checks import (
    TokenizerParts,
    check_albert,
    check_folding,
    check_unknown,
    parts_of,
    read_parts,
)
from albertqa.windows.tokenizer_files import (
    ADDED_TOKENS_JSON,
    CONFIG_JSON,
    MERGES_TXT,
    SENTENCEPIECE_BPE_MODEL,
    SPECIAL_TOKENS_MAP_JSON,
    SPIECE_MODEL,
    TOKENIZER_CONFIG_JSON,
    TOKENIZER_JSON,
    VOCAB_JSON,
    VOCAB_TXT,
    TokenizerSettings,
    read_bytes,
    read_settings,
    refuse_failures,
)
from albertqa.windows.vocabularies import BuiltTokenizer, build_from_folder, build_from_spiece

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

# Tables of embeddings are rounded up to multiples of 64 or 128, so a few rows have no token.
_LEAST_USED_EMBEDDINGS = 0.9
# Longest input of every supported family as published.
_POSITIONS = 512

_HUB_FILES = (TOKENIZER_JSON, TOKENIZER_CONFIG_JSON, SPECIAL_TOKENS_MAP_JSON, ADDED_TOKENS_JSON, CONFIG_JSON,
              SPIECE_MODEL, SENTENCEPIECE_BPE_MODEL, VOCAB_TXT, VOCAB_JSON, MERGES_TXT)  # fmt: skip


@dataclass(frozen=True)
class PairLayout:
    """How question and context are joined: special tokens and segment ids.

    Attributes:
        prefix: Token ids before the question (``[CLS]``).
        middle: Token ids between question and context (``[SEP]``).
        suffix: Token ids after the context (``[SEP]``).
        question_segment: Segment id of prefix, question and middle.
        context_segment: Segment id of context and suffix.
    """

    prefix: tuple[int, ...]
    middle: tuple[int, ...]
    suffix: tuple[int, ...]
    question_segment: int
    context_segment: int

    @property
    def num_special_tokens(self) -> int:
        """Special tokens in one window."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)


@dataclass(frozen=True)
class QATokenizer:
    """A tokenizer with what question answering needs to know about it.

    Attributes:
        backend: The `tokenizers.Tokenizer`, without truncation and padding.
        layout: Special tokens and segment ids of a question-context pair.
        special_tokens: Spelling of its special tokens by role: cls, sep, pad, unk, mask, bos, eos; those it has.
        config: What is written as ``tokenizer_config.json`` beside a saved model.
        source: Where it came from, for messages.
    """

    backend: "Tokenizer"
    layout: PairLayout
    special_tokens: dict[str, str]
    config: dict[str, Any]
    source: str

    def __repr__(self) -> str:
        # The backend's own is its whole vocabulary: megabytes in every traceback that shows values.
        return f"QATokenizer({self.source!r})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides how text becomes tokens."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @functools.cached_property
    def vocab_size(self) -> int:
        """Number of embeddings that the token ids need, added tokens included."""
        return 1 + max(self.backend.get_vocab(with_added_tokens=True).values())

    def token_id(self, role: str) -> int | None:
        """Return the id of a special token.

        Args:
            role: One of the roles of `special_tokens`. Of "unk", only what stands for text that is not in the
                vocabulary counts: a byte-level tokenizer has no unknown text.

        Returns:
            The id; None without such a token.
        """
        if role == "unk" and type(self.backend.model).__name__ == "BPE" and self.backend.model.unk_token is None:
            return None
        spelling = self.special_tokens.get(role)
        found: int | None = None if spelling is None else self.backend.token_to_id(spelling)
        return found

    def encode_batch(self, texts: Sequence[str]) -> list["Encoding"]:
        """Tokenize texts in parallel, without special tokens; one that a text spells ("[SEP]", "<pad>") is plain text.

        Returns:
            One `tokenizers.Encoding` a text; its offsets are characters of the raw text, half-open.

        Raises:
            DataError: A text has half a character (a lone surrogate), which is no text.
            TokenizerError: The tokenizer fails on a text.
        """
        encodings = self._encode(self.backend, list(texts))
        # Looking at the ids is cheaper than a second tokenizer in every process, and knows what normalization does.
        ids_of = {role: self.backend.token_to_id(spelling) for role, spelling in self.special_tokens.items()}
        unknown, spelling = ids_of.pop("unk", None), self.special_tokens.get("unk", "")
        special = set(ids_of.values())
        spelled = [
            at
            for at, (text, encoding) in enumerate(zip(texts, encodings, strict=True))
            if not special.isdisjoint(ids := encoding.ids)
            # Common without being spelled; no normalizer makes its first sign of another than a form of it.
            or (unknown in ids and spelling[0] in unicodedata.normalize("NFKD", text))
        ]
        if spelled:
            plain = self._encode(self._plain_backend, [texts[at] for at in spelled])
            for at, encoding in zip(spelled, plain, strict=True):
                encodings[at] = encoding
        return encodings

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, which `AutoTokenizer` opens with segment ids on."""
        text = json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"
        (folder / TOKENIZER_JSON).write_text(self.backend.to_str(pretty=True), encoding="utf-8")
        (folder / TOKENIZER_CONFIG_JSON).write_text(text, encoding="utf-8")

    @functools.cached_property
    def _plain_backend(self) -> "Tokenizer":
        """The same tokenizer with special tokens that no text can spell; ids are the same."""
        from tokenizers import Tokenizer

        parts = json.loads(self.backend.to_str())
        special, vocabulary = set(self.special_tokens.values()), parts["model"]["vocab"]
        if isinstance(vocabulary, list):
            # A unigram model finds its pieces in any text; the others never put these together.
            parts["model"]["vocab"] = [[_unspellable(one, special), score] for one, score in vocabulary]
        pieces = set(vocabulary) if isinstance(vocabulary, dict) else {one for one, _ in vocabulary}
        # One that is not in the model's vocabulary has an id of its own, from which those after it count on.
        parts["added_tokens"] = [
            {**token, "content": _unspellable(token["content"], special)}
            for token in parts["added_tokens"]
            if token["content"] not in special & pieces
        ]
        with refuse_failures(f"{self.source}: the tokenizer cannot be saved and opened again"):
            return Tokenizer.from_str(json.dumps(parts))

    def _encode(self, backend: "Tokenizer", texts: list[str]) -> list["Encoding"]:
        try:
            with refuse_failures(f"{self.source}: the tokenizer fails on a text", silent=False):
                return list(backend.encode_batch(texts, add_special_tokens=False))
        except TokenizerError:
            for number, text in enumerate(texts):
                try:
                    text.encode("utf-8")
                except UnicodeEncodeError as error:
                    raise DataError(
                        f"text {number + 1}: has half a character (a lone surrogate) at character {error.start}"
                    ) from error
            raise


def load_tokenizer(source: str | Path) -> QATokenizer:
    """Load a tokenizer from a ``spiece.model``, a folder, or a Hub name, and check it.

    Args:
        source: Path of ALBERT's SentencePiece model, folder with ``tokenizer.json`` or a vocabulary file, or a Hub
            name.

    Raises:
        TokenizerError: Nothing usable is there, or it would change a model's input silently.
    """
    path = Path(source)
    if path.is_file() and path.name != TOKENIZER_JSON:
        settings = TokenizerSettings(str(source))
        with refuse_failures(f"{path}: no tokenizer can be made of it"):
            built = build_from_spiece(path, settings)
        return _checked(built, settings)
    if path.exists():
        return _from_folder(path.parent if path.is_file() else path, str(source))
    fetched = fetch_folder(
        str(source),
        _HUB_FILES,
        error_type=TokenizerError,
        expected="file or folder",
        remedy="Give a local folder with tokenizer.json or spiece.model, or connect to a network",
    )
    return _from_folder(fetched, str(source))


def check_embeddings(tokenizer: QATokenizer, num_embeddings: int, source: str) -> None:
    """Refuse a tokenizer that does not belong to a model's `num_embeddings` token embeddings.

    Raises:
        TokenizerError: It has more tokens than the model, or far fewer.
    """
    if not _LEAST_USED_EMBEDDINGS * num_embeddings <= tokenizer.vocab_size <= num_embeddings:
        raise TokenizerError(
            f"{source}: the tokenizer has {tokenizer.vocab_size} tokens, the model embeddings for {num_embeddings}; "
            "they do not belong together"
        )


def _unspellable(token: str, special: set[str]) -> str:
    return f"\0special\0{token}" if token in special else token


def _from_folder(folder: Path, source: str) -> QATokenizer:
    from tokenizers import Tokenizer

    settings = read_settings(folder, source)
    path = folder / TOKENIZER_JSON
    if not path.is_file():
        return _checked(build_from_folder(folder, settings), settings)
    parts = read_parts(path)
    with refuse_failures(f"{path}: not a tokenizer file"):
        backend = Tokenizer.from_buffer(read_bytes(path))
    return _checked(BuiltTokenizer(backend, settings.special_tokens), settings, parts)


def _checked(built: BuiltTokenizer, settings: TokenizerSettings, parts: TokenizerParts | None = None) -> QATokenizer:
    """Take truncation and padding off, read the pair layout, and refuse what would silently change the input."""
    from tokenizers import Tokenizer

    backend, source = built.backend, settings.source
    if parts is None:
        # JSON moves some scores by one unit in the last place: take them as a saved tokenizer.json will give them, so
        # that a trained model's folder has the fingerprint, and opens the windows, of the vocabulary it came from.
        text = backend.to_str()
        with refuse_failures(f"{source}: the tokenizer cannot be saved and opened again"):
            backend, parts = Tokenizer.from_str(text), parts_of(json.loads(text))
    backend.no_truncation()
    backend.no_padding()
    layout = _pair_layout(backend, source)
    special = _special_tokens(backend, layout, parts, built.special_tokens)
    segments = (layout.question_segment, layout.context_segment)
    with refuse_failures(f"{source}: the tokenizer fails on a plain text"):
        if parts.model == "Unigram" and special["cls"] == "[CLS]":
            check_albert(backend, segments, source)
        check_folding(parts, built.flags, source)
        config = _saved_config(special, built.flags, settings, has_segments=segments[0] != segments[1])
        tokenizer = QATokenizer(backend, layout, special, config, source)
        check_unknown(
            parts, lambda texts: [one.ids for one in tokenizer.encode_batch(texts)], tokenizer.token_id("unk"), source
        )
    return tokenizer


def _pair_layout(backend: "Tokenizer", source: str) -> PairLayout:
    """Find the special tokens and segment ids by encoding one pair."""
    # tokenizers raises plain Exception where an unknown letter has no token.
    no_tokens = f"{source}: the tokenizer gives no tokens for a plain letter; it is damaged or empty"
    with refuse_failures(no_tokens):
        encoding = backend.encode("a", "b")
    sequence_ids, ids, segments = encoding.sequence_ids, encoding.ids, encoding.type_ids
    if 0 not in sequence_ids or 1 not in sequence_ids:
        raise TokenizerError(no_tokens)
    question = [index for index, sequence in enumerate(sequence_ids) if sequence == 0]
    context = [index for index, sequence in enumerate(sequence_ids) if sequence == 1]
    layout = PairLayout(
        prefix=tuple(ids[: question[0]]),
        middle=tuple(ids[question[-1] + 1 : context[0]]),
        suffix=tuple(ids[context[-1] + 1 :]),
        question_segment=segments[question[0]],
        context_segment=segments[context[0]],
    )
    if not layout.prefix or not layout.middle:
        raise TokenizerError(
            f"{source}: the tokenizer puts no [CLS] before and no [SEP] between question and context; "
            "its tokenizer.json lacks the post-processor"
        )
    found = (layout.question_segment, layout.context_segment)
    if not set(found) <= {0, 1}:
        raise TokenizerError(f"{source}: segment ids of question and context are {found}, expected 0 or 1")
    if any(backend.id_to_token(token) is None for token in (*layout.prefix, *layout.middle, *layout.suffix)):
        raise TokenizerError(f"{source}: the post-processor adds tokens that the vocabulary does not have")
    return layout


def _special_tokens(
    backend: "Tokenizer", layout: PairLayout, parts: TokenizerParts, named: dict[str, str]
) -> dict[str, str]:
    """Return the special tokens by role: as the tokenizer itself uses them, as a file names them, or by usual names."""
    special = {"pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")}
    found = {role: name for role, names in special.items() for name in names if backend.token_to_id(name) is not None}
    found |= {role: name for role, name in named.items() if backend.token_to_id(name) is not None}
    found |= {"cls": str(backend.id_to_token(layout.prefix[0])), "sep": str(backend.id_to_token(layout.middle[0]))}
    if parts.unknown is not None:
        found["unk"] = parts.unknown
    elif parts.model != "BPE":
        found.pop("unk", None)
    return found


def _saved_config(
    special: dict[str, str], flags: dict[str, bool], settings: TokenizerSettings, *, has_segments: bool
) -> dict[str, Any]:
    """Return the ``tokenizer_config.json`` with which Transformers takes the ``tokenizer.json`` as it is."""
    segments = ["token_type_ids"] if has_segments else []
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": settings.model_max_length or _POSITIONS,
        "model_input_names": ["input_ids", *segments, "attention_mask"],
        # A text that spells a special token is plain text, as it was in training.
        "split_special_tokens": True,
        **{f"{role}_token": spelling for role, spelling in special.items()},
        **settings.flags,
        **flags,
    }
