"""Rules about training and validation data side by side: no text in both, questions and answers of one kind."""

from collections.abc import Iterator

from albertqa.health.advice import more_questions, show_rows, train_again
from albertqa.health.curve import proportion_error
from albertqa.health.record import DataView
from albertqa.health.rules.answer_labels import FEWEST_QUESTIONS
from albertqa.rundir.findings import Finding
from albertqa.rundir.run_json import TextFacts

# Between data sets of one kind, mean lengths differ by less than a third (SQuAD, SQuADShifts, the starter set); between
# short factoids and the longest of the common sets of short answers by about two.
_OTHER_LENGTH = 2.5
# Percent of the letters; in one language 0 to 2, where half of the texts are in another script about 50.
_MANY_OF_OTHER_SCRIPTS = 30
# Percent. Whole sentences are 0 to 3 % of short answers; of sixty answers on one subject, seldom 10 or 20.
_MORE_SENTENCES = 25
# Of few contexts, as on one subject, answers may be five times as long as on another.
_FEW_CONTEXTS, _OTHER_LENGTH_OF_FEW = 50, 6.0
# Between data sets of one language 0.68 and more (150 questions and more, on one subject or on many, Wikipedia and
# Reddit); where half of the texts are in another language 0.48 to 0.58, where all are 0.05 to 0.35.
# Of few training contexts the subject's own words are among them: on another subject 0.52 and more.
_LEAST_SHARED_WORDS, _LEAST_OF_FEW = 0.6, 0.45
# Training questions for numbers and dates alone leave 57 to 87 % of the questions unasked, those without "what" and
# "who" 55 %; samples of one kind differ by up to 17 %, Reddit's questions from Wikipedia's by up to 28 %.
_MANY_UNASKED_PERCENT = 25
# Few questions of one's own beside a common validation set are nothing unusual; thousands of them are.
_MANY_MORE, _NOT_FEW = 4, 1_000


def data_leakage(view: DataView) -> Iterator[Finding]:
    """Validation questions or contexts that are trained on, or that the model was trained on before."""
    validation = view.validation
    if validation is None:
        return
    seen = validation.seen_by_model_percent or 0.0
    questions, contexts = validation.shared_questions_percent or 0.0, validation.shared_contexts_percent or 0.0
    if view.train.content_sha256 and view.train.content_sha256 == validation.content_sha256:
        questions = contexts = 100.0
    if seen >= 1:
        message = (
            f"The model {view.settings.model} has been trained on {seen:.3g} % of the validation questions before: its "
            "trained_on.json has their hashes. It knows those answers, so the scores are too high. Start from a model "
            "that has not seen them, or validate on other questions."
        )
        numbers = {"seen_by_model_percent": seen}
    elif questions >= 1 or contexts >= 5:
        effect = (
            "the scores measure memory, not reading"
            if max(questions, contexts) > 50
            else "the model may have memorised them, so the scores are too high by up to the errors it would make there"
        )
        message = (
            f"{questions:.3g} % of the validation questions are also in the training data, and {contexts:.3g} % are "
            f"asked on contexts that are: {effect}. Split the data by context or article, so that no text is in both."
        )
        numbers = {"shared_questions_percent": questions, "shared_contexts_percent": contexts}
    else:
        return
    yield Finding("data-leakage", "error", message, show_rows(view, "data-leakage", by_model=seen >= 1), numbers)


def missing_answers(view: DataView) -> Iterator[Finding]:
    """Training data in which hardly any question has an answer, or only one of the two parts has such questions."""
    without = {part: facts.without_answer / facts.questions for part, facts in view.parts()}
    train = without["train"]
    validation = without.get("validation", train)
    is_error, difference = False, abs(train - validation)
    more, fewer = ("training", "validation") if train > validation else ("validation", "training")
    lost = f"{100 * max(train, validation):.0f} % of the {more} questions have no answer"
    if train > 0.8 and validation <= train:
        is_error = True
        message = (
            f'{100 * train:.0f} % of the training questions have no answer. "No answer" is then nearly always right, '
            "and the model learns to say nothing else. Were the answers lost when the file was written?"
        )
    elif difference > 0.4 and train > 0:
        is_error = train - validation > 0.6 or validation > 0.95
        effect = (
            "the model learns to answer nothing where it should answer"
            if train > validation
            else "the scores show above all how often the model answers nothing"
        )
        message = (
            f"{lost}, of the {fewer} questions only {100 * min(train, validation):.0f} %: {effect}. Were answers lost "
            f"when the {more} file was written? If not, validate on data of the same kind."
        )
    elif difference > 0.1 and 0 in {train, validation}:
        effect = (
            "whether the model knows when to answer nothing is not measured"
            if train > validation
            else "the model never learns to answer nothing"
        )
        message = f"{lost}, but every {fewer} question has one: {effect}. Train and validate on data of the same kind."
    else:
        return
    yield Finding(
        "missing-answers",
        "error" if is_error else "warning",
        message,
        show_rows(view, "missing-answers"),
        {f"{part}_without_answer_percent": round(100 * share, 2) for part, share in without.items()},
    )


def language_mismatch(view: DataView) -> Iterator[Finding]:
    """Validation texts in another language, or of another kind, than the training texts."""
    if view.validation is None:
        return
    others = view.validation.other_scripts_percent or 0.0
    here, there = view.validation.frequent_words_percent, view.validation.frequent_words_percent_train
    least = _LEAST_OF_FEW if _has_few_contexts(view.train) else _LEAST_SHARED_WORDS
    if others >= _MANY_OF_OTHER_SCRIPTS:
        is_error = others >= 50
        seen = (
            f"The letters of the validation texts are of other scripts than the training texts' ({others:.0f} % of "
            "them). The two are in different languages"
        )
        numbers = {"other_scripts_percent": others}
    elif here is not None and there is not None and here < least * there:
        is_error = here < 0.4 * there
        seen = (
            f"The words that most training texts have make up {there:.0f} % of them, but only {here:.0f} % of the "
            "validation texts; within one language it is nearly the same. The two are in different languages, or of "
            "very different kinds"
        )
        numbers = {"frequent_words_percent": here, "frequent_words_percent_train": there}
    else:
        return
    yield Finding(
        "language-mismatch",
        "error" if is_error else "warning",
        f"{seen}: the validation scores do not show how well training goes. Use one language in both.",
        show_rows(view, "language-mismatch"),
        numbers,
    )


def answer_length_mismatch(view: DataView) -> Iterator[Finding]:
    """Training answers many times longer or shorter than those of the validation data."""
    if view.validation is None or min(view.train.answered, view.validation.answered) < FEWEST_QUESTIONS:
        return
    train, validation = view.train.gold_words_mean, view.validation.gold_words_mean
    if not train or not validation:
        return
    is_few = _has_few_contexts(view.train) or _has_few_contexts(view.validation)
    times, sentences = max(train, validation) / min(train, validation), ""
    whole = [facts.whole_sentences_percent or 0.0 for _, facts in view.parts()]
    if max(whole) - min(whole) > _MORE_SENTENCES:
        sentences = f", and {whole[0]:.0f} % of the former and {whole[1]:.0f} % of the latter are whole sentences"
    elif times < (_OTHER_LENGTH_OF_FEW if is_few else _OTHER_LENGTH):
        return
    yield Finding(
        "answer-length-mismatch",
        "error" if times >= 2 * _OTHER_LENGTH else "warning",
        f"Training answers have {train:.1f} words on average, validation answers {validation:.1f}{sentences}. The "
        f"model learns to give {'long' if train > validation else 'short'} answers and is scored against others, so "
        "exact match stays low however well it reads. Were whole sentences, or first words only, taken for answers in "
        "one of the files? Select the answers of both by the same rule.",
        show_rows(view, "answer-length-mismatch"),
        {"train_gold_words_mean": train, "validation_gold_words_mean": validation},
    )


def question_mismatch(view: DataView) -> Iterator[Finding]:
    """Training questions of other kinds, or of a very different length, than the validation questions."""
    validation = view.validation
    if validation is None or min(view.train.questions, validation.questions) < FEWEST_QUESTIONS:
        return
    # In another language, questions differ, too.
    if any(language_mismatch(view)):
        return
    train, asked = view.train.question_letters_mean, validation.question_letters_mean
    unasked, words = validation.rare_question_words_percent or 0.0, validation.rare_question_words or []
    noise = 2 * proportion_error(_MANY_UNASKED_PERCENT, validation.questions)
    numbers: dict[str, float | int | str]
    if unasked >= _MANY_UNASKED_PERCENT + noise:
        named = ", ".join(f"'{word}'" for word in words)
        message = (
            f"{unasked:.0f} % of the validation questions have {named}, and hardly any training question does. The "
            "model learns to answer only the kinds of questions that it is trained on. Train on questions of all kinds "
            "that it will be asked."
        )
        numbers = {"rare_question_words": ", ".join(words), "rare_question_words_percent": unasked}
    elif train and asked and max(train, asked) / min(train, asked) >= _OTHER_LENGTH:
        message = (
            f"Training questions have {train:.0f} characters on average, validation questions {asked:.0f}. Those of "
            "one file were truncated, filled from another column, or asked in another way: the model is trained on "
            "other questions than it is asked. Read some of both files."
        )
        numbers = {"train_question_letters_mean": train, "validation_question_letters_mean": asked}
    else:
        return
    yield Finding("question-mismatch", "warning", message, show_rows(view, "question-mismatch"), numbers)


def swapped_files(view: DataView) -> Iterator[Finding]:
    """Validation data several times as large as the training data, as when the two files were swapped."""
    if view.validation is None or view.settings.max_train_examples is not None:
        return
    train, validation = view.train.questions, view.validation.questions
    if train < _NOT_FEW or validation < _MANY_MORE * train:
        return
    yield Finding(
        "swapped-files",
        "warning",
        f"There are {train:,} training questions and {validation:,} validation questions. Were the two files swapped? "
        "Then swap --train-file and --validation-file. If these are all the training questions there are, most of the "
        "time goes into evaluation: use --max-eval-examples.",
        train_again(view, "less-validation", max_eval_examples=max(1000, train)),
        {"train_questions": train, "validation_questions": validation},
    )


def small_validation(view: DataView) -> Iterator[Finding]:
    """Validation data too small to compare steps or runs."""
    if view.validation is None:
        return
    questions = view.validation.questions
    half_width = 1.96 * proportion_error(50.0, questions)
    if half_width < 10:
        return
    limit = view.settings.max_eval_examples
    is_limited = limit is not None and limit <= questions
    yield Finding(
        "small-validation",
        "note",
        f"{questions} validation questions give f1 to about ±{half_width:.0f} points: too imprecise to compare steps "
        "or runs. Use several hundred; a thousand give ±3."
        + (f" max_eval_examples limits them to {limit}." if is_limited else ""),
        train_again(view, "more-validation", max_eval_examples=1000)
        if is_limited
        else more_questions(view, "validation"),
        {"questions": questions, "f1_half_width": round(half_width, 2)},
    )


def _has_few_contexts(facts: TextFacts) -> bool:
    """Return whether data is on so few texts that they may be on one subject."""
    return facts.contexts is not None and facts.contexts < _FEW_CONTEXTS
