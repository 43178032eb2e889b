"""Refuse tokenizers that would change a model's input silently, or cannot be what their model was trained with."""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albertqa.errors import TokenizerError
from albertqa.windows.tokenizer_files import MOST_PIECES, TOKENIZER_CONFIG_JSON, TOKENIZER_JSON, check_ids, read_json
from albertqa.windows.vocabularies import share_with_capitals, share_with_marks

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# What SentencePiece gives for ALBERT's own 30,000 pieces: user-defined pieces keep the space before them, digits let
# go of the comma, accents and case are folded, two back-quotes are one quotation mark.
_ALBERT_VOCABULARY_SIZE = 30_000
_ALBERT_PROBE = 'Countries (OAPEC) cut ``10" - in 1976, 5, é £5.'
_ALBERT_PROBE_PIECES = '▁countries ▁ ( oa pec ) ▁cut ▁ " 10 " ▁ - ▁in ▁1976 , ▁5 , ▁ e ▁ £ 5 .'
_LOSSLESS_PROBE = 'a (b) c "d" - e. 5, 1976, x'

# The only regular expression that the tokenizers of the supported families have. Others may take seconds a text.
_KNOWN_PATTERN = " {2,}"

_MANY_PIECES, _MANY_WORDS, _SAMPLED_WORDS = 0.02, 0.1, 500


@dataclass(frozen=True)
class TokenizerParts:
    """What a ``tokenizer.json`` says of itself.

    Attributes:
        model: Unigram, WordPiece or BPE.
        pieces: The vocabulary without added tokens.
        unknown: The piece for unknown text; None where the model has none.
        lower_cases: Whether the normalizer lower-cases.
        strips: Category of the combining marks that the normalizer takes away ("M", "Mn"); "" where they stay.
    """

    model: str
    pieces: list[str]
    unknown: str | None
    lower_cases: bool
    strips: str

    @functools.cached_property
    def texts(self) -> list[str]:
        """The pieces that stand for text, without the special ones ([CLS], <pad>, [unused7])."""
        return [one for one in self.pieces if not (one.startswith(("[", "<")) and one.endswith(("]", ">")))]

    @property
    def words(self) -> list[str]:
        """The texts that begin a word and have letters in them."""
        if self.model == "Unigram":
            found = [one[1:] for one in self.texts if one.startswith("▁")]
        else:
            found = [one for one in self.texts if not one.startswith("##")]
        return [one for one in found if any(map(str.isalpha, one)) and "▁" not in one]


def read_parts(path: Path) -> TokenizerParts:
    """Read a ``tokenizer.json`` and check what the `tokenizers` library does not, or checks by failing.

    Raises:
        TokenizerError: It is no tokenizer of a supported kind.
    """
    content = read_json(path)
    for component in (*_flat(content.get("normalizer")), *_flat(content.get("pre_tokenizer"))):
        pattern = component.get("pattern")
        expression = pattern.get("Regex") if isinstance(pattern, dict) else None
        if expression not in (None, _KNOWN_PATTERN):
            raise TokenizerError(
                f"{path}: has the regular expression {str(expression)[:40]!r}, which no tokenizer of a supported "
                "encoder has"
            )
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        check_ids(path, vocabulary)
    elif not isinstance(vocabulary, list) or not all(map(_is_scored, vocabulary)) or len(vocabulary) > MOST_PIECES:
        raise TokenizerError(f"{path}: not a tokenizer file (expected a vocabulary of at most {MOST_PIECES:,} pieces)")
    parts = parts_of(content)
    if parts.model not in ("Unigram", "WordPiece", "BPE") or (parts.model == "Unigram") != isinstance(vocabulary, list):
        raise TokenizerError(f"{path}: its model is {parts.model[:40]!r}, expected Unigram, WordPiece or BPE")
    if model.get("dropout"):
        raise TokenizerError(f"{path}: its model has dropout, so that a text's tokens differ from one time to the next")
    return parts


def parts_of(content: dict[str, Any]) -> TokenizerParts:
    """Return what the content of a ``tokenizer.json`` says of itself."""
    model = content["model"]
    vocabulary = model["vocab"]
    # Older files do not name the type.
    kind = model.get("type") or (
        "BPE" if "merges" in model else "Unigram" if isinstance(vocabulary, list) else "WordPiece"
    )
    pieces = [piece for piece, _ in vocabulary] if isinstance(vocabulary, list) else list(vocabulary)
    unk_id = model.get("unk_id")
    has_unknown = isinstance(unk_id, int) and 0 <= unk_id < len(pieces)
    unknown = (pieces[unk_id] if has_unknown else None) if kind == "Unigram" else model.get("unk_token")
    lower_cases, strips = False, ""
    for component in _flat(content.get("normalizer")):
        name = component.get("type")
        folds = name == "BertNormalizer" and bool(component.get("lowercase"))
        lower_cases = lower_cases or folds or name == "Lowercase"
        if name == "StripAccents":
            strips = "M"
        elif name == "BertNormalizer" and (
            folds if component.get("strip_accents") is None else component["strip_accents"]
        ):
            strips = strips or "Mn"
    return TokenizerParts(str(kind), pieces, unknown, lower_cases, strips)


def check_albert(backend: "Tokenizer", segments: tuple[int, int], source: str) -> None:
    """Refuse an ALBERT tokenizer that does not do what SentencePiece and the pre-training did.

    Raises:
        TokenizerError: It has no segment ids, loses spaces, or has ALBERT's vocabulary and cuts in other places.
    """
    remedy = "Use the Hub's tokenizer.json of albert/albert-base-v2 or the bare spiece.model"
    if segments != (0, 1):
        raise TokenizerError(f"{source}: segment ids of question and context are {segments}, expected (0, 1). {remedy}")
    joined = "".join(backend.encode(_LOSSLESS_PROBE, add_special_tokens=False).tokens)
    expected = "▁" + _LOSSLESS_PROBE.replace(" ", "▁")
    if joined != expected and "▁" in joined:
        raise TokenizerError(
            f"{source}: loses or moves spaces: '{_LOSSLESS_PROBE}' becomes '{joined}', expected '{expected}' "
            f"(punctuation was turned into added tokens). {remedy}"
        )
    if backend.get_vocab_size() != _ALBERT_VOCABULARY_SIZE or backend.token_to_id("▁countries") is None:
        return
    pieces = " ".join(backend.encode(_ALBERT_PROBE, add_special_tokens=False).tokens)
    if pieces != _ALBERT_PROBE_PIECES:
        raise TokenizerError(
            f"{source}: not ALBERT's tokenization: '{_ALBERT_PROBE}' becomes '{pieces}', "
            f"expected '{_ALBERT_PROBE_PIECES}'. {remedy}"
        )


def check_folding(parts: TokenizerParts, flags: dict[str, bool], source: str) -> None:
    """Refuse case and accent folding that the vocabulary contradicts: pieces that can never be produced.

    `flags` are those that the tokenizer was built with; of a ``tokenizer.json`` there are none.

    Raises:
        TokenizerError: Many pieces have capitals or accents that normalization takes away.
    """
    capitals = share_with_capitals(parts.texts) if parts.lower_cases else 0.0
    marks = share_with_marks(parts.texts, parts.strips) if parts.strips else 0.0
    accents_flag = "keep_accents" if "keep_accents" in flags else "strip_accents"
    for share, flag, wanted, what in (
        (capitals, "do_lower_case", False, "capitals"),
        (marks, accents_flag, accents_flag == "keep_accents", "accents or vowel signs"),
    ):
        if share <= _MANY_PIECES:
            continue
        if flags:
            setting = f"{flag} is {str(not wanted).lower()}"
            remedy = f'Set "{flag}": {str(wanted).lower()} in {TOKENIZER_CONFIG_JSON}'
        else:
            setting = f"the normalizer of {TOKENIZER_JSON} folds text"
            remedy = f"Use the {TOKENIZER_JSON} that belongs to this vocabulary"
        raise TokenizerError(
            f"{source}: {setting}, but {100 * share:.0f} % of the vocabulary's pieces have {what} and could never "
            f"be produced. {remedy}"
        )


def check_unknown(
    parts: TokenizerParts, encode: Callable[[list[str]], list[list[int]]], unknown_id: int | None, source: str
) -> None:
    """Refuse a tokenizer that drops what it does not know, or does not know the words of its own vocabulary.

    Args:
        parts: The tokenizer's parts.
        encode: Returns the token ids of each of several texts.
        unknown_id: Id of the token for unknown text.
        source: Where it came from.

    Raises:
        TokenizerError: It does.
    """
    if unknown_id is None:
        from tokenizers.pre_tokenizers import ByteLevel

        if parts.model != "BPE" or not set(ByteLevel.alphabet()) <= set(parts.pieces):
            raise TokenizerError(f"{source}: has no token for text that is not in its vocabulary, and would drop it")
        return
    words = parts.words
    sample = words[:: 1 + len(words) // _SAMPLED_WORDS]
    # Twice: a tokenizer that does not split at white space knows a word, but no text of words.
    encoded = encode([f"{word} {word}" for word in sample])
    unknown = [word for word, ids in zip(sample, encoded, strict=True) if unknown_id in ids]
    if len(unknown) > _MANY_WORDS * len(sample):
        raise TokenizerError(
            f"{source}: makes unknown tokens of {100 * len(unknown) / len(sample):.0f} % of its own vocabulary's words "
            f"({', '.join(map(repr, unknown[:3]))}); its normalization does not belong to its vocabulary"
        )


def _flat(component: Any) -> Iterator[dict[str, Any]]:
    """Yield a component of a ``tokenizer.json`` with those inside it."""
    if isinstance(component, dict):
        yield component
        for name in ("normalizers", "pretokenizers"):
            inside = component.get(name)
            for one in inside if isinstance(inside, list) else ():
                yield from _flat(one)


def _is_scored(piece: Any) -> bool:
    return (
        isinstance(piece, list) and len(piece) == 2 and isinstance(piece[0], str) and isinstance(piece[1], int | float)
    )
