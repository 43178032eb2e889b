"""Build a tokenizer from the vocabulary file of an older folder, without a ``tokenizer.json``.

ALBERT's ``spiece.model``, BERT's ``vocab.txt`` (also of DistilBERT, ELECTRA and Chinese ALBERTs), RoBERTa's
``vocab.json`` with ``merges.txt``, and the ``sentencepiece.bpe.model`` of XLM-R and CamemBERT.

Source: the original code of each family (SentencePiece's unigram model, `google-research/bert`, fairseq). Where
Transformers' converters differ from it, the original decides; see `_from_spiece` and `_read_merges`.
"""

import math
import unicodedata
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albertqa.errors import TokenizerError
from albertqa.windows.tokenizer_files import (
    MERGES_TXT,
    MOST_PIECES,
    SENTENCEPIECE_BPE_MODEL,
    SPIECE_MODEL,
    TOKENIZER_JSON,
    VOCAB_JSON,
    VOCAB_TXT,
    TokenizerSettings,
    read_bytes,
    read_ids,
    read_lines,
    refuse_failures,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# A piece that ends in digit + comma would glue "1976," into one token, and the span "1976" could never be labelled.
_DIGIT_COMMA_PENALTY = 100.0

# Vocabularies of real models have none of these where their text was folded, and several percent where it was not.
_FEW_PIECES = 0.005

_ALBERT_TOKENS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "<pad>", "unk": "<unk>", "mask": "[MASK]",
                  "bos": "[CLS]", "eos": "[SEP]"}  # fmt: skip
_BERT_TOKENS = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "unk": "[UNK]", "mask": "[MASK]"}
_ROBERTA_TOKENS = {"cls": "<s>", "sep": "</s>", "pad": "<pad>", "unk": "<unk>", "mask": "<mask>",
                   "bos": "<s>", "eos": "</s>"}  # fmt: skip
_BERT_PAIR, _ROBERTA_PAIR = "{cls} $A {sep} $B:1 {sep}:1", "{cls} $A {sep} {sep} $B {sep}"


@dataclass(frozen=True)
class BuiltTokenizer:
    """A tokenizer built from a vocabulary file.

    Attributes:
        backend: The tokenizer.
        special_tokens: Spelling of its special tokens by role.
        flags: The flags it was built with.
    """

    backend: "Tokenizer"
    special_tokens: dict[str, str]
    flags: dict[str, bool] = field(default_factory=dict)


def build_from_folder(folder: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Build the tokenizer of a folder that has no ``tokenizer.json``.

    Raises:
        TokenizerError: There is no vocabulary file, or not the one of the class that a file names; it is damaged; or
            what it needs is not in it.
    """
    source = settings.source
    there = [name for name in _BUILDERS if (folder / name).is_file()]
    if not there:
        raise TokenizerError(f"{source}: no tokenizer there, expected {TOKENIZER_JSON} or {SPIECE_MODEL} in {folder}")
    by_class = {name: classes for name, (_, classes) in _BUILDERS.items() if settings.tokenizer_class in classes}
    if settings.tokenizer_class and not by_class:
        raise TokenizerError(
            f"{source}: tokenizer_class is {settings.tokenizer_class!r}, which needs a {TOKENIZER_JSON} here. "
            f"Write one with Transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
        )
    wanted = [name for name in there if not by_class or name in by_class]
    if len(wanted) != 1:
        expected = " or ".join(by_class) if by_class else "one vocabulary file, or a tokenizer_class that says which"
        raise TokenizerError(f"{source}: found {' and '.join(there)}, expected {TOKENIZER_JSON} or {expected}")
    build, _ = _BUILDERS[wanted[0]]
    with refuse_failures(f"{folder / wanted[0]}: no tokenizer can be made of it"):
        built = build(folder / wanted[0], settings)
    for token, token_id in settings.added_tokens.items():
        if built.backend.token_to_id(token) != token_id:
            raise TokenizerError(
                f"{source}: {token!r} was added to the vocabulary as id {token_id}, which {wanted[0]} does not have. "
                f"Write a {TOKENIZER_JSON} with Transformers: AutoTokenizer.from_pretrained(...).save_pretrained(...)"
            )
    return built


def build_from_spiece(path: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Build ALBERT's tokenizer: SentencePiece's own unigram model with ALBERT's preprocessing before it.

    `AutoTokenizer` is no substitute: current Transformers turns ALBERT's user-defined pieces ( ``( ) " - . – £ €`` )
    into added tokens that are cut out before the pre-tokenizer, and asks for no segment ids.

    Args:
        path: ``spiece.model``.
        settings: What the files beside it say. Case and accents are folded as they say; where they say nothing, as the
            vocabulary shows, and where that shows nothing, as in ALBERT's own.

    Raises:
        TokenizerError: It is not a unigram model, or lacks special tokens.
    """
    from tokenizers import Regex, normalizers

    proto = _read_sentencepiece(path, "ALBERT's spiece.model")
    special = _special_tokens(path, _ALBERT_TOKENS, settings, [piece.piece for piece in proto.pieces])
    texts = [piece.piece for piece in proto.pieces if piece.type == piece.NORMAL]
    lower = _settled(settings, "do_lower_case", default=True, contradicted=share_with_capitals(texts) > _FEW_PIECES)
    accents = share_with_marks(texts, "M") > _FEW_PIECES
    keep_accents = _settled(settings, "keep_accents", default=False, contradicted=accents)
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lower:
        steps.append(normalizers.Lowercase())
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    pieces = [(piece.piece, piece.score - _penalty(piece.piece)) for piece in proto.pieces]
    backend = _unigram(pieces, proto.trainer_spec.unk_id, normalizers.Sequence(steps))
    backend.post_processor = _template(backend, special, _BERT_PAIR)
    return BuiltTokenizer(backend, special, {"do_lower_case": lower, "keep_accents": keep_accents})


def share_with_capitals(pieces: Sequence[str]) -> float:
    """Return the share of pieces that lower-casing changes."""
    return sum(piece != piece.lower() for piece in pieces) / max(1, len(pieces))


def share_with_marks(pieces: Sequence[str], category: str) -> float:
    """Return the share of pieces that stripping accents changes.

    Args:
        pieces: The pieces.
        category: What is stripped: "M" (all combining marks, as ALBERT does) or "Mn" (without the spacing ones, BERT).
    """
    marked = {
        character
        for character in set("".join(pieces))
        if any(unicodedata.category(part).startswith(category) for part in unicodedata.normalize("NFD", character))
    }
    return sum(not marked.isdisjoint(piece) for piece in pieces) / max(1, len(pieces))


def _settled(settings: TokenizerSettings, flag: str, *, default: bool, contradicted: bool) -> bool:
    """Return a flag as a file sets it, else the default unless the vocabulary contradicts it."""
    return settings.flags.get(flag, default != contradicted)


def _from_sentencepiece_bpe(path: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Build the tokenizer of XLM-R or CamemBERT: SentencePiece's pieces with fairseq's ids."""
    from tokenizers import normalizers

    family = settings.tokenizer_class.removesuffix("Tokenizer").lower() or settings.model_type.replace("-", "")
    if family not in ("xlmroberta", "camembert"):
        raise TokenizerError(
            f"{path}: model_type is {settings.model_type!r}, expected 'xlm-roberta' or 'camembert', whose token ids "
            "differ. Say which in config.json or by tokenizer_class in tokenizer_config.json"
        )
    proto = _read_sentencepiece(path, f"the {SENTENCEPIECE_BPE_MODEL} of XLM-R or CamemBERT")
    if [piece.piece for piece in proto.pieces[:3]] != ["<unk>", "<s>", "</s>"]:
        raise TokenizerError(f"{path}: begins with other pieces than <unk>, <s>, </s>; its ids would be wrong")
    own = [(piece.piece, piece.score) for piece in proto.pieces]
    if family == "xlmroberta":
        first = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
        pieces = [*first, *own[3:], ("<mask>", 0.0)]
    else:
        # Five ids of fairseq's come first; those that the model itself has again are never produced.
        first = [("<s>NOTUSED", 0.0), ("<pad>", 0.0), ("</s>NOTUSED", 0.0), ("<unk>", 0.0), ("<unk>NOTUSED", -100.0)]
        pieces = [*first, *own[1:], ("<mask>", 0.0)]
    special = _special_tokens(path, _ROBERTA_TOKENS, settings, [piece for piece, _ in pieces])
    charsmap = proto.normalizer_spec.precompiled_charsmap
    backend = _unigram(pieces, 3, normalizers.Precompiled(charsmap) if charsmap else None)
    backend.post_processor = _template(backend, special, _ROBERTA_PAIR)
    return BuiltTokenizer(backend, special)


def _from_vocab_txt(path: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Build BERT's WordPiece."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers
    from tokenizers.models import WordPiece

    vocabulary = {piece: number for number, piece in enumerate(read_lines(path))}
    special = _special_tokens(path, _BERT_TOKENS, settings, vocabulary)
    texts = [piece for piece in vocabulary if not (piece.startswith("[") and piece.endswith("]"))]
    lower = _settled(settings, "do_lower_case", default=True, contradicted=share_with_capitals(texts) > _FEW_PIECES)
    accents = share_with_marks(texts, "Mn") > _FEW_PIECES
    strip_accents = _settled(settings, "strip_accents", default=lower, contradicted=lower and accents)
    chinese = settings.flags.get("tokenize_chinese_chars", True)
    backend = Tokenizer(WordPiece(vocabulary, unk_token=special["unk"]))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=chinese, strip_accents=strip_accents, lowercase=lower
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.post_processor = _template(backend, special, _BERT_PAIR)
    flags = {"do_lower_case": lower, "strip_accents": strip_accents, "tokenize_chinese_chars": chinese}
    return BuiltTokenizer(backend, special, flags)


def _from_vocab_json(path: Path, settings: TokenizerSettings) -> BuiltTokenizer:
    """Build RoBERTa's byte-level BPE."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE

    vocabulary, merges = read_ids(path), _read_merges(path.with_name(MERGES_TXT))
    special = _special_tokens(path, _ROBERTA_TOKENS, settings, vocabulary)
    prefix_space = settings.flags.get("add_prefix_space", False)
    backend = Tokenizer(BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix="", fuse_unk=False))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    sep, cls = ((special[role], vocabulary[special[role]]) for role in ("sep", "cls"))
    backend.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=prefix_space)
    return BuiltTokenizer(backend, special, {"add_prefix_space": prefix_space})


# Vocabulary file -> what builds a tokenizer of it, and the classes of Transformers that it belongs to.
_Builder = Callable[[Path, TokenizerSettings], BuiltTokenizer]
_BUILDERS: dict[str, tuple[_Builder, tuple[str, ...]]] = {
    SPIECE_MODEL: (build_from_spiece, ("AlbertTokenizer",)),
    SENTENCEPIECE_BPE_MODEL: (_from_sentencepiece_bpe, ("XLMRobertaTokenizer", "CamembertTokenizer")),
    VOCAB_TXT: (_from_vocab_txt, ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")),
    VOCAB_JSON: (_from_vocab_json, ("RobertaTokenizer",)),
}


def _read_sentencepiece(path: Path, expected: str) -> Any:
    """Read a SentencePiece model file, a protocol buffer."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(read_bytes(path))
    except DecodeError as error:
        raise TokenizerError(f"{path}: not a SentencePiece model (expected {expected})") from error
    if not proto.pieces or proto.trainer_spec.model_type != proto.trainer_spec.UNIGRAM:
        raise TokenizerError(f"{path}: not a unigram SentencePiece model (expected {expected})")
    if not 0 <= proto.trainer_spec.unk_id < len(proto.pieces) or not all(
        math.isfinite(piece.score) for piece in proto.pieces
    ):
        raise TokenizerError(f"{path}: a damaged SentencePiece model (expected {expected})")
    if proto.trainer_spec.byte_fallback:
        raise TokenizerError(f"{path}: writes unknown characters as bytes (byte_fallback), unlike {expected}")
    return proto


def _unigram(pieces: list[tuple[str, float]], unk_id: int, normalizer: Any) -> "Tokenizer":
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import Unigram

    backend = Tokenizer(Unigram(pieces, unk_id=unk_id, byte_fallback=False))
    if normalizer is not None:
        backend.normalizer = normalizer
    # Splitting at white space first keeps the space itself out of a token's offsets.
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    backend.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return backend


def _template(backend: "Tokenizer", special: dict[str, str], pair: str) -> Any:
    """Return what joins a pair of texts as `pair` says, in which special tokens are named by role."""
    from tokenizers import processors

    cls, sep = special["cls"], special["sep"]
    return processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=pair.format(cls=cls, sep=sep),
        special_tokens=[(token, backend.token_to_id(token)) for token in dict.fromkeys((cls, sep))],
    )


def _penalty(piece: str) -> float:
    return _DIGIT_COMMA_PENALTY if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit() else 0.0


def _read_merges(path: Path) -> list[tuple[str, str]]:
    """Read ``merges.txt``. Only its first line is a comment: "# #" is a merge like any other."""
    if not path.is_file():
        raise TokenizerError(f"{path}: not there, expected it beside {VOCAB_JSON}")
    merges = []
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or (number == 1 and line.startswith("#version")):
            continue
        parts = line.split(" ")
        if len(parts) != 2:
            raise TokenizerError(
                f"{path}: line {number} is {line[:40]!r}, expected two pieces with a space between them"
            )
        merges.append((parts[0], parts[1]))
    return merges


def _special_tokens(
    path: Path, usual: dict[str, str], settings: TokenizerSettings, vocabulary: Collection[str]
) -> dict[str, str]:
    """Return the special tokens by role; refuse a vocabulary that is too large or lacks those that are needed."""
    if len(vocabulary) > MOST_PIECES:
        raise TokenizerError(f"{path}: has {len(vocabulary):,} pieces, expected at most {MOST_PIECES:,}")
    special = {**usual, **settings.special_tokens}
    if missing := {special[role] for role in ("cls", "sep", "unk")}.difference(vocabulary):
        raise TokenizerError(f"{path}: lacks the special tokens {sorted(missing)}")
    return special
