"""Rules about text and tokenizer: does the model see what it was pretrained on?"""

from collections.abc import Iterator

from albertqa.health.advice import check_data, use_base_model
from albertqa.health.record import RunRecord
from albertqa.health.rules.labels import PARTS
from albertqa.rundir.findings import Finding

# The starter encoder has 94 %; with its vocabulary sorted 63 % (forms of a word are neighbours then, and get the
# embeddings of pieces about as frequent), with its table lost 50 %, give or take 3.5. See `related_pieces`.
_FEWEST_PAIRS, _UNRELATED_PERCENT = 200, 75
# English has 4.7 letters a word, Finnish, with the longest words of the larger languages, about 8.
_LONG_WORDS = 15


def case_mismatch(record: RunRecord) -> Iterator[Finding]:
    """A tokenizer that treats upper case otherwise than its vocabulary was made for."""
    tokenizer = record.model.tokenizer
    upper = record.data("train").upper_case_percent
    unknown, asked = record.data("train").unknown_tokens_percent, record.data("validation").upper_case_percent
    cased, folds = tokenizer.cased_pieces_percent, tokenizer.folds_case
    if upper is None or cased is None:
        return
    if folds and cased > 10:
        message = (
            f"The tokenizer turns upper case into lower case, but {cased:.0f} % of its vocabulary's pieces have "
            "upper case and so never occur: the vocabulary is a cased model's. Set do_lower_case to false in "
            "tokenizer_config.json."
        )
    elif not folds and cased < 1 and upper > 0.5 and (unknown or 0) > 0.5:
        message = (
            f"The tokenizer keeps upper case, but its vocabulary has none ({cased:.1f} % of the pieces): every word "
            "with a capital falls into unknown tokens. It is an uncased model's vocabulary. Set do_lower_case to "
            "true in tokenizer_config.json."
        )
    elif not folds and cased > 10 and (asked or 0) > 0.5 and upper < 0.1:
        message = (
            "The training texts have no upper case, the validation texts do, and the model tells the two apart: it "
            "is trained on other words than it is asked about. Train on the texts as they were written."
        )
    else:
        return
    numbers = {"cased_pieces_percent": cased, "upper_case_percent": upper}
    yield Finding("case-mismatch", "error", 0, message, use_base_model(record), numbers)


def lost_blanks(record: RunRecord) -> Iterator[Finding]:
    """Text whose words run into each other."""
    for part in PARTS:
        letters = record.data(part).word_letters_mean
        if letters is None or letters < _LONG_WORDS:
            continue
        yield Finding(
            "lost-blanks",
            "error",
            0,
            f"The words of the {part} contexts have {letters:.0f} letters on average; in languages that put blanks "
            "between words it is four to eight. The blanks were lost when the text was taken from a PDF, a scan or a "
            "page, or it is no text. The tokenizer cuts such strings into pieces that mean nothing to the model. Take "
            "the text from its source anew.",
            check_data(record),
            {"part": part, "word_letters_mean": letters},
        )
        return


def unknown_tokens(record: RunRecord) -> Iterator[Finding]:
    """Text that the vocabulary does not know."""
    for part in PARTS:
        percent = record.data(part).unknown_tokens_percent
        if percent is None or percent < 2:
            continue
        yield Finding(
            "unknown-tokens",
            "error" if percent >= 10 else "warning",
            0,
            f"{percent:.3g} % of the {part} tokens are unknown to the model's vocabulary; for a model of the text's "
            "own language it is less than 0.2 %. Where the model sees [UNK], it cannot read. Is the text in a "
            "language, script or encoding that this model was not pretrained on, or is the tokenizer another "
            "model's?",
            use_base_model(record),
            {"part": part, "unknown_tokens_percent": percent},
        )
        return


def other_language(record: RunRecord) -> Iterator[Finding]:
    """Validation texts of another language, or another kind of text, than the training texts."""
    here, there = (getattr(record.data("validation"), f"frequent_words_percent{of}") for of in ("", "_train"))
    if here is None or not there or here / there >= 0.6:
        return
    yield Finding(
        "other-language",
        "error" if here / there < 0.4 else "warning",
        0,
        f"The 100 most frequent words of the training texts make up {there:.0f} % of them, but only {here:.0f} % of "
        "the validation texts; within one language it is nearly the same (80 to 100 % of it). The validation data "
        "seems to be in another language or of quite another kind: its scores do not tell how well training goes.",
        check_data(record),
        {"frequent_words_percent": here, "frequent_words_percent_train": there},
    )


def missing_segments(record: RunRecord) -> Iterator[Finding]:
    """An encoder that is not told where the question ends."""
    segments, types = record.model.tokenizer.segments, record.model.segment_types
    if segments is None or types is None:
        return
    if types >= 2 and segments[0] == segments[1]:
        message = (
            f"The model knows segments, but the tokenizer gives question and context the same ({segments[0]}): the "
            "model is not told where the question ends, as it was in pretraining. Use the model's own "
            "tokenizer.json."
        )
    elif types < 2 and record.model.type in {"albert", "bert"}:
        message = (
            f"The model's type_vocab_size is {types}, so segment ids are left out; ALBERT and BERT are pretrained "
            "with two. Set type_vocab_size to 2 in config.json and take the weights with both segment embeddings."
        )
    else:
        return
    numbers: dict[str, int | str] = {"segment_types": types, "segments": str(segments)}
    yield Finding("missing-segments", "warning", 0, message, use_base_model(record), numbers)


def strange_embeddings(record: RunRecord) -> Iterator[Finding]:
    """Embeddings that were not pretrained with the tokenizer's vocabulary, or were damaged since."""
    tokenizer = record.model.tokenizer
    pairs, percent = tokenizer.related_pieces or 0, tokenizer.related_pieces_percent or 0.0
    never_trained = record.settings.from_scratch or record.model.untrained
    if pairs < _FEWEST_PAIRS or percent >= _UNRELATED_PERCENT or never_trained:
        return
    yield Finding(
        "strange-embeddings",
        "error",
        0,
        f"Of {pairs:,} pairs of tokens that are two forms of a word, like 'river' and 'rivers', the model's embeddings "
        f"of only {percent:.0f} % are more alike than those of any two tokens; by chance it is 50 %, in a pretrained "
        "encoder over 90 %. To the model every token means another word: the vocabulary is another model's or was put "
        "in another order, or the embeddings' weights were damaged or lost. Use the model's own files, all of one "
        "download.",
        use_base_model(record),
        {"related_pieces": pairs, "related_pieces_percent": percent},
    )


def other_vocabulary(record: RunRecord) -> Iterator[Finding]:
    """A tokenizer with far fewer tokens than the model has embeddings for."""
    tokens, rows = record.model.tokenizer.vocabulary, record.model.vocabulary
    if tokens is None or rows is None or tokens >= 0.9 * rows:
        return
    yield Finding(
        "other-vocabulary",
        "warning",
        0,
        f"The tokenizer has {tokens:,} tokens, the model embeddings for {rows:,}. The two were "
        "hardly made for each other; then every token means another word to the model. Use the model's own "
        "tokenizer.",
        use_base_model(record),
        {"tokenizer_vocabulary": tokens, "model_vocabulary": rows},
    )
