"""ALBERT's tokenizer done right, and any other fast tokenizer as its model was trained with it.

Why not `AutoTokenizer`: current Transformers turns ALBERT's user-defined pieces ( ``( ) " - . – £ €`` ) into added
tokens that are cut out before the pre-tokenizer, and asks for no segment ids. Both change the model's input without a
word. Here a ``spiece.model`` becomes exactly what SentencePiece and the pre-training gave, a ``tokenizer.json`` is
taken as it is, and both must pass a self-check before anything is built on them.

Source: SentencePiece's unigram model; the digit-comma rule and the order of normalizers follow the converter that made
the Hub's ``tokenizer.json`` of ``albert/albert-base-v2`` (10,808 windows on dev v1.1 at 384/128).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from albertqa.errors import TokenizerError
from albertqa.files import fetch_folder

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG_JSON = "tokenizer_config.json"
SPIECE_MODEL = "spiece.model"

_VOCABULARIES = ("vocab.txt", "vocab.json", "merges.txt", "special_tokens_map.json")
_HUB_FILES = (TOKENIZER_JSON, TOKENIZER_CONFIG_JSON, SPIECE_MODEL, "config.json", *_VOCABULARIES)

# A piece that ends in digit + comma would glue "1976," into one token, and the span "1976" could never be labelled.
_DIGIT_COMMA_PENALTY = 100.0

# What SentencePiece gives for ALBERT's own 30,000 pieces: user-defined pieces keep the space before them, digits let
# go of the comma, accents and case are folded, two back-quotes are one quotation mark.
_ALBERT_VOCABULARY_SIZE = 30_000
_ALBERT_PROBE = 'Countries (OAPEC) cut ``10" - in 1976, 5, é £5.'
_ALBERT_PROBE_PIECES = '▁countries ▁ ( oa pec ) ▁cut ▁ " 10 " ▁ - ▁in ▁1976 , ▁5 , ▁ e ▁ £ 5 .'
_LOSSLESS_PROBE = 'a (b) c "d" - e. 5, 1976, x'


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
    """A fast tokenizer with what question answering needs to know about it.

    Attributes:
        backend: The `tokenizers.Tokenizer`, without truncation and padding.
        layout: Special tokens and segment ids of a question-context pair.
        config: What is written as ``tokenizer_config.json`` beside a saved model.
        source: Where it came from, for messages.
    """

    backend: "Tokenizer"
    layout: PairLayout
    config: dict[str, Any]
    source: str

    def __repr__(self) -> str:
        # The backend's own is its whole vocabulary: megabytes in every traceback that shows values.
        return f"QATokenizer({self.source!r})"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides how text becomes tokens."""
        return hashlib.sha256(self.backend.to_str().encode()).hexdigest()

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    def encode_batch(self, texts: Sequence[str]) -> list["Encoding"]:
        """Tokenize texts in parallel, without special tokens.

        Args:
            texts: Raw texts.

        Returns:
            One `tokenizers.Encoding` a text; its offsets are characters of the raw text, half-open.
        """
        return list(self.backend.encode_batch(list(texts), add_special_tokens=False))

    def save(self, folder: Path) -> None:
        """Write ``tokenizer.json`` and ``tokenizer_config.json``, which `AutoTokenizer` opens with segment ids on."""
        self.backend.save(str(folder / TOKENIZER_JSON))
        text = json.dumps(self.config, indent=2, ensure_ascii=False) + "\n"
        (folder / TOKENIZER_CONFIG_JSON).write_text(text, encoding="utf-8")


def load_tokenizer(source: str | Path) -> QATokenizer:
    """Load a tokenizer from a ``spiece.model``, a folder, or a Hub name, and check it.

    Args:
        source: Path of a SentencePiece model, folder with ``tokenizer.json`` or ``spiece.model``, or a Hub name.

    Returns:
        The checked tokenizer.

    Raises:
        TokenizerError: Nothing usable is there, or it fails the self-check.
    """
    path = Path(source)
    if path.is_file():
        if path.name == TOKENIZER_JSON:
            return _from_folder(path.parent, str(source))
        return _checked(_from_spiece(path), _albert_config(), str(source), albert=True)
    if path.is_dir():
        return _from_folder(path, str(source))
    fetched = fetch_folder(
        str(source),
        _HUB_FILES,
        error_type=TokenizerError,
        expected="file or folder",
        remedy="Give a local folder with tokenizer.json or spiece.model, or connect to a network",
    )
    return _from_folder(fetched, str(source))


def _from_folder(folder: Path, source: str) -> QATokenizer:
    config = _read_json(folder / TOKENIZER_CONFIG_JSON)
    albert = _is_albert(folder, config)
    if (folder / TOKENIZER_JSON).is_file():
        from tokenizers import Tokenizer

        try:
            backend = Tokenizer.from_file(str(folder / TOKENIZER_JSON))
        except Exception as error:
            raise TokenizerError(f"{folder / TOKENIZER_JSON}: not a tokenizer file ({error})") from error
        return _checked(backend, _saved_config(config, albert), source, albert=albert)
    if (folder / SPIECE_MODEL).is_file():
        keep_accents, lower = bool(config.get("keep_accents", False)), bool(config.get("do_lower_case", True))
        backend = _from_spiece(folder / SPIECE_MODEL, lower_case=lower, keep_accents=keep_accents)
        return _checked(backend, _albert_config(lower, keep_accents), source, albert=True)
    return _from_transformers(folder, config, source)


def _from_transformers(folder: Path, config: dict[str, Any], source: str) -> QATokenizer:
    """Let Transformers convert an older encoder's vocabulary files (BERT's vocab.txt and the like)."""
    if not any((folder / name).is_file() for name in ("vocab.txt", "vocab.json")):
        raise TokenizerError(f"{source}: no tokenizer there, expected {TOKENIZER_JSON} or {SPIECE_MODEL} in {folder}")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), use_fast=True)
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).partition("\n")[0]
        raise TokenizerError(f"{source}: Transformers cannot open this tokenizer ({first_line})") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise TokenizerError(f"{source}: has only a slow tokenizer; offsets need a fast one (tokenizer.json)")
    return _checked(backend, _saved_config(config, albert=False), source, albert=False)


def _from_spiece(path: Path, *, lower_case: bool = True, keep_accents: bool = False) -> "Tokenizer":
    """Build the tokenizer that SentencePiece's own unigram model is, with ALBERT's preprocessing before it."""
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2
    from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
    from tokenizers.models import Unigram

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(path.read_bytes())
    except DecodeError as error:
        raise TokenizerError(f"{path}: not a SentencePiece model (expected ALBERT's spiece.model)") from error
    if not proto.pieces or proto.trainer_spec.model_type != 1:
        raise TokenizerError(f"{path}: not a unigram SentencePiece model (expected ALBERT's spiece.model)")
    pieces = [(piece.piece, piece.score - _penalty(piece.piece)) for piece in proto.pieces]
    missing = {"[CLS]", "[SEP]"} - {piece for piece, _ in pieces}
    if missing:
        raise TokenizerError(f"{path}: lacks the pieces {sorted(missing)}; expected an ALBERT spiece.model")
    tokenizer = Tokenizer(Unigram(pieces, unk_id=proto.trainer_spec.unk_id, byte_fallback=False))
    steps: list[normalizers.Normalizer] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        steps += [normalizers.NFKD(), normalizers.StripAccents()]
    if lower_case:
        steps.append(normalizers.Lowercase())
    if proto.normalizer_spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap))
    steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    tokenizer.normalizer = normalizers.Sequence(steps)
    # Splitting at white space first keeps the space itself out of a token's offsets.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    # JSON moves some scores by one unit in the last place: take them as a saved tokenizer.json will give them, so that
    # a trained model's folder has the fingerprint, and opens the windows, of the spiece.model it came from.
    return Tokenizer.from_str(tokenizer.to_str())


def _penalty(piece: str) -> float:
    return _DIGIT_COMMA_PENALTY if len(piece) > 1 and piece[-1] == "," and piece[-2].isdigit() else 0.0


def _checked(backend: "Tokenizer", config: dict[str, Any], source: str, *, albert: bool) -> QATokenizer:
    """Take truncation and padding off, read the pair layout, and refuse what would silently change the input."""
    backend.no_truncation()
    backend.no_padding()
    layout = _pair_layout(backend, source)
    if albert:
        _self_check(backend, layout, source)
    return QATokenizer(backend, layout, config, source)


def _pair_layout(backend: "Tokenizer", source: str) -> PairLayout:
    """Find the special tokens and segment ids by encoding one pair."""
    no_tokens = f"{source}: the tokenizer gives no tokens for a plain letter; it is damaged or empty"
    try:
        encoding = backend.encode("a", "b")
    except Exception as error:
        # tokenizers raises plain Exception where an unknown letter has no token.
        raise TokenizerError(no_tokens) from error
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
    return layout


def _self_check(backend: "Tokenizer", layout: PairLayout, source: str) -> None:
    """Refuse an ALBERT tokenizer that does not do what SentencePiece and the pre-training did."""
    remedy = "Use the Hub's tokenizer.json of albert/albert-base-v2 or the bare spiece.model"
    if (layout.question_segment, layout.context_segment) != (0, 1):
        found = (layout.question_segment, layout.context_segment)
        raise TokenizerError(f"{source}: segment ids of question and context are {found}, expected (0, 1). {remedy}")
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


def _is_albert(folder: Path, tokenizer_config: dict[str, Any]) -> bool:
    """Tell whether a folder's tokenizer is ALBERT's SentencePiece (and not, say, a WordPiece used with ALBERT)."""
    if str(tokenizer_config.get("tokenizer_class", "")).startswith("Albert"):
        return True
    if (folder / SPIECE_MODEL).is_file():
        return True
    model_is_albert = _read_json(folder / "config.json").get("model_type") == "albert"
    backend = _read_json(folder / TOKENIZER_JSON).get("model")
    return model_is_albert and isinstance(backend, dict) and backend.get("type") == "Unigram"


def _albert_config(lower_case: bool = True, keep_accents: bool = False) -> dict[str, Any]:
    return _saved_config({"do_lower_case": lower_case, "keep_accents": keep_accents}, albert=True)


def _saved_config(config: dict[str, Any], albert: bool) -> dict[str, Any]:
    """Keep a tokenizer's own configuration, and make sure that Transformers will ask it for segment ids."""
    saved = dict(config)
    if albert:
        special = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "<pad>", "unk_token": "<unk>"}
        special |= {"mask_token": "[MASK]", "bos_token": "[CLS]", "eos_token": "[SEP]"}
        saved = {"tokenizer_class": "AlbertTokenizer", "model_max_length": 512, **special, **saved}
        saved["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    return saved


def _read_json(path: Path) -> dict[str, Any]:
    """Read an optional JSON object."""
    if not path.is_file():
        return {}
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise TokenizerError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(loaded, dict):
        raise TokenizerError(f"{path}: expected a JSON object, found {type(loaded).__name__}")
    return loaded
