"""The forms of requests and responses, and what is wrong with a request in one sentence."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import PydanticCustomError

from albertqa.errors import did_you_mean

_EXAMPLE_CONTEXT = "Norman rule began in 1066, when William of Normandy crossed the Channel."


def _not_blank(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "blank")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]


class Form(BaseModel):
    """A form with these fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TaskPair(Form):
    """A question and the text that should hold its answer."""

    question: Text = Field(description="The question.")
    context: Text = Field(description="The text that should hold the answer, of any length.")


class TaskParameters(Form):
    """How to answer; what is left out is as the model was trained."""

    top_k: int = Field(
        default=1, ge=1, le=20, description="Answers to return; with more than one, they come as a list."
    )
    max_answer_len: int | None = Field(default=None, ge=1, le=512, description="Longest answer, in tokens.")
    handle_impossible_answer: bool | None = Field(default=None, description='Whether "no answer" may be the answer.')
    doc_stride: int | None = Field(
        default=None, ge=0, le=512, description="Overlap of neighbouring windows, in tokens."
    )
    max_seq_len: int | None = Field(
        default=None, ge=8, le=4096, description="Most tokens of a window, with the question."
    )
    max_question_len: int | None = Field(default=None, ge=1, description="Taken and not used: no question is ever cut.")
    align_to_words: bool | None = Field(default=None, description="Extend answers to whole words.")


def _kind(value: Any) -> str:
    return "many" if isinstance(value, list) else "one"


class TaskRequest(Form):
    """Hugging Face's question-answering task."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"inputs": {"question": "When did Norman rule begin?", "context": _EXAMPLE_CONTEXT}},
                {
                    "inputs": [
                        {"question": "Who crossed the Channel?", "context": _EXAMPLE_CONTEXT},
                        {"question": "When?", "context": _EXAMPLE_CONTEXT},
                    ],
                    "parameters": {"top_k": 2, "max_answer_len": 15},
                },
            ]
        }
    )

    inputs: Annotated[
        Annotated[TaskPair, Tag("one")] | Annotated[list[TaskPair], Field(min_length=1), Tag("many")],
        Discriminator(_kind),
    ] = Field(description="A question, or a list of them.")
    parameters: TaskParameters | None = Field(default=None, description="How to answer.")
    options: dict[str, Any] | None = Field(
        default=None, description="Taken and not used (`wait_for_model` and the like)."
    )


class TaskAnswer(Form):
    """An answer in Hugging Face's form."""

    answer: str = Field(description='The answer, verbatim from the context; "" for "no answer".')
    score: float = Field(description="How likely it is right, from 0 to 1.")
    start: int = Field(description="Its first character in the context, in code points.")
    end: int = Field(description="The character after its last one.")


class Document(Form):
    """A text to look in."""

    id: str | None = Field(
        default=None, min_length=1, max_length=200, description="What to call it; left out: its number."
    )
    text: Text = Field(description="Its text, of any length.")


class AnswerRequest(Form):
    """One question on one or several documents."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "question": "When did Norman rule begin?",
                    "documents": [
                        {"id": "normans", "text": _EXAMPLE_CONTEXT},
                        {"id": "mongols", "text": "The Mongol Empire was founded in 1206."},
                    ],
                    "n_best": 3,
                }
            ]
        }
    )

    question: Text = Field(description="The question.")
    documents: list[Document] = Field(min_length=1, description="Where to look.")
    n_best: int = Field(default=1, ge=1, le=20, description="Candidates to return.")
    allow_no_answer: bool | None = Field(
        default=None, description='Whether "no answer" may be the answer; left out: as the model was trained.'
    )
    max_answer_length: int | None = Field(default=None, ge=1, le=512, description="Longest answer, in tokens.")
    min_probability: float | None = Field(
        default=None, ge=0, le=1, description='Answers that are less probable become "no answer".'
    )
    deadline_seconds: float | None = Field(
        default=None, gt=0, le=3600, description="Longest time to wait; never longer than the server's own."
    )


class Span(Form):
    """A possible answer and its place; without a document and a place for "no answer"."""

    text: str = Field(description='The answer, verbatim from its document; "" for "no answer".')
    probability: float = Field(description="How likely it is right, from 0 to 1.")
    score: float = Field(description="Start logit plus end logit.")
    document: str | None = Field(default=None, description="Id of its document.")
    start: int | None = Field(default=None, description="Its first character, in code points (Python).")
    end: int | None = Field(default=None, description="The character after its last one.")
    start_utf16: int | None = Field(
        default=None, description="Its first character, in UTF-16 units (JavaScript, Java, C#)."
    )
    end_utf16: int | None = Field(default=None, description="The unit after its last one.")


class AnswerResponse(Form):
    """The answer to a question."""

    answer: Span | None = Field(description='The answer; null for "no answer".')
    probability: float = Field(description='How likely that is right, from 0 to 1; of "no answer" where it is that.')
    null_score: float | None = Field(description='Score of "no answer"; null where the model knows none.')
    n_best: list[Span] = Field(description="The best candidates over all documents, what is answered first.")
    num_tokens: int = Field(description="Tokens that the model read.")


class ModelFacts(Form):
    """A model, how it reads, and what its server accepts."""

    model: str = Field(description="Its name.")
    max_seq_length: int = Field(description="Most tokens of a window.")
    doc_stride: int = Field(description="Overlap of neighbouring windows, in tokens.")
    max_answer_length: int = Field(description="Longest answer, in tokens.")
    knows_no_answer: bool = Field(description='Whether it says "no answer" unless told otherwise.')
    is_calibrated: bool = Field(description="Whether its probabilities were fitted to how often it is right.")
    has_documents: bool = Field(description="Whether it has indexed documents.")
    needs_api_key: bool = Field(description="Whether requests must carry a key.")
    max_body_bytes: int = Field(description="Longest body, in bytes.")
    max_questions: int = Field(description="Most questions of one request.")
    max_documents: int = Field(description="Most documents of one request.")
    max_request_tokens: int = Field(description="Most tokens that one request may need.")
    deadline_seconds: float = Field(description="Longest time that a request may take.")


class DocumentList(Form):
    """Names of indexed documents."""

    documents: list[str] = Field(description="The names, sorted.")
    total: int = Field(description="How many there are.")


class Problem(Form):
    """Why a request has no answer."""

    error: str = Field(description="One sentence: field, expected, found.")
    field: str | None = Field(default=None, description="The field that is wrong.")


_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing_size": "a smaller number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "too_short": "at least {min_length} of them",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "greater_than": "above {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "less_than_equal": "at most {le:g}",
    "finite_number": "a finite number",
    "blank": "text that is not only white space",
}
"""What pydantic's errors say, in our words."""
_FIELDS = sorted(
    {name for form in (TaskRequest, TaskPair, TaskParameters, AnswerRequest, Document) for name in form.model_fields}
)


def explain(errors: Sequence[Any]) -> Problem:
    """Return the first of pydantic's errors, as `ValidationError.errors()` lists them, as one sentence."""
    first = errors[0]
    path = [part for part in first["loc"] if part not in {"body", "one", "many"}]
    name = re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else part[:40] for part in path))
    name = name or "the body"
    if first["type"] == "missing":
        return Problem(error=f"{name}: expected a value, found none", field=name)
    if first["type"] == "extra_forbidden":
        return Problem(error=f"{name}: no such field{did_you_mean(str(path[-1]), _FIELDS)}", field=name)
    expected = _EXPECTED.get(first["type"], first["msg"]).format(**first.get("ctx", {}))
    return Problem(error=f"{name}: expected {expected}, found {shown(first.get('input'))}", field=name)


def shown(value: Any) -> str:
    """Return a value of a request in at most forty characters of ASCII."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value[:41] if isinstance(value, str) else value)
    return text if len(text) <= 40 else f"{text[:40]}..."
