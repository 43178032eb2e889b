"""Fixtures that every test may use."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from albertqa.data.reading import load_examples
from albertqa.data.starter import starter_file
from vocabulary import save_tiny_albert, train_spiece

# A busy machine makes an example slow, not wrong.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data files, or a skip with its reason."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ALBERTQA_DATA", default))
    if not (folder / "squad").is_dir():
        pytest.skip(f"no real data at {folder} (set ALBERTQA_DATA)")
    return folder


@pytest.fixture(scope="session")
def spiece_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SentencePiece model of ALBERT's form with 1,000 pieces, trained on the bundled starter set."""
    folder = tmp_path_factory.mktemp("spiece")
    contexts = dict.fromkeys(example.context for example in load_examples(starter_file("train")))
    return train_spiece(folder, (context.lower() for context in contexts))


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory, spiece_model: Path) -> Path:
    """A model folder without weights: config of a tiny ALBERT and its tokenizer, for training from scratch."""
    return save_tiny_albert(tmp_path_factory.mktemp("tiny-albert"), spiece_model)


@pytest.fixture(scope="session")
def runtime() -> Path:
    """ONNX Runtime Web's files, from npm or its cache, or a skip with the reason."""
    pytest.importorskip("onnxruntime", reason="no ONNX Runtime (the export extra)")
    from albertqa.errors import AlbertQAError
    from albertqa.export.browser import runtime_files

    with pytest.MonkeyPatch.context() as patch:
        # One cache for all sessions: the tests' own begins empty, and these are 14 MB from elsewhere.
        patch.delenv("ALBERTQA_CACHE", raising=False)
        try:
            return runtime_files(None)
        except AlbertQAError as error:
            pytest.skip(str(error))


@pytest.fixture(scope="session")
def browser() -> Iterator["object"]:
    """Headless Chromium, or a skip with its reason; one for all tests, as Playwright runs once in a process."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    executable = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    if executable is None:
        pytest.skip("no Chromium (Debian: apt-get install chromium)")
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync"
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=executable, args=flags.split())
        yield chromium
        chromium.close()


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute on one thread: small matrices are slower on more, and sums then have one order."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep tests out of the user's cache; one cache for the session, so that stores are built once."""
    monkeypatch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
