"""Planted faults: what somebody did wrong, and the name of the finding that must come first."""

import dataclasses
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from albertqa.config import OptimizerConfig
from albertqa.data.example import Example, Gold
from albertqa.data.reading import load_examples
from albertqa.model.encoder import Encoder
from albertqa.model.encoder_config import EncoderConfig
from albertqa.rundir.run_json import Plan
from model.cases import save_albert
from vocabulary import train_spiece

from .cases import shuffle_answers

Examples = list[Example]
Change = Callable[[Examples], Examples]

# A change of alphabet: every letter becomes one that the vocabulary has never seen.
_OTHER_ALPHABET = {
    ord(one): other
    for small, large in (("абвгдежзиклмнопрстуфхцчшщ", "АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЩ"),)
    for ones, others in (("abcdefghijklmnopqrstuvwxy", small), ("ABCDEFGHIJKLMNOPQRSTUVWXY", large))
    for one, other in zip(ones, others, strict=True)
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing done wrong.

    Attributes:
        expected: Name of the finding that must come first.
        on: ``numbers``: the task that a tiny ALBERT learns; ``questions``: the starter set's own questions.
        settings: Settings that differ from the sound ones.
        train: What was done to the training data.
        validation: What was done to the validation data.
        leak: Whether the training data is the validation data, too.
        model: What was done to the model's folder.
        code: What was done to the program.
    """

    expected: str
    on: str = "numbers"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    train: Change | None = None
    validation: Change | None = None
    leak: Change | None = None
    model: Callable[[Path], None] | None = None
    code: Callable[[pytest.MonkeyPatch], None] | None = None


def _everywhere(change: Callable[[Example], Example]) -> Change:
    return lambda examples: [change(one) for one in examples]


def _gold_at(one: Example, start: int, end: int) -> Example:
    return dataclasses.replace(one, golds=(Gold(one.context[start:end], start),))


def random_spans(examples: Examples) -> Examples:
    """Put every answer somewhere else, at the start of a word."""
    rng = random.Random(0)
    starts = [[0, *(at + 1 for at, letter in enumerate(one.context[:-40]) if letter == " ")] for one in examples]
    return [
        _gold_at(one, start, start + one.context[start : start + 30].rfind(" "))
        for one, places in zip(examples, starts, strict=True)
        for start in [rng.choice(places)]
    ]


def shifted_questions(examples: Examples) -> Examples:
    """Shift the question column by some rows."""
    shifted = [*examples[9:], *examples[:9]]
    return [dataclasses.replace(one, question=other.question) for one, other in zip(examples, shifted, strict=True)]


def last_questions_shifted(examples: Examples) -> Examples:
    """Shift the question column of the second half by some rows, as of a second file."""
    half = len(examples) // 2
    return examples[:half] + shifted_questions(examples[half:])


def asked_in_context(one: Example) -> Example:
    """Join the question and the context to one text."""
    gold, before = one.golds[0], f"{one.question} "
    return dataclasses.replace(
        one, context=before + one.context, golds=(Gold(gold.text, gold.answer_start + len(before)),)
    )


def made_question(one: Example) -> Example:
    """Ask for the answer by its name."""
    return dataclasses.replace(one, question=f"What does the text say about {one.golds[0].text}?")


def with_html(one: Example) -> Example:
    """Leave the paragraph's tags in the text."""
    gold = one.golds[0]
    return dataclasses.replace(
        one, context=f"<p>{one.context}</p>", golds=(Gold(gold.text, gold.answer_start + len("<p>")),)
    )


def one_answer(one: Example) -> Example:
    """Put a placeholder in the place of every answer."""
    start = one.context.index(" the ") + 1 if " the " in one.context else 0
    return _gold_at(one, start, start + 3)


def two_of_five_fields_swapped(examples: Examples) -> Examples:
    """Exchange question and context in two rows of five."""
    return [swap_fields(one) if at % 5 < 2 else one for at, one in enumerate(examples)]


def half_without_blanks(examples: Examples) -> Examples:
    """Lose the blanks of every second text."""
    return [without_blanks(one) if at % 2 else one for at, one in enumerate(examples)]


def second_file_shifted(examples: Examples) -> Examples:
    """Give the second half of the questions, as a second file, the answer of the next question on the same context."""
    half = len(examples) // 2
    of_context: dict[str, Examples] = {}
    for one in examples[half:]:
        of_context.setdefault(one.context, []).append(one)
    return examples[:half] + [
        dataclasses.replace(one, golds=other.golds)
        for ones in of_context.values()
        for one, other in zip(ones, [*ones[1:], ones[0]], strict=True)
    ]


def cut_behind_answer(one: Example) -> Example:
    """Let the context end with the answer."""
    gold = one.golds[0]
    return dataclasses.replace(one, context=one.context[: gold.answer_end], golds=(gold,))


def whole_sentences(one: Example) -> Example:
    """Take the whole sentence for the answer, and the one after it."""
    gold = one.golds[0]
    start = one.context.rfind(". ", 0, gold.answer_start) + 2 if ". " in one.context[: gold.answer_start] else 0
    end = one.context.find(". ", gold.answer_end)
    return _gold_at(one, start, len(one.context) if end < 0 else end + 1)


def first_sentences(one: Example) -> Example:
    """Take the context's first sentence for the answer."""
    return _gold_at(one, 0, one.context.find(". ") + 1 or len(one.context))


def two_of_five_swapped(examples: Examples) -> Examples:
    """Give two questions of five the answer of another question on the same context."""
    rng = random.Random(1)
    of_context: dict[str, Examples] = {}
    for one in examples:
        of_context.setdefault(one.context, []).append(one)

    def other(one: Example) -> Example:
        others = [two for two in of_context[one.context] if two.golds != one.golds]
        return dataclasses.replace(one, golds=rng.choice(others).golds) if others and rng.random() < 0.4 else one

    return [other(one) for one in examples]


def how_many_and_when_only(_: Examples) -> Examples:
    """Keep the questions for numbers and dates of the whole starter set."""
    return [one for one in load_examples("starter:train") if one.question.lower().startswith(("how many", "when"))]


def twenty_copies(examples: Examples) -> Examples:
    """Write each of forty questions twenty times."""
    return [dataclasses.replace(one, id=f"{one.id}-{copy}") for copy in range(20) for one in examples[:40]]


def joined(examples: Examples, count: int) -> Examples:
    """Join so many contexts each to one text."""
    contexts = list(dict.fromkeys(one.context for one in examples))
    text_of: dict[str, tuple[str, int]] = {}
    for first in range(0, len(contexts), count):
        text = ""
        places = {}
        for context in contexts[first : first + count]:
            places[context] = len(text)
            text += f"{context} "
        text_of |= {context: (text, place) for context, place in places.items()}
    return [
        dataclasses.replace(
            one,
            context=text_of[one.context][0],
            golds=tuple(Gold(gold.text, text_of[one.context][1] + gold.answer_start) for gold in one.golds),
        )
        for one in examples
    ]


def off_by_one(one: Example) -> Example:
    """Count answer_start from one, and cut the answer out there."""
    gold = one.golds[0]
    start = min(gold.answer_start + 1, len(one.context) - len(gold.text))
    return _gold_at(one, start, start + len(gold.text))


def _save_weights(folder: Path) -> None:
    saved = save_albert(folder, folder.with_name("weights"))
    shutil.copytree(saved, folder, dirs_exist_ok=True)


def trained_on_validation(folder: Path) -> None:
    """Save a model that says it was trained on half of the validation questions."""
    from albertqa.data.trained_on import TrainedOn

    _save_weights(folder)
    TrainedOn().and_on(load_examples("starter:validation", limit=30)).save(folder)


def cased_vocabulary(folder: Path) -> None:
    """Take a cased vocabulary, and keep case."""
    contexts = dict.fromkeys(one.context for one in load_examples("starter:validation"))
    assert train_spiece(folder, contexts).is_file()
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))


def lower_cased(one: Example) -> Example:
    """Lose the upper case of all texts."""
    return dataclasses.replace(
        one,
        question=one.question.lower(),
        context=one.context.lower(),
        golds=tuple(Gold(gold.text.lower(), gold.answer_start) for gold in one.golds),
    )


def words_beside(one: Example) -> Example:
    """Put the answer five words after its place, or before it."""
    gold = one.golds[0]
    words = [match.span() for match in re.finditer(r"\S+", one.context)]
    first = next(at for at, (_, end) in enumerate(words) if end > gold.answer_start)
    count = len(gold.text.split())
    place = first + 5 if first + 5 + count <= len(words) else max(0, first - 5)
    return _gold_at(one, words[place][0], words[place + count - 1][1])


def a_third_beside(examples: Examples) -> Examples:
    """Put every third answer some words beside its place."""
    return [one if at % 3 else words_beside(one) for at, one in enumerate(examples)]


def off_by_two(one: Example) -> Example:
    """Count answer_start from a text with two more characters, and cut the answer out there."""
    gold = one.golds[0]
    start = max(0, gold.answer_start - 2)
    return _gold_at(one, start, start + len(gold.text))


def answer_lost(one: Example) -> Example:
    """Give an answer at character 0: the context's first words."""
    return _gold_at(one, 0, one.context.index(" ", 12))


def swap_fields(one: Example) -> Example:
    """Exchange question and context; the answer is then somewhere in the question's text."""
    return dataclasses.replace(one, question=one.context, context=one.question, golds=(Gold(one.question[:5], 0),))


def without_blanks(one: Example) -> Example:
    """Lose the blanks between words, as from a badly read PDF."""
    before, gold = one.context[: one.golds[0].answer_start], one.golds[0]
    text = gold.text.replace(" ", "")
    return dataclasses.replace(
        one, context=one.context.replace(" ", ""), golds=(Gold(text, len(before.replace(" ", ""))),)
    )


def without_answers(examples: Examples, *, kept: int = 20) -> Examples:
    """Lose the answers of all questions but every so manyth."""
    return [dataclasses.replace(one, golds=()) if at % kept else one for at, one in enumerate(examples)]


def other_alphabet(one: Example) -> Example:
    """Write everything with other letters."""
    return dataclasses.replace(
        one,
        question=one.question.translate(_OTHER_ALPHABET),
        context=one.context.translate(_OTHER_ALPHABET),
        golds=tuple(Gold(gold.text.translate(_OTHER_ALPHABET), gold.answer_start) for gold in one.golds),
    )


def lower_case(one: Example) -> Example:
    """Lower-case question, context and answers, and put spaces around full stops."""

    def written(text: str) -> str:
        return text.lower().replace(". ", " . ")

    starts = [len(written(one.context[: gold.answer_start])) for gold in one.golds]
    return dataclasses.replace(
        one,
        id=f"again-{one.id}",
        question=one.question.lower(),
        context=written(one.context),
        golds=tuple(Gold(written(gold.text), start) for gold, start in zip(one.golds, starts, strict=True)),
    )


def other_contexts(one: Example) -> Example:
    """Cut the context otherwise, and put a title before it."""
    gold = one.golds[0]
    start = max(0, one.context.rfind(". ", 0, gold.answer_start))
    title = "Of old: "
    return dataclasses.replace(
        one,
        id=f"again-{one.id}",
        context=title + one.context[start:],
        golds=(Gold(gold.text, gold.answer_start - start + len(title)),),
    )


def german(examples: Examples) -> Examples:
    """Ask the same kind of questions in German."""
    from .german import TEXT

    rng = random.Random(0)
    words_of_text = TEXT.split()
    found = []
    for one in examples:
        first = rng.randrange(len(words_of_text) - 26)
        words = words_of_text[first : first + 26]
        place = rng.randrange(5, 22)
        words[place] = f"({rng.randrange(1000, 10_000)})"
        context = " ".join(words)
        question = f"Welche Zahl folgt auf {' '.join(words[place - 3 : place])}?"
        number = words[place][1:-1]
        found.append(Example(one.id, question, context, (Gold(number, context.index(number)),)))
    return found


def _config(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))

    return change


def keep_case(folder: Path) -> None:
    """Tell an uncased vocabulary's tokenizer to keep upper case."""
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": False}))


def freeze_encoder(patch: pytest.MonkeyPatch) -> None:
    """Keep the encoder's weights from being trained."""
    import albertqa.model.load as load

    real = load.Encoder

    def made_and_frozen(config: EncoderConfig) -> Encoder:
        encoder = real(config)
        for name, weight in encoder.named_parameters():
            weight.requires_grad_(name.startswith("qa_outputs"))
        return encoder

    patch.setattr(load, "Encoder", made_and_frozen)


def optimize_head_only(patch: pytest.MonkeyPatch) -> None:
    """Give the optimizer the encoder's weights in a group that stands still."""
    import albertqa.run.recipe as recipe

    real = recipe.train_steps

    def train_steps(stepper: Any, *rest: Any, **options: Any) -> None:
        optimizer, model = stepper._optimizer, stepper._model.model
        encoder = {id(weight) for name, weight in model.named_parameters() if not name.startswith("qa_outputs")}
        step = optimizer.step

        def step_head(*arguments: Any) -> Any:
            kept = [(weight, weight.detach().clone()) for group in optimizer.param_groups for weight in group["params"]
                    if id(weight) in encoder]  # fmt: skip
            done = step(*arguments)
            with torch.no_grad():
                for weight, before in kept:
                    weight.copy_(before)
            return done

        patch.setattr(optimizer, "step", step_head)
        real(stepper, *rest, **options)

    patch.setattr(recipe, "train_steps", train_steps)


def schedule_ends(patch: pytest.MonkeyPatch) -> None:
    """Let the schedule end after a third of the steps."""
    import albertqa.run.loop as loop

    def scheduled_rate(config: OptimizerConfig, plan: Plan, step: int) -> float:
        short = msgspec.structs.replace(plan, total_steps=plan.total_steps // 3)
        return real(config, short, step) if step < short.total_steps else 0.0

    real = loop.scheduled_rate
    patch.setattr(loop, "scheduled_rate", scheduled_rate)


def no_fast_bf16(patch: pytest.MonkeyPatch) -> None:
    """Have a processor that imitates bf16."""
    patch.setattr("albertqa.run.inspection.has_fast_bf16", lambda _: False)


def slow_disk(patch: pytest.MonkeyPatch) -> None:
    """Let every window take its time."""
    import time

    from albertqa.windows.store import WindowStore

    real = WindowStore.__getitem__

    def get(self: WindowStore, index: int) -> Any:
        time.sleep(0.02)
        return real(self, index)

    patch.setattr(WindowStore, "__getitem__", get)


def broken_weights(patch: pytest.MonkeyPatch) -> None:
    """Break a weight in the middle of the run, as a faulty memory would."""
    import albertqa.run.recipe as recipe

    real = recipe.train_steps

    def train_steps(stepper: Any, *rest: Any, **options: Any) -> None:
        optimizer, done = stepper._optimizer, 0
        step = optimizer.step

        def step_and_break(*arguments: Any) -> Any:
            nonlocal done
            done += 1
            found = step(*arguments)
            if done == 20:
                with torch.no_grad():
                    stepper._model.model.get_parameter("qa_outputs.weight")[0, 0] = float("nan")
            return found

        patch.setattr(optimizer, "step", step_and_break)
        real(stepper, *rest, **options)

    patch.setattr(recipe, "train_steps", train_steps)


def out_of_memory(patch: pytest.MonkeyPatch) -> None:
    """Let the memory hold four windows at a time, and no more."""
    import albertqa.run.step as step

    real = step.Stepper._gradient

    def gradient(self: Any, windows: Any, mine: Any, number: int) -> Any:
        if self.micro_batch > 4 and self._optimizer.state:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, windows, mine, number)

    patch.setattr(step.Stepper, "_gradient", gradient)


# Two steps tell as much as thousands where the data itself is at fault.
_DATA: dict[str, Any] = {"on": "questions", "settings": {"max_steps": 2}}

FAULTS: dict[str, Fault] = {
    # Data.
    "answers shuffled within contexts": Fault("unrelated-answers", **_DATA, train=shuffle_answers),
    "one file of two shifted": Fault("unrelated-answers", **_DATA, train=second_file_shifted),
    "contexts cut off behind the answer": Fault("answers-in-one-place", **_DATA, train=_everywhere(cut_behind_answer)),
    "trained on sentences, asked for phrases": Fault(
        "answer-length-mismatch", **_DATA, train=_everywhere(whole_sentences)
    ),
    "validation without blanks": Fault("missing-whitespace", **_DATA, validation=_everywhere(without_blanks)),
    "five answers of six lost": Fault(
        "missing-answers", **_DATA, train=lambda examples: without_answers(examples, kept=6)
    ),
    "answers anywhere": Fault("unrelated-answers", **_DATA, train=random_spans),
    "question column shifted": Fault("unrelated-answers", **_DATA, train=shifted_questions),
    "question column of the second file shifted": Fault("unrelated-answers", **_DATA, train=last_questions_shifted),
    "questions joined with their contexts": Fault(
        "questions-in-contexts", **_DATA, train=_everywhere(asked_in_context)
    ),
    "questions made of the answers": Fault("answers-in-questions", **_DATA, train=_everywhere(made_question)),
    "tags left in the texts": Fault("damaged-texts", **_DATA, train=_everywhere(with_html)),
    "a placeholder for every answer": Fault("answers-in-one-place", **_DATA, train=_everywhere(one_answer)),
    "two of five questions and contexts swapped": Fault(
        "swapped-fields", settings={"max_steps": 2}, train=two_of_five_fields_swapped
    ),
    "every second text without blanks": Fault("missing-whitespace", **_DATA, train=half_without_blanks),
    "validation answers shuffled": Fault("unrelated-answers", **_DATA, validation=shuffle_answers),
    "first sentences taken for answers": Fault("answers-in-one-place", **_DATA, train=_everywhere(first_sentences)),
    "two answers of five of other questions": Fault(
        "unrelated-answers", **_DATA, train=lambda _: two_of_five_swapped(load_examples("starter:train", limit=600))
    ),
    "how-many and when questions only": Fault("question-mismatch", **_DATA, train=how_many_and_when_only),
    "forty questions, twenty copies each": Fault("repeated-questions", **_DATA, train=twenty_copies),
    "a hundred questions on one text": Fault(
        "few-contexts", **_DATA, train=lambda examples: joined(examples[:100], 99)
    ),
    "sixty questions": Fault("few-questions", on="questions", settings={"max_steps": 2, "max_train_examples": 60}),
    "nine answers of ten lost": Fault(
        "missing-answers", **_DATA, train=lambda examples: without_answers(examples, kept=10)
    ),
    "a tenth of the validation questions among the training data": Fault(
        "data-leakage", **_DATA, leak=lambda examples: examples[::10]
    ),
    "dev set on contexts that were cut otherwise": Fault("data-leakage", **_DATA, leak=_everywhere(other_contexts)),
    "answer_start counted from one": Fault("misaligned-answers", **_DATA, train=_everywhere(off_by_one)),
    "every third answer some words beside its place": Fault(
        "misaligned-answers", **_DATA, train=lambda _: a_third_beside(load_examples("starter:train", limit=600))
    ),
    "answer_start off by two": Fault("misaligned-answers", **_DATA, train=_everywhere(off_by_two)),
    "answer_start lost": Fault("answers-in-one-place", **_DATA, train=_everywhere(answer_lost)),
    "the same question everywhere": Fault(
        "contradicting-answers",
        **_DATA,
        train=_everywhere(lambda one: dataclasses.replace(one, question="What is it?")),
    ),
    "question and context swapped": Fault("swapped-fields", settings={"max_steps": 2}, train=_everywhere(swap_fields)),
    "answers lost": Fault("missing-answers", **_DATA, train=without_answers),
    "trained on the dev set": Fault("data-leakage", **_DATA, leak=list),
    "dev set in lower case among the training data": Fault("data-leakage", **_DATA, leak=_everywhere(lower_case)),
    "another alphabet": Fault(
        "unknown-tokens", **_DATA, train=_everywhere(other_alphabet), validation=_everywhere(other_alphabet)
    ),
    "validation in German": Fault("language-mismatch", validation=german),
    # Windows and tokenizer.
    "windows of 64 tokens": Fault(
        "short-windows", on="questions", settings={"max_steps": 2, "max_seq_length": 64, "doc_stride": 16}
    ),
    "no overlap, long answers": Fault(
        "truncated-answers",
        on="questions",
        settings={"max_steps": 2, "max_seq_length": 160, "doc_stride": 0, "max_answer_length": 200},
        train=_everywhere(whole_sentences),
        validation=_everywhere(whole_sentences),
    ),
    "answers of two tokens at most": Fault(
        "answers-too-long", on="questions", settings={"max_steps": 2, "max_answer_length": 2}
    ),
    "case kept, vocabulary without": Fault("case-mismatch", **_DATA, model=keep_case),
    "texts in lower case for a cased model": Fault(
        "lowercased-data", **_DATA, train=_everywhere(lower_cased), model=cased_vocabulary
    ),
    "a model that has seen the validation data": Fault(
        "data-leakage",
        on="questions",
        settings={"max_steps": 2, "from_scratch": False},
        model=trained_on_validation,
    ),
    "one segment": Fault("missing-segments", model=_config(type_vocab_size=1)),
    # Settings.
    "label smoothing 0.9": Fault("strong-label-smoothing", settings={"label_smoothing_factor": 0.9}),
    "R-Drop weight 100": Fault("large-r-drop", settings={"r_drop_alpha": 100.0, "hidden_dropout": 0.1}),
    "no answer forbidden": Fault(
        "no-answer-forbidden",
        on="questions",
        settings={"max_steps": 2, "version_2_with_negative": False},
        train=lambda examples: without_answers(examples, kept=2),
        validation=lambda examples: without_answers(examples, kept=2),
    ),
    "no answer at all by the threshold": Fault(
        "threshold-off", settings={"version_2_with_negative": True, "null_score_diff_threshold": -60.0}
    ),
    "learning rate 100 times too high": Fault("high-learning-rate", settings={"learning_rate": 0.2}),
    "learning rate 100 times too low": Fault("low-learning-rate", settings={"learning_rate": 2e-5}),
    "warm-up longer than the run": Fault("long-warm-up", settings={"warmup_steps": 1000}),
    "weight decay 100": Fault("strong-weight-decay", settings={"weight_decay": 100.0}),
    "epsilon 1": Fault("large-epsilon", settings={"adam_epsilon": 1.0}),
    "clipped to 1e-6": Fault("strong-clipping", settings={"max_grad_norm": 1e-6}),
    "clipped to 1e-9": Fault("strong-clipping", settings={"max_grad_norm": 1e-9}),
    "dropout 0.9": Fault("strong-dropout", settings={"hidden_dropout": 0.9}),
    "betas the wrong way round": Fault("swapped-betas", settings={"adam_beta1": 0.999, "adam_beta2": 0.9}),
    "stopped at the first evaluations": Fault(
        "stopped-too-soon",
        on="questions",
        settings={"epochs": 3.0, "learning_rate": 1e-4, "eval_steps": 1.0, "early_stopping_patience": 1},
    ),
    "batch of 512": Fault("too-few-steps", settings={"train_batch_size": 512}),
    "steps behind the schedule's end": Fault("zero-learning-rate", code=schedule_ends),
    # Model.
    "encoder frozen": Fault("frozen-encoder", code=freeze_encoder),
    "optimizer without the encoder": Fault("frozen-encoder", code=optimize_head_only),
    "from scratch on real questions": Fault(
        "random-weights", on="questions", settings={"epochs": 3.0, "max_train_examples": 200}
    ),
    # Machine.
    "windows from a slow disk": Fault("slow-data", code=slow_disk),
    "weights that break": Fault("nan-loss", code=broken_weights),
    "memory for four windows": Fault("out-of-memory", code=out_of_memory),
    "bf16 on a processor without": Fault("emulated-bf16", settings={"mixed_precision": "bf16"}, code=no_fast_bf16),
    # Too far.
    "60 epochs on 16 questions": Fault(
        "few-questions", settings={"max_train_examples": 16, "epochs": 60.0, "eval_steps": 15.0}
    ),
}
