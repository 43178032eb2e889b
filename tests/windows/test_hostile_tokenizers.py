"""Tokenizer files that are damaged or made to harm: one line, nothing executed, nobody asked."""

import copy
import json
import os
import pickle
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sentencepiece import sentencepiece_model_pb2

from albertqa.errors import AlbertQAError, DataError, ModelError, TokenizerError
from albertqa.windows.tokenizer import QATokenizer, load_tokenizer
from albertqa.windows.tokenizer_files import MOST_BYTES

from .cases import bert_like, roberta_like, save_in
from .vocabularies import byte_level_folder, wordpiece_folder, write_json

# A longer run: ALBERTQA_FUZZ_ROUNDS=10000 pytest tests/windows/test_hostile_tokenizers.py
ROUNDS = int(os.environ.get("ALBERTQA_FUZZ_ROUNDS", "250"))
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 760289\n"


def refusal(source: Path) -> str:
    """The message of a refused tokenizer: an error of the model, on one line."""
    with pytest.raises(ModelError) as error:
        load_tokenizer(source)
    message = str(error.value)
    assert message.isprintable()
    return message


class Bomb:
    """A pickle of this leaves a file behind when it is opened."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.trace,)


@pytest.fixture
def folder(tmp_path: Path, tokenizer: QATokenizer) -> Path:
    """ALBERT's tokenizer as a trained model's folder holds it."""
    tokenizer.save(tmp_path)
    write_json(tmp_path / "config.json", {"model_type": "albert"})
    return tmp_path


def change(path: Path, changes: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    changes(content)
    write_json(path, content)


@pytest.mark.parametrize(
    ("name", "auto_map"),
    [
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.Tokenizer", None]}),
        ("tokenizer_config.json", ["evil.Tokenizer", None]),
        ("tokenizer_config.json", "evil.Tokenizer"),
        ("config.json", {"AutoConfig": "evil.Config", "AutoTokenizer": "evil.Tokenizer"}),
    ],
)
def test_code_of_a_folder_is_never_run(
    folder: Path, name: str, auto_map: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = folder / "EXECUTED"
    (folder / "evil.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody was asked"))
    change(folder / name, lambda content: content.update(auto_map=auto_map))
    assert refusal(folder) == (
        f"{folder / name}: wants code of its own for the tokenizer (auto_map), and no code of a model folder is run "
        "here. Use a folder with the tokenizer.json of a plain tokenizer and without auto_map"
    )
    (folder / "tokenizer.json").unlink()
    refusal(folder)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["tokenizer.json", "spiece.model", "sentencepiece.bpe.model", "vocab.txt"])
def test_a_pickle_is_not_opened(tmp_path: Path, name: str) -> None:
    trace = tmp_path / "EXECUTED"
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(trace)))
    write_json(tmp_path / "config.json", {"model_type": "camembert"})
    refusal(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "name",
    [
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"),
        *("spiece.model", "sentencepiece.bpe.model", "vocab.txt", "vocab.json"),
    ],
)
def test_a_git_lfs_pointer_is_called_by_its_name(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / "config.json", {"model_type": "xlm-roberta"})
    (tmp_path / name).write_bytes(LFS_POINTER)
    assert refusal(tmp_path) == (
        f"{tmp_path / name}: a Git LFS pointer instead of the file; run 'git lfs pull' in its repository"
    )


def test_a_git_lfs_pointer_for_merges(tmp_path: Path, starter_contexts: list[str]) -> None:
    folder = byte_level_folder(tmp_path, starter_contexts[:20])
    (folder / "merges.txt").write_bytes(LFS_POINTER)
    assert "a Git LFS pointer" in refusal(folder)
    (folder / "merges.txt").unlink()
    assert refusal(folder) == f"{folder / 'merges.txt'}: not there, expected it beside vocab.json"


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "tokenizer_config.json", "config.json", "spiece.model", "vocab.txt"]
)
def test_a_huge_file_is_not_read(tmp_path: Path, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert refusal(tmp_path).startswith(f"{tmp_path / name}: has {MOST_BYTES + 1:,} bytes, expected at most ")


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a": ' * 100_000, '{"a": 1' + "0" * 5000 + "}", '{"a": "\\ud800"}', "\x80"]
)
def test_json_that_breaks_a_parser(folder: Path, name: str, content: str) -> None:
    (folder / name).write_bytes(content.encode("latin-1" if content == "\x80" else "utf-8"))
    assert refusal(folder).startswith(f"{folder / name}: ")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("tokenizer_class", 5, "tokenizer_class is 5, expected a string"),
        ("tokenizer_class", ["BertTokenizer"], "tokenizer_class is a list, expected a string"),
        ("do_lower_case", "false", "do_lower_case is 'false', expected true or false"),
        ("keep_accents", 1, "keep_accents is 1, expected true or false"),
        ("cls_token", 5, "cls_token is 5, expected a string or an object with content"),
        ("sep_token", {"content": None}, "sep_token is an object, expected a string or an object with content"),
        ("mask_token", "", "mask_token is '', expected a string or an object with content"),
        ("added_tokens_decoder", [1], "added_tokens_decoder is a list, expected an object"),
        ("added_tokens_decoder", {"x": "y"}, "added_tokens_decoder has 'y' at 'x', expected a token"),
        (
            "added_tokens_decoder",
            {"7" * 40: {}},
            f"added_tokens_decoder has an object at '{'7' * 40}', expected a token",
        ),
    ],
)
def test_values_of_the_wrong_type(folder: Path, name: str, value: object, expected: str) -> None:
    change(folder / "tokenizer_config.json", lambda content: content.update({name: value}))
    assert refusal(folder) == f"{folder / 'tokenizer_config.json'}: {expected}"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            lambda content: content.update(
                pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
            ),
            "has the regular expression '(a+)+$', which no tokenizer of a supported encoder has",
        ),
        (
            lambda content: content["normalizer"]["normalizers"].append(
                {"type": "Sequence", "normalizers": [{"type": "Replace", "pattern": {"Regex": "("}, "content": ""}]}
            ),
            "has the regular expression '(', which no tokenizer of a supported encoder has",
        ),
        (lambda content: content["model"].update(type="WordLevel"), "its model is 'WordLevel', expected "),
        (lambda content: content["model"].update(vocab={"a": 0}), "its model is 'Unigram', expected "),
        (
            lambda content: content["model"].update(vocab={"a": 1 << 40}),
            "the id of 'a' is 1099511627776, expected 0 to ",
        ),
        (lambda content: content["model"].update(vocab={"a": True}), "the id of 'a' is True, expected 0 to "),
        (lambda content: content["model"].update(vocab=[["a"]]), "not a tokenizer file (expected a vocabulary of "),
        (lambda content: content["model"].update(vocab=[]), "not a tokenizer file ("),
        (lambda content: content["model"].update(unk_id=9999), "not a tokenizer file ("),
        (lambda content: content["model"].update(dropout=0.1), "its model has dropout, "),
        (
            lambda content: content["normalizer"]["normalizers"].append({"type": "Precompiled"}),
            "not a tokenizer file (",
        ),
        (
            lambda content: content["normalizer"]["normalizers"].append(
                {"type": "Precompiled", "precompiled_charsmap": "AAAA"}
            ),
            "not a tokenizer file (",
        ),
        (lambda content: content["added_tokens"].append({"id": -1, "content": "x"}), "not a tokenizer file ("),
    ],
)
def test_tokenizer_files_that_are_refused(
    folder: Path, changes: Callable[[dict[str, Any]], object], expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    change(folder / "tokenizer.json", changes)
    assert refusal(folder).startswith(f"{folder / 'tokenizer.json'}: {expected}")
    # A panic inside the library prints a backtrace of its own.
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (lambda content: content["post_processor"].update(special_tokens={}), "gives no tokens for a plain letter"),
        (lambda content: content["post_processor"]["special_tokens"]["[CLS]"].update(ids=[5000]), "adds tokens that "),
        (
            lambda content: content["post_processor"]["pair"][3]["Sequence"].update(type_id=7),
            "segment ids of question ",
        ),
        (lambda content: content["model"].update(unk_id=None), "has no token for text that is not in its vocabulary"),
    ],
)
def test_tokenizers_that_harm_their_model_are_refused(
    folder: Path, changes: Callable[[dict[str, Any]], object], expected: str, capfd: pytest.CaptureFixture[str]
) -> None:
    change(folder / "tokenizer.json", changes)
    assert expected in refusal(folder)
    assert capfd.readouterr() == ("", "")


def test_a_tokenizer_that_knows_words_but_no_text_of_words_is_refused(
    tmp_path: Path, starter_contexts: list[str]
) -> None:
    folder = save_in(tmp_path, bert_like(starter_contexts))
    load_tokenizer(folder)
    change(folder / "tokenizer.json", lambda content: content.update(pre_tokenizer=None))
    assert "makes unknown tokens of 100 % of its own vocabulary's words" in refusal(folder)


def test_a_byte_level_tokenizer_that_drops_bytes_is_refused(tmp_path: Path, starter_contexts: list[str]) -> None:
    folder = save_in(tmp_path, roberta_like(starter_contexts))
    change(folder / "tokenizer.json", lambda content: content["model"]["vocab"].pop("Ä"))
    assert refusal(folder) == f"{folder}: has no token for text that is not in its vocabulary, and would drop it"


def test_sentencepiece_models_with_nonsense_in_them(tmp_path: Path, spiece_model: Path) -> None:
    def damaged(change_proto: Callable[[Any], object]) -> str:
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(spiece_model.read_bytes())
        change_proto(proto)
        (tmp_path / "spiece.model").write_bytes(proto.SerializeToString())
        return refusal(tmp_path).removeprefix(f"{tmp_path / 'spiece.model'}: ")

    expected = "ALBERT's spiece.model"
    assert damaged(lambda proto: setattr(proto.trainer_spec, "unk_id", 5000)) == (
        f"a damaged SentencePiece model (expected {expected})"
    )
    assert damaged(lambda proto: setattr(proto.pieces[9], "score", float("nan"))) == (
        f"a damaged SentencePiece model (expected {expected})"
    )
    assert damaged(lambda proto: setattr(proto.trainer_spec, "byte_fallback", True)) == (
        f"writes unknown characters as bytes (byte_fallback), unlike {expected}"
    )
    assert damaged(lambda proto: setattr(proto.normalizer_spec, "precompiled_charsmap", b"\0\0\0\1abc")).startswith(
        "no tokenizer can be made of it ("
    )


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("vocab.txt", b"\xff\xfe", "vocab.txt: not UTF-8 text (invalid start byte at byte 0)"),
        ("vocab.txt", b"", "vocab.txt: lacks the special tokens ['[CLS]', '[SEP]', '[UNK]']"),
        (
            "added_tokens.json",
            b'{"[E1]": 999}',
            "'[E1]' was added to the vocabulary as id 999, which vocab.txt does not have",
        ),
        ("added_tokens.json", b'{"[E1]": "x"}', "added_tokens.json: the id of '[E1]' is 'x', expected 0 to "),
        ("special_tokens_map.json", b'{"cls_token": "[BEGIN]"}', "vocab.txt: lacks the special tokens ['[BEGIN]']"),
        (
            "tokenizer_config.json",
            b'{"tokenizer_class": "AlbertTokenizer"}',
            "found vocab.txt, expected tokenizer.json or spiece.model",
        ),
        (
            "tokenizer_config.json",
            b'{"tokenizer_class": "BertJapaneseTokenizer"}',
            "tokenizer_class is 'BertJapaneseTokenizer', which ",
        ),
        ("spiece.model", b"x", "found spiece.model and vocab.txt, expected tokenizer.json or one vocabulary file, or "),
    ],
)
def test_folders_whose_files_contradict_each_other(
    tmp_path: Path, starter_contexts: list[str], name: str, content: bytes, expected: str
) -> None:
    folder = wordpiece_folder(tmp_path, starter_contexts[:20])
    (folder / name).write_bytes(content)
    assert expected in refusal(folder)


def test_a_text_with_half_a_character_is_refused_in_one_line(tokenizer: QATokenizer) -> None:
    with pytest.raises(DataError) as error:
        tokenizer.encode_batch(["whole", "half \ud83d of it"])
    assert str(error.value) == "text 2: has half a character (a lone surrogate) at character 5"


def test_a_panic_while_tokenizing_is_one_line(tokenizer: QATokenizer) -> None:
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    backend = Tokenizer.from_str(tokenizer.backend.to_str())
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(x+x+)+y"), "isolated")
    panicking = QATokenizer(backend, tokenizer.layout, tokenizer.special_tokens, {}, "somewhere")
    with pytest.raises(TokenizerError) as error:
        panicking.encode_batch(["x" * 60])
    assert str(error.value).startswith("somewhere: the tokenizer fails on a text (")


def test_mutated_folders_are_opened_or_refused_in_one_line(
    tmp_path: Path, tokenizer: QATokenizer, starter_contexts: list[str]
) -> None:
    rng = random.Random(20)
    texts = starter_contexts[:20]
    folders = [
        tmp_path / "albert",
        save_in(tmp_path / "bert", bert_like(texts)),
        save_in(tmp_path / "roberta", roberta_like(texts)),
    ]
    folders[0].mkdir()
    tokenizer.save(folders[0])
    write_json(folders[0] / "config.json", {"model_type": "albert"})
    folders += [
        wordpiece_folder(tmp_path / "wordpiece", texts, do_lower_case=True),
        byte_level_folder(tmp_path / "bpe", texts),
    ]
    contents = {
        path: json.loads(path.read_text(encoding="utf-8")) for folder in folders for path in folder.glob("*.json")
    }
    opened, messages = 0, []
    for _ in range(ROUNDS):
        path = rng.choice(list(contents))
        damaged = copy.deepcopy(contents[path])
        for _ in range(rng.randint(1, 3)):
            mutate(damaged, rng)
        write_json(path, damaged)
        begun = time.monotonic()
        try:
            load_tokenizer(path.parent).encode_batch(["Hello é <s> [SEP] नमस्ते 日本", ""])
            opened += 1
        except AlbertQAError as error:
            messages.append(str(error))
        assert time.monotonic() - begun < 10
        write_json(path, contents[path])
    assert opened
    assert messages
    assert [message for message in messages if not message.isprintable()] == []


VALUES: tuple[object, ...] = (
    *(None, True, 0, -1, 1.5, 2**31, 2**32, 2**63, 2**70, 1e308, "", "x", "a" * 1000, [], {}, [1], {"a": 1}, ["x"]),
    *([["x", 1]], "[UNK]", "\x00", "(", "🙂", "\ud800", float("nan"), [None], {"type": "Lowercase"}, "\n"),
)


def mutate(content: Any, rng: random.Random) -> None:
    """Replace or delete one value somewhere in a JSON document."""
    while isinstance(content, dict | list) and content:
        keys = list(content)[:30] if isinstance(content, dict) else list(range(min(6, len(content))))
        key = rng.choice(keys)
        inside = content[key]
        if not isinstance(inside, dict | list) or not inside or rng.random() < 0.25:
            if rng.random() < 0.2 and isinstance(content, dict):
                del content[key]
            else:
                content[key] = copy.deepcopy(rng.choice(VALUES))
            return
        content = inside
