"""Models and tokenizers of the Hub: their files in a local folder."""

from collections.abc import Sequence
from pathlib import Path

from albertqa.errors import AlbertQAError


def fetch_folder(name: str, files: Sequence[str], *, refusal: type[AlbertQAError], expected: str, remedy: str) -> Path:
    """Download files of a Hub name, or take them from the Hub's cache.

    Args:
        name: The Hub name; where it is none, it was meant to be a path.
        files: Names or patterns of the files.
        refusal: The error where they cannot be had.
        expected: What the path would have been.
        remedy: What the user can do then, a sentence without its full stop.

    Returns:
        Their folder.

    Raises:
        AlbertQAError: A `refusal`: there is no such name, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise refusal(
            f"{name}: no such {expected}, and it cannot be fetched from the Hub ({type(error).__name__}). {remedy}"
        ) from error
