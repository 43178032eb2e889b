"""Read a tokenizer's files without trusting them: limited in size, checked by type, never run as code."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from albertqa.data.problems import quoted
from albertqa.errors import TokenizerError
from albertqa.files import first_line
from albertqa.schema import ParseError, parse_json, require_fetched

TOKENIZER_JSON = "tokenizer.json"
TOKENIZER_CONFIG_JSON = "tokenizer_config.json"
SPECIAL_TOKENS_MAP_JSON = "special_tokens_map.json"
ADDED_TOKENS_JSON = "added_tokens.json"
CONFIG_JSON = "config.json"
SPIECE_MODEL = "spiece.model"
SENTENCEPIECE_BPE_MODEL = "sentencepiece.bpe.model"
VOCAB_TXT = "vocab.txt"
VOCAB_JSON = "vocab.json"
MERGES_TXT = "merges.txt"

# Twice the largest vocabulary of the supported encoders; opening one of this size takes less than 2 GiB of memory.
MOST_BYTES = 48 << 20
MOST_PIECES = 520_000

ROLES = ("cls", "sep", "pad", "unk", "mask", "bos", "eos")
FLAGS = ("do_lower_case", "keep_accents", "strip_accents", "tokenize_chinese_chars", "add_prefix_space")

# Names that say nothing about how a tokenizer works.
_GENERIC_CLASSES = ("PreTrainedTokenizer", "TokenizersBackend")
_MOST_POSITIONS = 1_000_000


@dataclass(frozen=True)
class TokenizerSettings:
    """What the JSON files of a folder say about its tokenizer; of a vocabulary file on its own, nothing.

    Attributes:
        source: What the user called the folder, for messages.
        tokenizer_class: Transformers' class without "Fast"; empty where no file names a specific one.
        model_type: Model type of ``config.json``; empty without one.
        special_tokens: Spelling of the special tokens that a file names, by role (`ROLES`).
        flags: The flags that are set (`FLAGS`).
        model_max_length: Longest input in tokens; None where no file has a usable number.
        added_tokens: Ids of tokens added to the vocabulary, by spelling.
    """

    source: str
    tokenizer_class: str = ""
    model_type: str = ""
    special_tokens: dict[str, str] = field(default_factory=dict)
    flags: dict[str, bool] = field(default_factory=dict)
    model_max_length: int | None = None
    added_tokens: dict[str, int] = field(default_factory=dict)


def read_settings(folder: Path, source: str) -> TokenizerSettings:
    """Read the JSON files of a folder, which the user called `source`; each of them may be missing.

    Raises:
        TokenizerError: A file is damaged, has a value of the wrong type, or names code that would have to be run.
    """
    config_path, model_path, map_path = (
        folder / name for name in (TOKENIZER_CONFIG_JSON, CONFIG_JSON, SPECIAL_TOKENS_MAP_JSON)
    )
    config, model = read_json(config_path), read_json(model_path)
    for path, content in ((config_path, config), (model_path, model)):
        auto_map = content.get("auto_map")
        if auto_map and (not isinstance(auto_map, dict) or "AutoTokenizer" in auto_map):
            raise TokenizerError(
                f"{path}: wants code of its own for the tokenizer (auto_map), and no code of a model folder "
                f"is run here. Use a folder with the {TOKENIZER_JSON} of a plain tokenizer and without auto_map"
            )
    named = _value(config_path, config, "tokenizer_class", str) or _value(model_path, model, "tokenizer_class", str)
    named = (named or "").removesuffix("Fast")
    special = _special_tokens(map_path, read_json(map_path))
    flags = {name: _value(config_path, config, name, bool) for name in FLAGS}
    longest = config.get("model_max_length")
    has_length = isinstance(longest, int) and not isinstance(longest, bool) and 0 < longest <= _MOST_POSITIONS
    return TokenizerSettings(
        source=source,
        tokenizer_class="" if named in _GENERIC_CLASSES else named,
        model_type=_value(model_path, model, "model_type", str) or "",
        special_tokens={**special, **_special_tokens(config_path, config)},
        flags={name: flag for name, flag in flags.items() if flag is not None},
        model_max_length=longest if has_length else None,
        added_tokens={**read_ids(folder / ADDED_TOKENS_JSON), **_added_tokens(config_path, config)},
    )


def read_bytes(path: Path) -> bytes:
    """Read a file of a tokenizer.

    Raises:
        TokenizerError: It cannot be read, is far too large, or is a Git LFS pointer.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise TokenizerError(f"{path}: has {size:,} bytes, expected at most {MOST_BYTES:,} of a tokenizer's file")
        content = path.read_bytes()
    except OSError as error:
        raise TokenizerError(f"{path}: cannot be read ({error.strerror or error})") from error
    require_fetched(content, path, TokenizerError)
    return content


def read_lines(path: Path) -> list[str]:
    """Read the lines of a text file; a line feed, a carriage return or both end a line, and nothing else does.

    Raises:
        TokenizerError: As `read_bytes`, or it is not UTF-8.
    """
    try:
        text = read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TokenizerError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start:,})") from error
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one where there is no such file.

    Raises:
        TokenizerError: As `read_bytes`, or it is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = read_bytes(path)
        loaded = parse_json(content.decode("utf-8-sig"))
        if b"\\ud" in content.lower():
            # Half a character (a lone surrogate) is no text, and fails wherever it goes.
            json.dumps(loaded, ensure_ascii=False).encode("utf-8")
    except (ParseError, ValueError) as error:
        raise TokenizerError(f"{path}: not readable as JSON ({error})") from error
    if not isinstance(loaded, dict):
        raise TokenizerError(f"{path}: expected a JSON object, found {type(loaded).__name__}")
    return loaded


def read_ids(path: Path) -> dict[str, int]:
    """Read a JSON object of token ids; an empty one where there is no such file.

    Raises:
        TokenizerError: As `read_json`, or a value is not a token id.
    """
    loaded = read_json(path)
    check_ids(path, loaded)
    return loaded


def check_ids(path: Path, vocabulary: dict[str, Any]) -> None:
    """Check that the vocabulary of a file maps tokens to ids.

    Raises:
        TokenizerError: It is too large, or a value is not an id.
    """
    for token, token_id in vocabulary.items():
        if isinstance(token_id, bool) or not isinstance(token_id, int) or not 0 <= token_id < MOST_PIECES:
            raise TokenizerError(
                f"{path}: the id of {token[:40]!r} is {quoted(token_id)}, expected 0 to {MOST_PIECES - 1:,}"
            )


@contextmanager
def refuse_failures(subject: str, *, silent: bool = True) -> Iterator[None]:
    """Turn a failure of the `tokenizers` library into one line.

    It raises plain `Exception`, and where its own code panics a class that derives from `BaseException`.

    Args:
        subject: Beginning of the message: what failed, and where.
        silent: Keep what is written to the standard error stream off the terminal meanwhile: a panic is printed by the
            library itself, with a backtrace.

    Raises:
        TokenizerError: The library failed.
    """
    try:
        with _silenced(2) if silent else nullcontext():
            yield
    except TokenizerError:
        raise
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise TokenizerError(f"{subject} ({first_line(error)})") from error
        raise


@contextmanager
def _silenced(descriptor: int) -> Iterator[None]:
    try:
        kept = os.dup(descriptor)
    except OSError:
        # Closed by whoever started this process: there is nothing to silence.
        yield
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, descriptor)
        yield
    finally:
        os.dup2(kept, descriptor)
        os.close(kept)
        os.close(sink)


def _value(path: Path, content: dict[str, Any], name: str, expected: type) -> Any:
    """Return a value of the expected type, or None where it is missing or null."""
    value = content.get(name)
    if value is not None and not isinstance(value, expected):
        kind = {bool: "true or false", str: "a string"}[expected]
        raise TokenizerError(f"{path}: {name} is {quoted(value)}, expected {kind}")
    return value


def _special_tokens(path: Path, content: dict[str, Any]) -> dict[str, str]:
    found = {}
    for role in ROLES:
        value = content.get(f"{role}_token")
        spelling = value.get("content") if isinstance(value, dict) else value
        if value is None:
            continue
        if not isinstance(spelling, str) or not spelling:
            raise TokenizerError(
                f"{path}: {role}_token is {quoted(value)}, expected a string or an object with content"
            )
        found[role] = spelling
    return found


def _added_tokens(path: Path, config: dict[str, Any]) -> dict[str, int]:
    """Return the tokens of ``added_tokens_decoder``, which has the ids as keys."""
    added = config.get("added_tokens_decoder") or {}
    if not isinstance(added, dict):
        raise TokenizerError(f"{path}: added_tokens_decoder is {quoted(added)}, expected an object")
    found = {}
    for token_id, token in added.items():
        spelling = token.get("content") if isinstance(token, dict) else token
        if not isinstance(spelling, str) or not (token_id.isascii() and token_id.isdigit() and len(token_id) < 9):
            raise TokenizerError(
                f"{path}: added_tokens_decoder has {quoted(token)} at {token_id[:40]!r}, expected a token"
            )
        found[spelling] = int(token_id)
    return found
