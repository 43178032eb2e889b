"""What a data set says, as one hash: the same for the same examples, whatever file they came from."""

import hashlib
from collections.abc import Iterable

from albertqa.data.example import Example


def content_sha256(examples: Iterable[Example]) -> str:
    """Hash ids, questions, contexts and golds in their order.

    Args:
        examples: The data.

    Returns:
        SHA-256 as 64 hexadecimal digits, equal in every process.
    """
    digest = hashlib.sha256()
    for example in examples:
        parts = [example.id, example.question, example.context]
        for gold in example.golds:
            parts += [gold.text, str(gold.answer_start)]
        # Lengths before the texts, so that no two lists of parts give the same bytes.
        data = [part.encode("utf-8", "surrogatepass") for part in parts]
        digest.update(",".join(str(len(part)) for part in data).encode() + b";" + b"".join(data))
    return digest.hexdigest()
