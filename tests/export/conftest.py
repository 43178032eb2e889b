"""A tiny reader, trained-looking, and the folders that are exported from it."""

from pathlib import Path

import pytest

pytest.importorskip("onnxruntime", reason="no ONNX Runtime (the export extra)")

from albertqa.export.exporting import export
from decode.cases import save_reader

DATA = "starter:validation"
KINDS = ("fp32", "faithful", "fast")


@pytest.fixture(scope="session")
def reader_folder(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny reader with drawn weights."""
    return save_reader(tmp_path_factory.mktemp("reader"), tiny_folder)


@pytest.fixture(scope="session")
def exported(reader_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The reader exported in every form."""
    folders = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ALBERTQA_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        for kind in KINDS:
            folders[kind] = tmp_path_factory.mktemp("exported") / kind
            # A reader with drawn weights answers at random, so that anything may change.
            options = {} if kind == "fp32" else {"form": "onnx-int8", "int8": kind, "max_f1_loss": 100.0}
            export(reader_folder, folders[kind], data=[DATA], limit=20, least_same_percent=0.0, **options)
    return folders
