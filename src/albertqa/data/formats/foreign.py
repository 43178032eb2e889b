"""Data sets and tools whose JSON is not ours: recognized by their keys, so that one line can name them."""

from collections.abc import Mapping

from albertqa.data.problems import listed, quoted

# What a record is that has these keys. The first that fits counts.
_SCHEMAS = {
    "story questions": "CoQA's conversations",
    "annotations data": "an export of Label Studio",
    "completions data": "an old export of Label Studio",
    "document_text question_text": "Natural Questions",
    "document_html question_text": "Natural Questions",
    "document question annotations": "Natural Questions of the Hub",
    "document_plaintext question_text": "TyDi QA's primary task",
    "question supporting_facts context": "HotpotQA",
    "question entity_pages answer": "TriviaQA of the Hub",
    "Question Answer QuestionId": "TriviaQA",
    "Data Domain": "TriviaQA",
    "features rows": "a page of the Hub's data viewer",
    "columns index data": "pandas' split form (write it with orient='records', lines=True)",
    "passage qa_pairs": "DROP",
    "context_text qas": "CMRC 2018's first form",
    "text questions storyId": "NewsQA",
    "story_id text questions": "NewsQA",
    "article questions options": "RACE",
    "passages query answers": "MS MARCO",
    "support correct_answer": "SciQ",
    "query candidates supports": "WikiHop",
    "sentences qas": "a file of sentences, not of contexts",
    "text label": "an export of an annotation tool (Doccano, Label Studio)",
    "text labels": "an export of an annotation tool (Doccano)",
    "text entities": "an export of an annotation tool (Doccano)",
    "text spans": "Prodigy's annotations",
    "instruction output": "instruction data (Alpaca)",
    "messages": "chat messages",
    "conversations": "chat messages (ShareGPT)",
    "input_ids": "tokens, not texts",
    "premise hypothesis": "natural language inference",
}


def foreign_schema(record: object) -> str:
    """Return what another tool's record is, where that is known, and its keys, for a message.

    >>> foreign_schema({"story": "…", "questions": []})
    "CoQA's conversations (keys story, questions)"
    """
    if not isinstance(record, Mapping):
        return quoted(record)
    name = next((name for keys, name in _SCHEMAS.items() if record.keys() >= set(keys.split())), "other records")
    return f"{name} (keys {listed(record)})"
