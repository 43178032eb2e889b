"""Hugging Face data sets: Hub names, folders saved by `save_to_disk`, and the choice of a split.

Nothing here runs code from a data set: `trust_remote_code` is never set.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from albertqa.data.problems import SourceError, listed
from albertqa.errors import printable
from albertqa.files import first_line

_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::(\S+))?")
_OLD_NAMES = {"squad": "rajpurkar/squad", "squad_v2": "rajpurkar/squad_v2"}
_FILE_SUFFIXES = {
    ".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".parquet", ".xlsx", ".gz", ".xz", ".bz2", ".zst", ".zip",
}  # fmt: skip


def parse_hub_name(text: str) -> tuple[str, str | None] | None:
    """Read `OWNER/NAME` or `OWNER/NAME:SPLIT`; plain `squad` and `squad_v2` are known too.

    Returns:
        The name and the split, if given; None where the text is no Hub name.

    >>> parse_hub_name("rajpurkar/squad:validation")
    ('rajpurkar/squad', 'validation')
    >>> parse_hub_name("data/train.json") is None
    True
    """
    bare, _, split = text.partition(":")
    if bare in _OLD_NAMES:
        return _OLD_NAMES[bare], split or None
    match = _HUB_NAME.fullmatch(text)
    if match is None or Path(match[1]).suffix.lower() in _FILE_SUFFIXES or match[1].startswith("."):
        return None
    return match[1], match[2]


def fetch_dataset(name: str, split: str | None) -> Any:
    """Load a `datasets.Dataset` of the Hub, from the local cache or over the network.

    Args:
        name: `OWNER/NAME`.
        split: The split, or a slice of one as `datasets` writes it; None where the set has only one.

    Raises:
        SourceError: Not fetched, or the split is not there.
    """
    import datasets

    try:
        cached = Path(datasets.config.HF_DATASETS_CACHE) / name.replace("/", "___")
        if not (cached.is_dir() or _hub_answers(name)):
            raise ConnectionError("no network")
        found = datasets.load_dataset(name, split=split)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        message = (
            f"no such file or folder, and no data set of that name came from the Hub ({_reason(error)}); "
            "give a local file, or check the name, the split and the network"
        )
        raise SourceError("not-fetched", message) from error
    return pick_split(found, None)


def _hub_answers(name: str) -> bool:
    """Ask the Hub once: without a network, `datasets` would try for most of a minute, and print each try."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(name, timeout=10)
    except HfHubHTTPError:
        # An answer all the same: why it is no data set is for `datasets` to say.
        return True
    except Exception:  # noqa: BLE001 -- the errors of whichever HTTP client the Hub's library is built on
        return False
    return True


def load_folder(folder: Path, split: str | None) -> Any:
    """Load what `Dataset.save_to_disk` wrote into a folder, or one split of what `DatasetDict.save_to_disk` did.

    Raises:
        SourceError: Not such a folder, or the split is not there.
    """
    if not any((folder / name).is_file() for name in ("state.json", "dataset_dict.json")):
        message = "expected a file or a folder saved by Dataset.save_to_disk, found another folder; name the file in it"
        raise SourceError("unreadable-file", message)
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        raise SourceError("unreadable-file", f"a saved data set that does not load: {_reason(error)}") from error
    return pick_split(found, split)


def pick_split(found: Any, split: str | None) -> Any:
    """Take one split of a `DatasetDict`, None where there is only one; a plain data set passes through.

    Raises:
        SourceError: The split is missing or must be named.
    """
    if not isinstance(found, Mapping):
        if split is not None and str(getattr(found, "split", None)) != split:
            message = f"expected the split {printable(split)}, found a data set without splits; leave the split out"
            raise SourceError("unknown-structure", message)
        return found
    if split is None and len(found) == 1:
        return next(iter(found.values()))
    if split is None:
        message = f"expected one split, found {listed(found)}; name one, as in NAME:{next(iter(found), '')} or split="
        raise SourceError("unknown-structure", message)
    if split not in found:
        raise SourceError("unknown-structure", f"expected the split {printable(split)}, found {listed(found)}")
    return found[split]


def _reason(error: BaseException) -> str:
    return printable(f"{type(error).__name__}: {first_line(error)}")
