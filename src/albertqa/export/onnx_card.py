"""The README.md of an exported model: how to use it, and what was measured."""

from collections.abc import Sequence
from importlib import metadata

from albertqa.export.gate import Measured, Questions

_PURPOSE = {
    "fp32": "as trained",
    "faithful": "int8, small: weights in int8, computed in fp32",
    "fast": "int8, fast: weights and inputs of layers in int8, one window at a time",
}


def card(
    name: str, model_type: str, measured: Sequence[Measured], questions: Questions | None, difference: float
) -> str:
    """Return the card.

    Args:
        name: What to call the model.
        model_type: Its family.
        measured: The files; the first is the one in fp32.
        questions: What they were measured on, if on anything.
        difference: Largest difference between logits of PyTorch and of ONNX Runtime in fp32.
    """
    plain = " ".join(name.split()).replace("`", "'")
    rows = [
        "| form | size | exact match | F1 | F1 against fp32 (95 % interval) | same spans as fp32 |",
        "| --- | --- | --- | --- | --- | --- |",
        *map(_row, measured),
    ]
    results = "Not evaluated."
    if questions is not None:
        results = (
            "\n".join(rows) + f"\n\nOn {len(questions.examples):,} questions in {len(questions.store):,} windows of "
        )
        results += f"{_code(questions.name)}, by the official SQuAD metric."
    kept = [
        f"In {one.kind} these matrices stay fp32, as rounding them lost too much: {', '.join(map(_code, one.in_fp32))}."
        for one in measured
        if one.in_fp32
    ]
    parts = [
        "---\nlibrary_name: onnx\npipeline_tag: question-answering\ntags:\n- albertqa\n- extractive-qa\n- onnx\n"
        f"- {model_type}\n---",
        f"# {plain}",
        "An extractive question-answering model as ONNX, with ALBERT's shared layers stored once.",
        "## Use\n\n```python\nimport albertqa\n\n"
        f'answer = albertqa.Answerer({plain!r}, backend="onnx").answer("Who …?", "The context …")\n'
        "print(answer.text, answer.probability)\n```\n\nNo PyTorch is loaded. Where both files are there, the int8 one "
        "is used. Inputs are `input_ids`, `attention_mask` and, where the model has segments, `token_type_ids`, each "
        "(batch, length); outputs are `start_logits` and `end_logits`.",
        f"## Results\n\n{results}",
        *kept,
        f"Logits of the fp32 file and of PyTorch differ by at most {difference:.1e} on windows of several lengths.",
        f"Written by albertqa {metadata.version('albertqa')}, with onnx {metadata.version('onnx')} and measured with "
        f"onnxruntime {metadata.version('onnxruntime')}.",
    ]
    return "\n\n".join(parts) + "\n"


def _row(one: Measured) -> str:
    change, same = "", ""
    if one.f1_change is not None:
        change = f"{one.f1_change.mean:+.2f} ({one.f1_change.low:+.2f} to {one.f1_change.high:+.2f})"
        same = f"{one.same_percent:.1f} %"
    return f"| {_PURPOSE[one.kind]} | {one.megabytes:.1f} MB | {one.exact:.2f} | {one.f1:.2f} | {change} | {same} |"


def _code(text: str) -> str:
    line = " ".join(text.split()).replace("`", "'").replace("|", "\\|")
    return f"`{line}`"
