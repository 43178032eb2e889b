"""The bundled starter set: original questions on original paragraphs (CC0), as official SQuAD JSON.

Big enough to train and evaluate on offline, small enough to read. `README.md` beside this file says how it was written.
"""

from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args

from albertqa.errors import DataError

Split = Literal["train", "dev"]


def starter_file(split: Split, *, version_2: bool = False) -> Path:
    """Return the path of one of the starter set's four files.

    Args:
        split: The part to train on or the part to evaluate on; they share no title.
        version_2: The SQuAD v2.0 file, which adds questions that their paragraph does not answer.

    Returns:
        A SQuAD JSON file inside the installed package; read it, do not write to it.

    Raises:
        DataError: There is no such split.

    >>> starter_file("dev").name, starter_file("train", version_2=True).name
    ('dev-v1.1.json', 'train-v2.0.json')
    """
    if split not in get_args(Split):
        raise DataError(f"starter set: expected the split 'train' or 'dev', found {split!r}")
    return Path(str(files(__name__) / f"{split}-v{'2.0' if version_2 else '1.1'}.json"))
