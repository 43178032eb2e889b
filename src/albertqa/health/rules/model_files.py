"""Rules about a model's files: are weights, tokenizer and embeddings those of one pretrained model?"""

from collections.abc import Iterator

from albertqa.health.advice import fix_case, use_base_model
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding

# The starter encoder has 94 %; with its vocabulary sorted 63 % (forms of a word are neighbours then, and get the
# embeddings of pieces about as frequent), with its table lost 50 %, give or take 3.5. See `related_pieces`.
_FEWEST_PAIRS, _UNRELATED_PERCENT = 200, 75


def random_layers(record: RunRecord) -> Iterator[Finding]:
    """Layers whose weights are random in an encoder that is else pretrained."""
    layers, known = record.model.random_layers, record.model.layers
    if not layers or record.settings.from_scratch or record.model.untrained:
        return
    named = ", ".join(str(one + 1) for one in layers)
    yield Finding(
        "random-layers",
        "error",
        f"The weights of layer {named} (of {known or 'all'}) are random or zero, the others pretrained: the file has "
        "them under other names, or they were lost in a conversion. Random layers destroy what the others pass on. "
        "Convert the model again, or use the original files.",
        use_base_model(record),
        {"random_layers": named, "layers": known or len(layers)},
    )


def case_mismatch(record: RunRecord) -> Iterator[Finding]:
    """A tokenizer that treats upper case otherwise than its vocabulary was made for."""
    tokenizer = record.model.tokenizer
    upper, unknown = record.train.upper_case_percent, record.train.unknown_tokens_percent or 0.0
    cased, folds = tokenizer.cased_pieces_percent, tokenizer.folds_case
    if upper is None or cased is None:
        return
    setting = "normalizer.lowercase in tokenizer.json (do_lower_case in tokenizer_config.json where there is none)"
    if folds and cased > 10:
        message = (
            f"The tokenizer lowercases text, but {cased:.0f} % of its vocabulary's pieces have upper case and so never "
            f"occur: the vocabulary is a cased model's. Set {setting} to false."
        )
    elif not folds and cased < 1 and upper > 0.5 and unknown > 0.5:
        message = (
            f"The tokenizer keeps upper case, but its vocabulary has none ({cased:.1f} % of the pieces), so every word "
            f"with a capital becomes unknown tokens: it is an uncased model's vocabulary. Set {setting} to true."
        )
    else:
        return
    yield Finding(
        "case-mismatch",
        "error",
        message,
        fix_case(record, lowercase=not folds),
        {"cased_pieces_percent": cased, "upper_case_percent": upper},
    )


def case_of_data(record: RunRecord) -> Iterator[Finding]:
    """Training texts in lower case and validation texts in both, for a model that tells the two apart."""
    tokenizer = record.model.tokenizer
    upper, asked = record.train.upper_case_percent, record.validation.upper_case_percent
    if upper is None or asked is None or tokenizer.folds_case or (tokenizer.cased_pieces_percent or 0) <= 10:
        return
    if upper >= 0.1 or asked <= 0.5:
        return
    yield Finding(
        "lowercased-data",
        "error",
        "The training texts have no upper case, the validation texts do, and this is a cased model: it is trained on "
        "other words than it is asked about. Train on the texts as they were written.",
        use_base_model(record),
        {"upper_case_percent": upper, "validation_upper_case_percent": asked},
    )


def missing_segments(record: RunRecord) -> Iterator[Finding]:
    """An encoder that does not get which tokens are the question's."""
    segments, types = record.model.tokenizer.segments, record.model.segment_types
    if segments is None or types is None:
        return
    if types >= 2 and segments[0] == segments[1]:
        message = (
            f"The model has segment embeddings, but the tokenizer gives question and context the same segment "
            f"({segments[0]}): the model does not get where the question ends, as it did in pretraining. Use the "
            "model's own tokenizer.json."
        )
    elif types < 2 and record.model.type in {"albert", "bert"}:
        message = (
            f"The model's type_vocab_size is {types}, so segment ids are left out; ALBERT and BERT are pretrained "
            "with two. Set type_vocab_size to 2 in config.json and use the weights with both segment embeddings."
        )
    else:
        return
    yield Finding(
        "missing-segments",
        "warning",
        message,
        use_base_model(record),
        {"segment_types": types, "segments": str(segments)},
    )


def vocabulary_mismatch(record: RunRecord) -> Iterator[Finding]:
    """Embeddings that were not pretrained with the tokenizer's vocabulary, or were damaged since."""
    tokenizer, rows = record.model.tokenizer, record.model.vocabulary
    pairs, percent = tokenizer.related_pieces or 0, tokenizer.related_pieces_percent or 0.0
    never_trained = record.settings.from_scratch or record.model.untrained
    if pairs >= _FEWEST_PAIRS and percent < _UNRELATED_PERCENT and not never_trained:
        yield Finding(
            "vocabulary-mismatch",
            "error",
            f"Of {pairs:,} pairs of tokens that are two forms of a word, like 'river' and 'rivers', only "
            f"{percent:.0f} % have embeddings that are more alike than those of any two tokens; in a pretrained "
            "encoder it is over 90 %, by chance 50 %. To the model every token means another word: the vocabulary "
            "is another model's or in another order, or the embeddings were damaged. Use tokenizer and weights of "
            "one download.",
            use_base_model(record),
            {"related_pieces": pairs, "related_pieces_percent": percent},
        )
    elif tokenizer.vocabulary is not None and rows is not None and tokenizer.vocabulary < 0.9 * rows:
        yield Finding(
            "vocabulary-mismatch",
            "warning",
            f"The tokenizer has {tokenizer.vocabulary:,} tokens, the model embeddings for {rows:,}: they are hardly of "
            "one model, and then every token means another word. Use the model's own tokenizer.",
            use_base_model(record),
            {"tokenizer_vocabulary": tokenizer.vocabulary, "model_vocabulary": rows},
        )
