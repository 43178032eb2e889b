"""Rules about windows: do they hold the answers, and not each text over and over?"""

from collections.abc import Iterator

from albertqa.health.advice import check_data, train_again
from albertqa.health.record import RunRecord
from albertqa.rundir.findings import Finding


def cut_answers(record: RunRecord) -> Iterator[Finding]:
    """Answers that no window holds whole."""
    golds, lost, settings = record.data("train").golds, record.data("train").golds_in_no_window, record.settings
    if golds and lost is not None and lost > 0.02 * golds:
        longest = max(record.model.max_positions or 512, settings.max_seq_length)
        length = min(longest, max(384, settings.max_seq_length * 4 // 3))
        # Where windows are as long as the model reads, only more overlap is left.
        stride = max(settings.doc_stride, length // 3 if length > settings.max_seq_length else length // 2)
        is_other = (length, stride) != (settings.max_seq_length, settings.doc_stride)
        yield Finding(
            "answers-cut",
            "error" if lost > 0.2 * golds else "warning",
            0,
            f"{lost:,} of {golds:,} training answers ({100 * lost / golds:.3g} %) are in no window whole: they lie "
            f"across the edges of windows of {settings.max_seq_length} tokens that overlap by {settings.doc_stride}. "
            "They are trained as having no answer. "
            + ("Take longer windows, or let them overlap more." if is_other else
               "No windows would hold them: give shorter answers."),
            train_again(record, "longer-windows", max_seq_length=length, doc_stride=stride)
            if is_other
            else check_data(record),
            {"golds_in_no_window": lost, "golds": golds, "max_seq_length": settings.max_seq_length,
             "doc_stride": settings.doc_stride},
        )  # fmt: skip


def short_windows(record: RunRecord) -> Iterator[Finding]:
    """Windows so short that most of them hold no answer."""
    empty, windows, questions = (
        getattr(record.data("train"), name) for name in ("windows_without_answer", "windows", "questions")
    )
    unanswered = record.data("train").without_answer
    settings, longest = record.settings, int(record.model.max_positions or 512)
    # Of the windows of questions that have an answer; some of those without are counted twice, which only helps them.
    share = max(0.0, (empty - unanswered) / max(1, windows - unanswered))
    length = min(384, longest)
    if share < 0.5 or settings.max_seq_length >= length:
        return
    yield Finding(
        "short-windows",
        "error" if share > 0.7 else "warning",
        0,
        f"{100 * share:.0f} % of the training windows hold no answer, because max_seq_length is only "
        f"{settings.max_seq_length} tokens: a question has {windows / questions:.1f} windows, and the answer is in "
        "one or two of them. The model learns above all to point at nothing. Take longer windows.",
        train_again(record, "longer-windows", max_seq_length=length, doc_stride=min(128, length // 3)),
        {"windows_without_answer_percent": round(100 * share, 2), "max_seq_length": settings.max_seq_length,
         "windows_per_question": round(windows / questions, 2)},
    )  # fmt: skip


def much_overlap(record: RunRecord) -> Iterator[Finding]:
    """Windows that overlap so much that each text is read several times."""
    question, context = (getattr(record.data("train"), f"{what}_tokens_mean") for what in ("question", "context"))
    if question is None or context is None:
        return
    settings = record.settings
    per_question = record.data("train").windows / record.data("train").questions
    needed = max(1.0, context / max(1.0, settings.max_seq_length - question - 3))
    if per_question < 3 * needed or settings.doc_stride < 0.5 * settings.max_seq_length:
        return
    yield Finding(
        "much-overlap",
        "warning",
        0,
        f"A question has {per_question:.1f} windows where {needed:.1f} would hold its text: windows of "
        f"{settings.max_seq_length} tokens overlap by doc_stride, {settings.doc_stride}. Training and evaluation "
        "take that many times longer. A third of the window is plenty.",
        train_again(record, "less-overlap", doc_stride=settings.max_seq_length // 3),
        {"windows_per_question": round(per_question, 3), "windows_needed": round(needed, 3),
         "doc_stride": settings.doc_stride, "max_seq_length": settings.max_seq_length},
    )  # fmt: skip
