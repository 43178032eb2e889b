"""Upload a model folder to the Hub."""

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from albertqa.errors import ModelError
from albertqa.files import first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def push_to_hub(folder: str | PathLike[str], name: str, *, private: bool = False, client: "HfApi | None" = None) -> str:
    """Upload a model folder, with its model card, to the Hub.

    Args:
        folder: A Transformers folder with ``config.json``, weights and tokenizer, such as a run's ``best/``.
        name: ``OWNER/NAME`` on the Hub; created if it does not exist.
        private: Whether a repository that is created is private.
        client: The Hub's client; None: one with the token of ``hf auth login``.

    Raises:
        ModelError: The folder is not a model, or the Hub refused the upload or cannot be reached.
    """
    path = Path(folder)
    for needed in ("config.json", "model.safetensors", "README.md"):
        if not (path / needed).is_file():
            raise ModelError(f"{path}: no {needed} there, expected a model folder with its card, such as RUN/best")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The HTTP library under the client has changed more than once; its base error is always this one's first base.
    transport_error: type[Exception] = HfHubHTTPError.__bases__[0]

    hub = client if client is not None else HfApi()
    try:
        hub.create_repo(name, exist_ok=True, private=private)
        hub.upload_folder(repo_id=name, folder_path=str(path), commit_message="Upload a model fine-tuned with albertqa")
    except HFValidationError as error:
        raise ModelError(f"{name}: not a name on the Hub, expected OWNER/NAME ({_line(error)})") from error
    except HfHubHTTPError as error:
        raise ModelError(
            f"{name}: the Hub refused the upload ({_line(error)}). Log in with a token that may write: hf auth login"
        ) from error
    except (transport_error, OSError) as error:
        raise ModelError(
            f"{name}: the Hub cannot be reached ({_line(error)}). Check the network and try again"
        ) from error
    return f"https://huggingface.co/{name}"


def _line(error: Exception) -> str:
    return first_line(error).rstrip(". ")
