"""What is observed of model and machine: trained weights are told from fresh ones, and movement from standing still."""

import json
import re
import shutil
from pathlib import Path

import msgspec
import pytest
import torch

from albertqa.model.load import SpanModel, load_model, resolve_model
from albertqa.run.inspection import (
    WeightSample,
    is_untrained,
    machine_facts,
    machine_state,
    model_facts,
    random_layers,
    related_pieces,
)
from albertqa.rundir.run_json import ModelFacts, TokenizerFacts
from albertqa.windows.tokenizer import load_tokenizer


@pytest.fixture
def model(tiny_weights: Path) -> SpanModel:
    return load_model(tiny_weights, device=torch.device("cpu"))


def test_fresh_weights_are_told_from_trained_ones(model: SpanModel) -> None:
    assert is_untrained(model.model)
    norms = [one for one in model.model.modules() if isinstance(one, torch.nn.LayerNorm)]
    with torch.no_grad():
        norms[-1].bias[0] += 1e-8
    assert not is_untrained(model.model)


def test_a_sample_tells_how_far_the_encoder_has_moved(model: SpanModel) -> None:
    sample = WeightSample(model.model)
    assert sample.moved_percent(model.model) == 0.0
    with torch.no_grad():
        # The head and the embeddings' tables do not count: one begins at random, of the other few rows are touched.
        model.model.get_parameter("qa_outputs.weight").mul_(3)
        assert sample.moved_percent(model.model) == 0.0
        for name, weight in model.model.named_parameters():
            if weight.dim() == 2 and "embeddings." not in name:
                weight.mul_(1.01)
    assert sample.moved_percent(model.model) == pytest.approx(1.0, rel=1e-3)


def test_model_and_tokenizer_are_described(model: SpanModel, tiny_weights: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_weights)
    found = model_facts(model, tokenizer, "tiny")
    pairs, alike = related_pieces(model.model.embeddings.word.weight, tokenizer.backend.get_vocab())
    config = json.loads((tiny_weights / "config.json").read_text())
    parameters = sum(one.numel() for one in model.model.parameters())
    expected = ModelFacts(
        source="tiny",
        type="albert",
        parameters=parameters,
        trainable_parameters=parameters,
        tokenizer_sha256=tokenizer.fingerprint,
        hidden_size=config["hidden_size"],
        layers=config["num_hidden_layers"],
        max_positions=512,
        vocabulary=1000,
        segment_types=2,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        untrained=True,
        tokenizer=TokenizerFacts(
            vocabulary=1000,
            segments=[0, 1],
            folds_case=True,
            case_setting="",
            cased_pieces_percent=0.0,
            related_pieces=pairs,
            related_pieces_percent=alike,
        ),
    )
    # Whether its layers are random has tests of its own.
    assert found == msgspec.structs.replace(expected, random_layers=found.random_layers)
    machine = machine_facts(model, tmp_path)
    assert (machine.device, machine.precision) == ("cpu", "float32")
    assert machine.disk_free_bytes


def test_a_tokenizer_that_keeps_case_is_seen(tiny_weights: Path, tmp_path: Path, model: SpanModel) -> None:
    folder = tmp_path / "cased"
    shutil.copytree(tiny_weights, folder)
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": false}')
    tokenizer = load_tokenizer(folder)
    assert model_facts(model, tokenizer, "tiny").tokenizer.folds_case is False


@pytest.mark.parametrize("how", ["normal", "xavier", "kaiming", "uniform", "zeros"])
def test_layers_that_were_drawn_at_random_are_told_from_pretrained_ones(how: str) -> None:
    draw = {
        "normal": lambda weight: torch.nn.init.normal_(weight, std=0.02),
        "xavier": torch.nn.init.xavier_normal_,
        "kaiming": torch.nn.init.kaiming_uniform_,
        "uniform": lambda weight: torch.nn.init.uniform_(weight, -0.05, 0.05),
        "zeros": torch.nn.init.zeros_,
    }[how]
    model = load_model(resolve_model("starter"), device=torch.device("cpu")).model
    assert random_layers(model) == []
    torch.manual_seed(0)
    for name, weight in model.named_parameters():
        # LayerNorms and biases stay: it is the matrices that tell.
        if weight.dim() == 2 and re.match(r".*layers\.[35]\.", name):
            draw(weight.data)
    assert random_layers(model) == [3, 5]


def test_pretrained_layers_in_half_precision_are_pretrained() -> None:
    model = load_model(resolve_model("starter"), device=torch.device("cpu")).model
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(weight.to(torch.bfloat16))
    assert random_layers(model) == []


def test_swap_and_disk_are_read_from_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 100 kB\nSwapCached:     0 kB\nSwapTotal:    2000 kB\nSwapFree:     1500 kB\n")
    monkeypatch.setattr("albertqa.run.inspection._MEMINFO", meminfo)
    found = machine_state(tmp_path)
    assert found["swap_used_bytes"] == 500 * 1024
    assert found["disk_free_bytes"] > 0
    monkeypatch.setattr("albertqa.run.inspection._MEMINFO", tmp_path / "none")
    assert machine_state(tmp_path).keys() == {"disk_free_bytes"}


def test_forms_of_a_word_are_alike_in_their_own_table_and_not_in_another_s() -> None:
    stems = [f"{''.join(chr(97 + int(digit)) for digit in f'{at:04d}')}" for at in range(300)]
    vocabulary = {piece: at for at, piece in enumerate([*stems, *(f"{stem}s" for stem in stems)])}
    torch.manual_seed(0)
    shared = torch.randn(300, 16)
    own = torch.cat([shared, shared]) + 0.3 * torch.randn(600, 16) + 5.0
    assert related_pieces(own, vocabulary) == (300, 100.0)
    for table in (own[torch.randperm(600)], torch.zeros_like(own), torch.randn_like(own)):
        assert related_pieces(table, vocabulary)[1] == pytest.approx(50, abs=10)


@pytest.mark.parametrize("vocabulary", [{}, {"東": 0, "京": 1}, {"river": 0, "rivers": 900}])
def test_a_vocabulary_without_forms_of_words_gives_no_pairs(vocabulary: dict[str, int]) -> None:
    assert related_pieces(torch.randn(4, 8), vocabulary) == (0, 0.0)
