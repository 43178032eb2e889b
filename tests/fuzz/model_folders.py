"""Damaged model folders of every family, as a Hub's user may get them."""

import random
import shutil
from pathlib import Path
from unittest import mock

from albertqa.errors import ModelError
from albertqa.model.load import load_model
from model.families import CPU, JUDGES, judge
from model.hostile import DAMAGES, MARKER

from .commands import error_kind


class ModelFolders:
    """Folders that are damaged in every way in turn.

    Args:
        folder: Where the good ones go.
    """

    def __init__(self, folder: Path) -> None:
        self.good = {family: folder / family for family in JUDGES}
        for family, path in self.good.items():
            judge(family).save_pretrained(path)

    def __call__(self, number: int, rng: random.Random, folder: Path) -> str:
        family = rng.choice(sorted(self.good))
        model = Path(shutil.copytree(self.good[family], folder / "model"))
        DAMAGES[number % len(DAMAGES)](model, family, rng)
        try:
            with mock.patch("builtins.input", side_effect=AssertionError("asked a question")):
                load_model(model, device=CPU, say=lambda _: None)
        except ModelError as error:
            message = str(error)
        else:
            return "LOADED"
        assert not list(folder.rglob(MARKER)), "code of the folder was run"
        assert message.startswith(f"{model}: ")
        assert message.isprintable()
        assert len(message) < 1000 + len(str(model))
        return error_kind(message)
