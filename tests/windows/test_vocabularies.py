"""Tokenizers built from vocabulary files are those of Transformers and SentencePiece, id for id."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.data.reading import load_examples
from albertqa.errors import TokenizerError
from albertqa.windows.tokenizer import PairLayout, QATokenizer, check_embeddings, load_tokenizer

from .cases import ODD, texts
from .reference import SentencePieceAlbert
from .vocabularies import (
    SPECIAL,
    albert_spiece,
    byte_level_folder,
    fairseq_folder,
    vocab_txt_folder,
    word_folder,
    wordpiece_folder,
    write_json,
)

FAMILIES = ("bert", "bert-cased", "distilbert", "electra", "albert-chinese", "roberta", "roberta-prefix", "xlm-roberta",
            "camembert", "albert")  # fmt: skip
# A text that spells a special token is that token to Transformers, and U+001C is white space to Python alone.
SPELLED = ("[SEP]", "[CLS]", "<pad>", "\x1c")


class ByFamily(dict[str, Any]):
    """Tokenizers by family, which hypothesis prints in one word."""

    def __repr__(self) -> str:
        return "ByFamily"


def without(text: str, spelled: tuple[str, ...] = SPELLED) -> str:
    for one in spelled:
        text = text.replace(one, "")
    return text


@pytest.fixture(scope="session")
def folders(
    tmp_path_factory: pytest.TempPathFactory, starter_contexts: list[str], spiece_model: Path
) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vocabularies")
    odd = [*starter_contexts, *ODD, "东京是日本的首都。", "Élan naïve Straße café"]
    chinese = [
        *SPECIAL,
        *dict.fromkeys("东京是日本的首都。人口约一千四百万1234567890abc"),
        *(f"##{one}" for one in "0123456789abc"),
    ]
    found = ByFamily(
        {
            "bert": wordpiece_folder(root / "bert", odd),
            "bert-cased": wordpiece_folder(root / "bert-cased", odd, lower=False, do_lower_case=False),
            "distilbert": wordpiece_folder(
                root / "distilbert", odd, model_type="distilbert", tokenizer_class="DistilBertTokenizer"
            ),
            "electra": wordpiece_folder(root / "electra", odd, model_type="electra", strip_accents=False),
            "albert-chinese": vocab_txt_folder(root / "albert-chinese", chinese, model_type="albert"),
            "roberta": byte_level_folder(root / "roberta", odd),
            "roberta-prefix": byte_level_folder(root / "roberta-prefix", odd, add_prefix_space=True),
            "xlm-roberta": fairseq_folder(root / "xlm-roberta", odd, "xlm-roberta"),
            "camembert": fairseq_folder(root / "camembert", odd, "camembert"),
            "albert": root / "albert",
        }
    )
    found["albert"].mkdir()
    (found["albert"] / "spiece.model").write_bytes(spiece_model.read_bytes())
    write_json(found["albert"] / "config.json", {"model_type": "albert"})
    return found


@pytest.fixture(scope="session")
def opened(folders: dict[str, Path]) -> dict[str, QATokenizer]:
    return ByFamily({name: load_tokenizer(folder) for name, folder in folders.items()})


@pytest.fixture(scope="session")
def theirs(folders: dict[str, Path]) -> dict[str, Callable[..., dict[str, list[int]]]]:
    """What Transformers makes of the same folders (of a Chinese ALBERT: with the class that its authors name)."""
    from transformers import AutoTokenizer, BertTokenizer

    return ByFamily(
        {
            name: (BertTokenizer if name == "albert-chinese" else AutoTokenizer).from_pretrained(str(folder))
            for name, folder in folders.items()
            # Transformers cuts ALBERT's user-defined pieces out; SentencePiece is its judge.
            if name != "albert"
        }
    )


@pytest.fixture(scope="session")
def saved(
    opened: dict[str, QATokenizer], folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Callable[..., dict[str, list[int]]]]:
    """What Transformers makes of the folders as they are saved here, with the model's own config beside it."""
    from transformers import AutoTokenizer

    found = ByFamily()
    for name, tokenizer in opened.items():
        folder = tmp_path_factory.mktemp(name)
        tokenizer.save(folder)
        (folder / "config.json").write_bytes((folders[name] / "config.json").read_bytes())
        found[name] = AutoTokenizer.from_pretrained(str(folder))
    return found


def test_nothing_of_transformers_is_imported(folders: dict[str, Path]) -> None:
    code = (
        "import sys; from albertqa.windows.tokenizer import load_tokenizer\n"
        "for folder in sys.argv[1:]: load_tokenizer(folder).encode_batch(['<pad> a'])\n"
        "print([name for name in ('transformers', 'torch') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code, *map(str, folders.values())]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "albert"])
@given(question=texts(most_words=6), context=texts(most_words=8))
@settings(max_examples=60, deadline=None)
def test_ids_are_those_of_transformers(family: str, opened, theirs, question: str, context: str) -> None:  # type: ignore[no-untyped-def]
    # An empty text is none to Transformers.
    question, context = without(question) + "?", without(context) + "."
    expected = theirs[family](question, context, return_token_type_ids=True)
    ours, pair = opened[family].encode_batch([question, context]), opened[family].backend.encode(question, context)
    layout = opened[family].layout
    assert [*layout.prefix, *ours[0].ids, *layout.middle, *ours[1].ids, *layout.suffix] == expected["input_ids"]
    assert (pair.ids, pair.type_ids) == (expected["input_ids"], expected["token_type_ids"])


@pytest.mark.parametrize("family", FAMILIES)
@given(text=texts(most_words=12))
@settings(max_examples=60, deadline=None)
def test_a_saved_folder_opens_in_transformers_with_equal_ids(family: str, opened, saved, text: str) -> None:  # type: ignore[no-untyped-def]
    if family in ("albert", "xlm-roberta", "camembert"):
        # A unigram model's own pieces; split_special_tokens leaves them alone.
        text = without(text)
    text = without(text, ("\x1c",)) + "."
    encoding = opened[family].encode_batch([text])[0]
    layout = opened[family].layout
    pair = saved[family](text, text)
    assert pair["input_ids"] == [*layout.prefix, *encoding.ids, *layout.middle, *encoding.ids, *layout.suffix]
    if layout.context_segment:
        context_start = len(layout.prefix) + len(encoding) + len(layout.middle)
        assert pair["token_type_ids"] == [0] * context_start + [1] * (len(pair["input_ids"]) - context_start)
    else:
        assert "token_type_ids" not in pair
    offsets = saved[family](text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
    assert offsets == encoding.offsets


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_names_its_special_tokens(family: str, opened, saved) -> None:  # type: ignore[no-untyped-def]
    for role in ("cls", "sep", "pad", "unk", "mask"):
        token_id = opened[family].backend.token_to_id(opened[family].special_tokens[role])
        assert getattr(saved[family], f"{role}_token_id") == token_id
    assert len(saved[family]) == opened[family].vocab_size
    assert saved[family].model_max_length == 512


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_folder_is_the_same_tokenizer(family: str, opened, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    opened[family].save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.fingerprint == opened[family].fingerprint
    assert again.layout == opened[family].layout
    assert again.special_tokens == opened[family].special_tokens
    assert again.config == opened[family].config


def test_layouts_and_unknown_tokens(opened: dict[str, QATokenizer]) -> None:
    bert, roberta = PairLayout((2,), (3,), (3,), 0, 1), PairLayout((0,), (2, 2), (2,), 0, 0)
    assert [opened[name].layout for name in ("bert", "albert-chinese", "albert")] == [bert] * 3
    assert [opened[name].layout for name in ("roberta", "xlm-roberta")] == [roberta] * 2
    assert opened["camembert"].layout == PairLayout((5,), (6, 6), (6,), 0, 0)
    assert {name: one.token_id("unk") for name, one in opened.items()} == {
        **dict.fromkeys(("bert", "bert-cased", "distilbert", "electra", "albert-chinese", "albert"), 1),
        **dict.fromkeys(("roberta", "roberta-prefix"), None),
        **dict.fromkeys(("xlm-roberta", "camembert"), 3),
    }
    assert {name: one.token_id("pad") for name, one in opened.items()} == {
        name: 0 if one.layout.context_segment else 1 for name, one in opened.items()
    }


@pytest.mark.parametrize(("family", "shift"), [("xlm-roberta", 1), ("camembert", 4)])
@given(text=texts(most_words=12))
@settings(max_examples=60, deadline=None)
def test_ids_are_sentencepieces_with_fairseqs_shift(
    family: str,
    shift: int,
    folders: dict[str, Path],
    opened: dict[str, QATokenizer],
    text: str,
) -> None:
    # Left out: white space to `tokenizers` alone, and "0" + "00", which is as likely as "00" + "0".
    text = without(text, ("\x1c", "\x85", "5,000"))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(folders[family] / "sentencepiece.bpe.model"))
    expected = [3 if one == 0 else one + shift for one in theirs.encode(text)]
    assert opened[family].encode_batch([text])[0].ids == expected


@pytest.mark.real_data
@pytest.mark.parametrize("language", ["hi", "zh", "ar", "de"])
def test_ids_are_those_of_transformers_on_real_texts(real_data: Path, language: str, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    contexts = list(dict.fromkeys(one.context for one in load_examples(real_data / "xquad" / f"xquad.{language}.json")))
    for name, folder in (
        ("bert", wordpiece_folder(tmp_path / "bert", contexts, size=2000)),
        ("roberta", byte_level_folder(tmp_path / "roberta", contexts, size=1000)),
        ("xlm-roberta", fairseq_folder(tmp_path / "xlm-roberta", contexts, "xlm-roberta", size=3000)),
    ):
        theirs = AutoTokenizer.from_pretrained(str(folder))(contexts, add_special_tokens=False)
        ours = load_tokenizer(folder).encode_batch(contexts)
        assert [one.ids for one in ours] == theirs["input_ids"], name


@pytest.mark.parametrize("family", ["bert", "roberta", "xlm-roberta", "camembert", "albert"])
def test_a_special_token_that_a_text_spells_is_text(family: str, opened: dict[str, QATokenizer]) -> None:
    tokenizer = opened[family]
    for spelling in tokenizer.special_tokens.values():
        for text in (spelling, f"a {spelling} b", f"a{spelling}b{spelling}"):
            encoding = tokenizer.encode_batch([text])[0]
            special = {tokenizer.backend.token_to_id(one) for one in tokenizer.special_tokens.values()}
            unknown = tokenizer.token_id("unk")
            assert not (special - {unknown}) & set(encoding.ids)
            # Its letters are there one by one or in pieces: never as one token.
            assert (0, len(spelling)) not in encoding.offsets or text != spelling


@given(text=texts(most_words=12))
@settings(max_examples=150, deadline=None)
def test_alberts_ids_are_sentencepieces_whatever_a_text_spells(
    spiece_model: Path, tokenizer: QATokenizer, text: str
) -> None:
    text = text.replace("\x1c", "") + " <unk> <pad>[MASK]"
    assert tokenizer.encode_batch([text])[0].ids == SentencePieceAlbert(spiece_model).encode([text], int)[0]


def test_tokens_that_a_user_added_stay_tokens(opened: dict[str, QATokenizer], tmp_path: Path) -> None:
    for family in ("bert", "albert", "roberta"):
        folder = tmp_path / family
        folder.mkdir()
        opened[family].save(folder)
        parts = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        mask = {**added, "id": opened[family].vocab_size, "content": "[NEW-MASK]", "special": True}
        parts["added_tokens"] += [mask, {**mask, "id": mask["id"] + 1, "content": "[E1]"}]
        (folder / "tokenizer.json").write_text(json.dumps(parts), encoding="utf-8")
        config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        write_json(folder / "tokenizer_config.json", {**config, "mask_token": "[NEW-MASK]"})
        tokenizer = load_tokenizer(folder)
        assert tokenizer.vocab_size == opened[family].vocab_size + 2
        ids = tokenizer.encode_batch(["a [E1] b [NEW-MASK] <pad> [PAD]"])[0].ids
        assert mask["id"] + 1 in ids
        assert mask["id"] not in ids


def test_every_chinese_character_is_a_token_of_a_chinese_albert(folders: dict[str, Path]) -> None:
    tokenizer = load_tokenizer(folders["albert-chinese"])
    assert tokenizer.encode_batch(["东京是日本的首都。"])[0].tokens == list("东京是日本的首都。")


@pytest.mark.parametrize("model_type", ["bert", "albert"])
def test_the_case_of_a_bare_vocab_txt_is_read_off_it(
    starter_contexts: list[str], tmp_path: Path, model_type: str
) -> None:
    cased = load_tokenizer(wordpiece_folder(tmp_path / "cased", starter_contexts, lower=False, model_type=model_type))
    uncased = load_tokenizer(wordpiece_folder(tmp_path / "uncased", starter_contexts, model_type=model_type))
    assert (cased.config["do_lower_case"], uncased.config["do_lower_case"]) == (False, True)
    assert "".join(cased.encode_batch(["The"])[0].tokens).startswith("T")
    assert "".join(uncased.encode_batch(["The"])[0].tokens).startswith("t")


def accented(texts: list[str]) -> list[str]:
    """The same texts with accents on vowels."""
    return [text.translate(str.maketrans("aeiou", "áéíóú")) for text in texts]


@pytest.mark.parametrize(
    ("change", "lower", "keep"),
    [
        (lambda text: text.lower(), True, False),
        (lambda text: text, False, False),
        (lambda text: accented([text.lower()])[0], True, True),
        (lambda text: accented([text])[0], False, True),
    ],
    ids=["folded", "cased", "accented", "cased and accented"],
)
def test_case_and_accents_of_a_bare_spiece_model_are_read_off_it(
    starter_contexts: list[str], tmp_path: Path, change: Callable[[str], str], lower: bool, keep: bool
) -> None:
    path = albert_spiece(tmp_path / "spiece.model", [change(text) for text in starter_contexts[:150]])
    for source in (path, tmp_path):
        tokenizer = load_tokenizer(source)
        assert (tokenizer.config["do_lower_case"], tokenizer.config["keep_accents"]) == (lower, keep)
    pieces = [piece.lstrip("▁") for piece in tokenizer.backend.get_vocab() if piece[0] not in "<["]
    kept = [piece for piece in pieces if tokenizer.backend.normalizer.normalize_str(piece) == piece]
    assert len(kept) > 0.99 * len(pieces)


@pytest.mark.real_data
def test_a_hindi_spiece_model_keeps_its_vowel_signs(real_data: Path, tmp_path: Path) -> None:
    contexts = list(dict.fromkeys(one.context for one in load_examples(real_data / "xquad" / "xquad.hi.json")))
    tokenizer = load_tokenizer(albert_spiece(tmp_path / "spiece.model", contexts, size=2000))
    assert tokenizer.config["keep_accents"] is True
    unknown = tokenizer.token_id("unk")
    ids = [token for encoding in tokenizer.encode_batch(contexts) for token in encoding.ids]
    assert ids.count(unknown) / len(ids) < 0.002


@pytest.mark.parametrize(
    ("flags", "wrong", "wanted", "what"),
    [
        ({"do_lower_case": True}, "do_lower_case is true", '"do_lower_case": false', "capitals"),
        ({"keep_accents": False}, "keep_accents is false", '"keep_accents": true', "accents or vowel signs"),
    ],
)
def test_flags_that_the_vocabulary_contradicts_are_refused(
    starter_contexts: list[str], tmp_path: Path, flags: dict[str, bool], wrong: str, wanted: str, what: str
) -> None:
    albert_spiece(tmp_path / "spiece.model", accented(starter_contexts[:150]))
    write_json(tmp_path / "tokenizer_config.json", flags)
    with pytest.raises(TokenizerError) as error:
        load_tokenizer(tmp_path)
    message = str(error.value)
    assert message.startswith(f"{tmp_path}: {wrong}, but ")
    assert f" of the vocabulary's pieces have {what} and could never be produced. " in message
    assert message.endswith(f"Set {wanted} in tokenizer_config.json")


def test_a_tokenizer_json_that_folds_what_its_vocabulary_has_is_refused(
    starter_contexts: list[str], tmp_path: Path
) -> None:
    folder = wordpiece_folder(tmp_path / "cased", starter_contexts, lower=False, do_lower_case=False)
    load_tokenizer(folder).save(folder)
    parts = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    parts["normalizer"] = {"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}
    write_json(folder / "tokenizer.json", parts)
    with pytest.raises(TokenizerError, match=r"the normalizer of tokenizer\.json folds text, but .* have capitals"):
        load_tokenizer(folder)


def test_a_tokenizer_that_does_not_know_its_own_words_is_refused(starter_contexts: list[str], tmp_path: Path) -> None:
    folder = wordpiece_folder(tmp_path, starter_contexts)
    load_tokenizer(folder).save(folder)
    parts = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    parts["normalizer"] = {"type": "Replace", "pattern": {"String": "e"}, "content": "☃"}
    write_json(folder / "tokenizer.json", parts)
    with pytest.raises(TokenizerError, match=r"makes unknown tokens of \d+ % of its own vocabulary's words"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    ("rows", "fits"), [(1000, True), (1024, True), (1111, True), (1112, False), (999, False), (30_000, False)]
)
def test_a_tokenizer_of_another_size_than_the_embeddings_is_refused(
    tokenizer: QATokenizer, rows: int, fits: bool
) -> None:
    if fits:
        check_embeddings(tokenizer, rows, "model")
        return
    with pytest.raises(TokenizerError) as error:
        check_embeddings(tokenizer, rows, "model")
    assert str(error.value) == (
        f"model: the tokenizer has 1000 tokens, the model embeddings for {rows}; they do not belong together"
    )


def test_merges_that_begin_with_a_number_sign_are_merges(starter_contexts: list[str], tmp_path: Path) -> None:
    folder = byte_level_folder(tmp_path, [*["##"] * 500, *starter_contexts])
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert "# #" in lines
    assert load_tokenizer(folder).encode_batch(["##"])[0].tokens == ["##"]


@given(words=st.lists(st.text("abcéЖ中", min_size=1, max_size=3), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_every_word_of_a_word_vocabulary_is_one_token(
    tmp_path_factory: pytest.TempPathFactory, words: list[str]
) -> None:
    folder = word_folder(tmp_path_factory.mktemp("words"), [" ".join(words), "a b"], tokenize_chinese_chars=False)
    tokenizer = load_tokenizer(folder)
    for word in words:
        pieces = tokenizer.encode_batch([word])[0].tokens
        assert "[UNK]" not in pieces


def test_a_byte_order_mark_before_a_vocabulary_is_none_of_its_pieces(folders: dict[str, Path], tmp_path: Path) -> None:
    plain = load_tokenizer(folders["bert"])
    for name in ("vocab.txt", "config.json"):
        (tmp_path / name).write_bytes((folders["bert"] / name).read_bytes())
    (tmp_path / "vocab.txt").write_bytes(b"\xef\xbb\xbf" + (tmp_path / "vocab.txt").read_bytes())
    marked = load_tokenizer(tmp_path)
    assert (marked.fingerprint, marked.special_tokens) == (plain.fingerprint, plain.special_tokens)
