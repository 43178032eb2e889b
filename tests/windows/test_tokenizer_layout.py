"""Special tokens, segment ids and offsets of ALBERT's and of other families' tokenizers."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer

from albertqa.data.example import Example
from albertqa.windows.build import windows_in_memory
from albertqa.windows.store import Window
from albertqa.windows.tokenizer import PairLayout, QATokenizer, load_tokenizer

from .cases import bert_like, examples, roberta_like, save_in, starter_examples
from .reference import slow_windows


@pytest.fixture(scope="module")
def bert(starter_contexts: list[str], tmp_path_factory: pytest.TempPathFactory) -> QATokenizer:
    return load_tokenizer(save_in(tmp_path_factory.mktemp("bert"), bert_like(starter_contexts)))


@pytest.fixture(scope="module")
def roberta(starter_contexts: list[str], tmp_path_factory: pytest.TempPathFactory) -> QATokenizer:
    return load_tokenizer(save_in(tmp_path_factory.mktemp("roberta"), roberta_like(starter_contexts)))


@pytest.fixture(scope="module")
def roberta_with_spaces(starter_contexts: list[str], tmp_path_factory: pytest.TempPathFactory) -> QATokenizer:
    """A byte-level tokenizer whose offsets count the space before a word to the word."""
    folder = tmp_path_factory.mktemp("roberta-with-spaces")
    return load_tokenizer(save_in(folder, roberta_like(starter_contexts, trim_offsets=False)))


def test_layouts_are_read_off_the_tokenizer(tokenizer: QATokenizer, bert: QATokenizer, roberta: QATokenizer) -> None:
    assert tokenizer.layout == PairLayout((2,), (3,), (3,), 0, 1)
    assert bert.layout == PairLayout((2,), (3,), (3,), 0, 1)
    assert roberta.layout == PairLayout((0,), (2, 2), (2,), 0, 0)
    assert [one.layout.num_special_tokens for one in (tokenizer, bert, roberta)] == [3, 3, 4]


def test_segments_are_0_up_to_the_questions_separator_and_1_after_it(tokenizer: QATokenizer) -> None:
    store = windows_in_memory([Example("a", "Who (is)?", "Rollo was.")], tokenizer)
    window = store[0]
    separators = [at for at, token in enumerate(window.input_ids.tolist()) if token == 3]
    assert (window.input_ids[0], len(separators)) == (2, 2)
    assert separators[1] == len(window.input_ids) - 1
    assert window.context_start == separators[0] + 1
    assert window.token_type_ids.tolist() == [0] * window.context_start + [1] * (separators[1] - separators[0])


@pytest.mark.parametrize("family", ["bert", "roberta", "roberta_with_spaces"])
def test_other_families_windows_equal_the_slow_ones(family: str, request: pytest.FixtureRequest) -> None:
    tokenizer: QATokenizer = request.getfixturevalue(family)
    some = starter_examples(40)
    store = windows_in_memory(some, tokenizer, max_seq_length=64, doc_stride=16)
    found = [_fields(store[index]) for index in range(len(store))]
    slow = [window for example in some for window in slow_windows(example, tokenizer, 64, 16) or []]
    expected = [
        (w.input_ids, w.token_type_ids, w.context_start, w.offsets, w.start_position, w.end_position) for w in slow
    ]
    assert found == expected
    assert any(window.start_position for window in slow)


@given(examples(most_words=15))
@settings(max_examples=100, deadline=None)
def test_no_token_of_a_byte_level_tokenizer_begins_with_white_space(
    roberta_with_spaces: QATokenizer, example: Example
) -> None:
    window = windows_in_memory([example], roberta_with_spaces)[0]
    context = example.context
    inside = context.rstrip()
    for start, end in zip(window.start_char, window.end_char, strict=True):
        if start < len(inside):
            assert start < end
            assert not context[start].isspace()


def test_truncation_and_padding_of_a_tokenizer_file_are_not_obeyed(
    starter_contexts: list[str], tmp_path: Path, bert: QATokenizer
) -> None:
    backend = Tokenizer.from_str(bert.backend.to_str())
    backend.enable_truncation(8)
    backend.enable_padding(length=2000)
    cut = load_tokenizer(save_in(tmp_path, backend))
    assert [len(one) for one in cut.encode_batch(starter_contexts)] == [
        len(one) for one in bert.encode_batch(starter_contexts)
    ]
    assert cut.fingerprint == bert.fingerprint


def test_an_older_folder_with_vocab_txt_is_converted(tmp_path: Path) -> None:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "who", "##s"]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.layout == PairLayout((2,), (3,), (3,), 0, 1)
    assert tokenizer.encode_batch(["Whos a"])[0].tokens == ["who", "##s", "a"]


def test_a_wordpiece_used_with_albert_is_not_measured_by_alberts_yardstick(
    tmp_path: Path, starter_contexts: list[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "albert"}))
    assert load_tokenizer(save_in(tmp_path, bert_like(starter_contexts))).layout.context_segment == 1


@pytest.mark.parametrize(
    ("settings_of", "text", "expected"),
    [
        ({}, "Émile", "▁emile"),
        ({"do_lower_case": False}, "Émile", "▁Emile"),
        ({"keep_accents": True}, "ÉMILE", "▁émile"),
    ],
)
def test_a_folder_says_whether_case_and_accents_count(
    spiece_model: Path, tmp_path: Path, settings_of: dict[str, bool], text: str, expected: str
) -> None:
    (tmp_path / "spiece.model").write_bytes(spiece_model.read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings_of))
    normalized = load_tokenizer(tmp_path).backend.normalizer.normalize_str(text)
    assert "▁" + normalized == expected


def test_save_keeps_what_the_folder_said(tmp_path: Path, spiece_model: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    (first / "spiece.model").write_bytes(spiece_model.read_bytes())
    (first / "tokenizer_config.json").write_text(json.dumps({"keep_accents": True}))
    load_tokenizer(first).save(second)
    saved = json.loads((second / "tokenizer_config.json").read_text())
    assert saved["keep_accents"] is True
    assert saved["model_input_names"] == ["input_ids", "token_type_ids", "attention_mask"]
    assert load_tokenizer(second).fingerprint == load_tokenizer(first).fingerprint


def test_the_vocabulary_counts_every_piece(tokenizer: QATokenizer) -> None:
    assert tokenizer.vocab_size == 1000


def _fields(window: Window) -> tuple[object, ...]:
    offsets = list(zip(window.start_char.tolist(), window.end_char.tolist(), strict=True))
    ids, segments = window.input_ids.tolist(), window.token_type_ids.tolist()
    return ids, segments, window.context_start, offsets, window.start_position, window.end_position
