"""Uploading to the Hub, with a fake client: tests have no network."""

from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from albertqa.errors import ModelError
from albertqa.report import push_to_hub


class FakeClient:
    """Replaces `huggingface_hub.HfApi`: records its calls, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.calls: list[tuple[Any, ...]] = []

    def create_repo(self, repo_id: str, *, exist_ok: bool, private: bool) -> None:
        self.calls.append(("create", repo_id, exist_ok, private))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        if self.failure is not None:
            raise self.failure
        self.calls.append(("upload", repo_id, folder_path, bool(commit_message)))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_folder_is_uploaded_under_its_name(model: Path) -> None:
    client = FakeClient()
    assert push_to_hub(model, "me/qa", private=True, client=client) == "https://huggingface.co/me/qa"
    assert client.calls == [("create", "me/qa", True, True), ("upload", "me/qa", str(model), True)]


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "README.md"])
def test_the_hub_is_not_called_for_a_folder_that_is_not_a_model(model: Path, missing: str) -> None:
    (model / missing).unlink()
    client = FakeClient()
    with pytest.raises(ModelError, match=f"no {missing} there"):
        push_to_hub(model, "me/qa", client=client)
    assert client.calls == []


def _refused() -> Exception:
    # Its constructor wants a response of the HTTP library in use; the message is all that matters here.
    error = HfHubHTTPError.__new__(HfHubHTTPError)
    error.args = ("403 Forbidden: you cannot write here.\nRequest ID: 1",)
    return error


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (_refused(), "the Hub refused the upload"),
        (
            HFValidationError("Repo id must be in the form 'repo_name'\nmore"),
            "not a name on the Hub, expected OWNER/NAME",
        ),
        (OSError("Connection refused"), "the Hub cannot be reached (Connection refused)"),
    ],
)
def test_errors_of_the_hub_are_one_line(model: Path, failure: Exception, message: str) -> None:
    with pytest.raises(ModelError) as caught:
        push_to_hub(model, "me/qa", client=FakeClient(failure))
    assert message in str(caught.value)
    assert str(caught.value).startswith("me/qa: ")
    assert "\n" not in str(caught.value)
