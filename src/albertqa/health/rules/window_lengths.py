"""Rules about what a tokenizer and window lengths make of the data: known text, whole answers, no needless overlap."""

from collections.abc import Iterator

from albertqa.health.advice import show_rows, train_again, use_base_model
from albertqa.health.record import DataView, of_each_part
from albertqa.rundir.findings import Finding
from albertqa.rundir.run_json import PART_NAMES, DataFacts, Part, TextFacts


@of_each_part
def unknown_tokens(view: DataView, part: Part, facts: TextFacts) -> Iterator[Finding]:
    """Text that the vocabulary does not know."""
    percent = (facts.unknown_tokens_percent or 0.0) if isinstance(facts, DataFacts) else 0.0
    if percent < 2:
        return
    yield Finding(
        "unknown-tokens",
        "error" if percent >= 10 else "warning",
        f"{percent:.3g} % of the {PART_NAMES[part]} tokens are unknown to the model's vocabulary; in the model's own "
        "language it is less than 0.2 %. The model cannot read an unknown token. Is the text in a language, script or "
        "encoding that this model was not pretrained on, or is the tokenizer another model's?",
        use_base_model(view),
        {"part": part, "unknown_tokens_percent": percent},
    )


def truncated_answers(view: DataView) -> Iterator[Finding]:
    """Answers that no window holds whole."""
    facts, settings = view.train, view.settings
    lost = _truncated(facts)
    if not lost:
        return
    longest = max(view.max_positions or 512, settings.max_seq_length)
    length = min(longest, max(384, settings.max_seq_length * 4 // 3))
    # Where windows are as long as the model reads, only more overlap is left.
    stride = max(settings.doc_stride, length // 3 if length > settings.max_seq_length else length // 2)
    is_other = (length, stride) != (settings.max_seq_length, settings.doc_stride)
    yield Finding(
        "truncated-answers",
        "error" if lost > 0.2 * facts.answered else "warning",
        f"{lost:,} of {facts.answered:,} training answers ({100 * lost / facts.answered:.3g} %) are truncated: no "
        f"window of max_seq_length {settings.max_seq_length} with doc_stride {settings.doc_stride} holds them whole, "
        "so they are trained as having no answer. "
        + ("Use longer windows, or more overlap." if is_other else "No window would hold them: use shorter answers."),
        train_again(view, "longer-windows", max_seq_length=length, doc_stride=stride)
        if is_other
        else show_rows(view, "truncated-answers"),
        {"golds_in_no_window": lost, "answers": facts.answered, "max_seq_length": settings.max_seq_length,
         "doc_stride": settings.doc_stride},
    )  # fmt: skip


def short_windows(view: DataView) -> Iterator[Finding]:
    """Windows so short that most of them hold no answer."""
    facts, settings = view.train, view.settings
    length = min(384, view.max_positions or 512)
    if not isinstance(facts, DataFacts) or settings.max_seq_length >= length:
        return
    # Of the windows of questions that have an answer; some of those without are counted twice, which only helps them.
    unanswered = facts.without_answer
    share = max(0.0, (facts.windows_without_answer - unanswered) / max(1, facts.windows - unanswered))
    if share < 0.5:
        return
    yield Finding(
        "short-windows",
        "error" if share > 0.7 else "warning",
        f"{100 * share:.0f} % of the training windows hold no answer, because max_seq_length is only "
        f"{settings.max_seq_length} tokens: a question has {facts.windows / facts.questions:.1f} windows, and the "
        "answer is in one or two of them. The model learns above all to predict no answer. Use longer windows.",
        train_again(view, "longer-windows", max_seq_length=length, doc_stride=min(128, length // 3)),
        {"windows_without_answer_percent": round(100 * share, 2), "max_seq_length": settings.max_seq_length,
         "windows_per_question": round(facts.windows / facts.questions, 2)},
    )  # fmt: skip


def large_doc_stride(view: DataView) -> Iterator[Finding]:
    """Windows that overlap so much that each text is read several times."""
    facts, settings = view.train, view.settings
    if not isinstance(facts, DataFacts) or facts.question_tokens_mean is None or facts.context_tokens_mean is None:
        return
    per_question = facts.windows / facts.questions
    needed = max(1.0, facts.context_tokens_mean / max(1.0, settings.max_seq_length - facts.question_tokens_mean - 3))
    if per_question < 3 * needed or settings.doc_stride < 0.5 * settings.max_seq_length:
        return
    yield Finding(
        "large-doc-stride",
        "warning",
        f"A question has {per_question:.1f} windows where {needed:.1f} would hold its context: windows of "
        f"{settings.max_seq_length} tokens overlap by doc_stride, {settings.doc_stride} tokens. Training and "
        "evaluation take that many times longer. A third of the window is enough.",
        train_again(view, "less-overlap", doc_stride=settings.max_seq_length // 3),
        {"windows_per_question": round(per_question, 3), "windows_needed": round(needed, 3),
         "doc_stride": settings.doc_stride, "max_seq_length": settings.max_seq_length},
    )  # fmt: skip


def long_answers(view: DataView) -> Iterator[Finding]:
    """Training answers that are longer than any prediction may be."""
    facts, settings = view.train, view.settings
    long = (facts.golds_too_long or 0) if isinstance(facts, DataFacts) else 0
    # Where answers are truncated at the windows' edges, longer windows come first.
    if long <= 0.05 * facts.answered or _truncated(facts):
        return
    longer = max(64, 3 * settings.max_answer_length)
    yield Finding(
        "answers-too-long",
        "error" if long > 0.3 * facts.answered else "warning",
        f"{long:,} of {facts.answered:,} training answers ({100 * long / facts.answered:.3g} %) are longer than "
        f"max_answer_length ({settings.max_answer_length} tokens), so they can never be predicted whole. Raise it. "
        "A trained model needs no new training: 'albertqa evaluate' takes --max-answer-length, too.",
        train_again(view, "longer-answers", max_answer_length=longer),
        {"golds_too_long": long, "answers": facts.answered, "max_answer_length": settings.max_answer_length},
    )  # fmt: skip


def _truncated(facts: TextFacts) -> int:
    """Return how many answers no window holds whole; 0 where they are few, or unknown."""
    lost = (facts.golds_in_no_window or 0) if isinstance(facts, DataFacts) else 0
    return lost if lost > 0.02 * facts.answered else 0
