"""Rules about training and validation data side by side: no text in both, questions and answers of one kind."""

from collections.abc import Iterator
from typing import Any

from albertqa.health.advice import check_data
from albertqa.health.record import RunRecord
from albertqa.health.rules.labels import FEWEST_QUESTIONS, PARTS
from albertqa.rundir.findings import Finding

# Between sets of one kind, mean lengths differ by less than a third (SQuAD, SQuADShifts, the starter set); between
# short factoids and the longest of the common sets of short answers by about two.
_OTHER_LENGTH = 2.5
# Few questions of one's own beside a common validation set are nothing unusual; thousands of them are.
_MANY_MORE, _NOT_FEW = 4, 1_000


def leaking_validation(record: RunRecord) -> Iterator[Finding]:
    """Validation questions or contexts that were trained on."""
    questions, contexts = (
        getattr(record.data("validation"), f"shared_{what}_percent") for what in ("questions", "contexts")
    )
    contents = [record.data(part).content_sha256 for part in PARTS]
    if contents[0] and contents[0] == contents[1]:
        questions = contexts = 100.0
    if questions is None or contexts is None or (questions < 1 and contexts < 5):
        return
    yield Finding(
        "leaking-validation",
        "error",
        0,
        f"{contexts:.3g} % of the validation questions stand on contexts that are trained on, and {questions:.3g} % "
        "are themselves trained on. The scores then tell how much was learned by heart, not how well the model reads "
        "new text. Split the data by context or article, so that no text is in both parts.",
        check_data(record),
        {"shared_questions_percent": questions, "shared_contexts_percent": contexts},
    )


def no_answers(record: RunRecord) -> Iterator[Finding]:
    """Training data in which hardly any question has an answer, or only one of the two parts knows such questions."""
    shares = {part: record.data(part).without_answer / record.data(part).questions for part in PARTS}
    evidence: dict[str, Any] = {f"{part}_without_answer_percent": round(100 * shares[part], 2) for part in PARTS}
    if shares["train"] > 0.9:
        yield Finding(
            "no-answers",
            "error",
            0,
            f"{100 * shares['train']:.0f} % of the training questions have no answer. Saying nothing is then nearly "
            "always right, and the model learns to say nothing. Were the answers lost when the file was made?",
            check_data(record),
            evidence,
        )
    elif shares["train"] - shares["validation"] > 0.4:
        yield Finding(
            "no-answers",
            "error" if shares["train"] - shares["validation"] > 0.6 else "warning",
            0,
            f"{100 * shares['train']:.0f} % of the training questions have no answer, of the validation questions "
            f"only {100 * shares['validation']:.0f} %: the model learns to say nothing where it is to answer. Were "
            "answers lost when the training file was made? If not, validate on data of the same kind.",
            check_data(record),
            evidence,
        )
    elif shares["train"] == 0 and shares["validation"] > 0.1:
        yield Finding(
            "no-answers",
            "warning",
            0,
            f"{100 * shares['validation']:.0f} % of the validation questions have no answer, but every training "
            "question has one: the model never learns to say nothing, and will answer them all. Train on data of the "
            "same kind.",
            check_data(record),
            evidence,
        )
    elif shares["train"] > 0.1 and shares["validation"] == 0:
        yield Finding(
            "no-answers",
            "warning",
            0,
            f"{100 * shares['train']:.0f} % of the training questions have no answer, but every validation question "
            "has one: what the model learns of saying nothing is not measured. Validate on data of the same kind.",
            check_data(record),
            evidence,
        )


def other_answers(record: RunRecord) -> Iterator[Finding]:
    """Training answers many times longer or shorter than those that validation expects."""
    found = _unlike(record, "golds", "gold_words_mean")
    if found is None:
        return
    train, validation, times = found
    yield Finding(
        "other-answers",
        "error" if times >= 2 * _OTHER_LENGTH else "warning",
        0,
        f"Training answers have {train:.1f} words on average, validation answers {validation:.1f}. The model learns "
        f"to answer as {'long' if train > validation else 'briefly'} as it was taught, and is then marked by others' "
        "measure: exact matches will be rare however well it reads. Were whole sentences, or first words only, taken "
        "for answers in one of the files? Cut the answers of both by the same rule.",
        check_data(record),
        {"train_gold_words_mean": train, "validation_gold_words_mean": validation},
    )


def other_questions(record: RunRecord) -> Iterator[Finding]:
    """Training questions many times longer or shorter than validation's."""
    found = _unlike(record, "questions", "question_tokens_mean")
    if found is None:
        return
    train, validation, _ = found
    yield Finding(
        "other-questions",
        "warning",
        0,
        f"Training questions have {train:.1f} tokens on average, validation questions {validation:.1f}: they are "
        "asked in another way, or those of one file were cut (a column too narrow) or filled from another column. The "
        "model is trained on other questions than it is asked. Read a few of both files.",
        check_data(record),
        {"train_question_tokens_mean": train, "validation_question_tokens_mean": validation},
    )


def larger_validation(record: RunRecord) -> Iterator[Finding]:
    """Validation data several times as large as the training data, as when the two files were exchanged."""
    train, validation = (record.data(part).questions for part in PARTS)
    if record.settings.max_train_examples is not None or train < _NOT_FEW or validation < _MANY_MORE * train:
        return
    yield Finding(
        "larger-validation",
        "warning",
        0,
        f"There are {train:,} questions to train on, and {validation:,} to validate with. Were the two files given the "
        "wrong way round? Then exchange --train-file and --validation-file. If there are no more to train on, expect "
        "little, and know that most of the time goes into evaluation.",
        check_data(record),
        {"train_questions": train, "validation_questions": validation},
    )


def _unlike(record: RunRecord, count: str, mean: str) -> tuple[float, float, float] | None:
    """Give a mean of training and validation data and how many times one is the other, where they are far apart."""
    train, validation = (getattr(record.data(part), mean) for part in PARTS)
    if not train or not validation or min(getattr(record.data(part), count) or 0 for part in PARTS) < FEWEST_QUESTIONS:
        return None
    times = max(train, validation) / min(train, validation)
    return (train, validation, times) if times >= _OTHER_LENGTH else None
