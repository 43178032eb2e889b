"""A model loads whole or says what is wrong with it, and is saved as a plain Transformers folder."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlbertForQuestionAnswering, AutoModelForQuestionAnswering

from albertqa.errors import ModelError
from albertqa.model import load
from albertqa.model.load import SpanModel, choose_device, choose_precision, load_model

from .cases import random_batch
from .families import JUDGES, judge, ours_of

CPU = torch.device("cpu")
VOCAB_SIZE = 1000
LENGTHS = (40, 3, 17)


@pytest.fixture
def weights_copy(tiny_weights: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(tiny_weights, tmp_path / "copy"))


def drop_tensors(folder: Path, condition: Callable[[str], bool]) -> None:
    path = folder / "model.safetensors"
    tensors = {name: tensor for name, tensor in load_file(path).items() if not condition(name)}
    save_file(tensors, path, metadata={"format": "pt"})


def refusal(source: Path | str, **options: object) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(source, device=CPU, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_folder_names_the_ways_out(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    assert refusal(missing) == (
        f"{missing}: no such folder, and it cannot be fetched from the Hub (HFValidationError). "
        "Give a local folder with the model, connect to a network, or try offline with --model starter"
    )


def test_a_hub_name_without_a_network_names_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refusal("nobody/no-such-albert")
    assert message.startswith("nobody/no-such-albert: no such folder, and it cannot be fetched from the Hub (")
    assert message.endswith("or try offline with --model starter")


def test_a_file_is_not_taken_for_a_folder(tiny_weights: Path) -> None:
    file = tiny_weights / "model.safetensors"
    assert refusal(file) == f"{file}: is a file, expected a Transformers model folder or a Hub name"


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: no config.json there, expected a Transformers model folder"


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "no-such-type"}', "{}"])
def test_an_unusable_config_is_refused(weights_copy: Path, text: str) -> None:
    (weights_copy / "config.json").write_text(text)
    assert refusal(weights_copy).startswith(f"{weights_copy}: config.json cannot be used: ")


def test_missing_encoder_weights_are_counted_and_listed(weights_copy: Path) -> None:
    drop_tensors(weights_copy, lambda name: ".attention.query." in name or "word_embeddings" in name)
    layer = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.query"
    assert refusal(weights_copy) == (
        f"{weights_copy}: 3 encoder weights are not in the model files: "
        f"albert.embeddings.word_embeddings.weight, {layer}.bias, {layer}.weight. "
        "Give the right model, or train from random weights with --from-scratch"
    )


def test_many_missing_encoder_weights_are_listed_in_part(weights_copy: Path) -> None:
    drop_tensors(weights_copy, lambda name: "albert_layers" in name)
    message = refusal(weights_copy)
    assert " 16 encoder weights are not in the model files: " in message
    assert " and 13 more. " in message


def test_a_head_is_needed_only_where_it_is_used(weights_copy: Path) -> None:
    drop_tensors(weights_copy, lambda name: name.startswith("qa_outputs."))
    assert load_model(weights_copy, device=CPU).model.get_submodule("qa_outputs").out_features == 2
    assert refusal(weights_copy, needs_head=True) == (
        f"{weights_copy}: has no trained span head (qa_outputs). Train it first: albertqa train --model {weights_copy}"
    )


def test_weights_of_another_shape_are_refused(weights_copy: Path) -> None:
    config = json.loads((weights_copy / "config.json").read_text())
    (weights_copy / "config.json").write_text(json.dumps({**config, "vocab_size": VOCAB_SIZE + 1}))
    assert refusal(weights_copy) == (
        f"{weights_copy}: 1 weight is of another shape than config.json has it: "
        "albert.embeddings.word_embeddings.weight is 1000 x 16, expected 1001 x 16. "
        "Give the config.json that belongs to these weights"
    )


def test_a_folder_without_weights_names_what_it_has(tiny_folder: Path) -> None:
    assert refusal(tiny_folder) == (
        f"{tiny_folder}: no model.safetensors and no pytorch_model.bin there; found config.json, spiece.model. "
        "Give the folder with the model's weights"
    )


@pytest.mark.parametrize("kept", [0, 7, 100, 0.5, 0.99])
def test_damaged_safetensors_are_named(weights_copy: Path, kept: float) -> None:
    path = weights_copy / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    assert refusal(weights_copy).startswith(f"{weights_copy}: model.safetensors is damaged: ")


def test_from_scratch_takes_the_configuration_and_the_seed_only(tiny_folder: Path, weights_copy: Path) -> None:
    def draw(folder: Path, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(seed)
        return dict(load_model(folder, device=CPU, from_scratch=True).model.state_dict())

    first, again, other = draw(tiny_folder, 1), draw(tiny_folder, 1), draw(tiny_folder, 2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["qa_outputs.weight"], other["qa_outputs.weight"])
    (weights_copy / "model.safetensors").write_bytes(b"never read")
    assert draw(weights_copy, 1).keys() == first.keys()


def is_random_in_training(model: SpanModel) -> bool:
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    model.model.train()
    first, second = (model.logits(batch)[0] for _ in range(2))
    model.model.eval()
    third, fourth = (model.logits(batch)[0] for _ in range(2))
    assert torch.equal(third, fourth)
    return not torch.equal(first, second)


@pytest.mark.parametrize("family", JUDGES)
@pytest.mark.parametrize("option", ["hidden_dropout", "attention_dropout", "head_dropout"])
def test_a_dropout_override_acts_in_training_and_never_in_evaluation(tmp_path: Path, family: str, option: str) -> None:
    plain = ours_of(judge(family, {"vocab_size": VOCAB_SIZE}), tmp_path)
    changed = load_model(tmp_path, device=CPU, **{option: 0.5})  # type: ignore[arg-type]
    assert changed.has_dropout
    assert not plain.has_dropout
    assert not is_random_in_training(plain)
    assert is_random_in_training(changed)
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    assert torch.equal(plain.logits(batch)[0], changed.logits(batch)[0])


def test_dropout_overrides_can_take_the_models_own_away(weights_copy: Path) -> None:
    config = json.loads((weights_copy / "config.json").read_text())
    own = {"hidden_dropout_prob": 0.5, "attention_probs_dropout_prob": 0.5}
    (weights_copy / "config.json").write_text(json.dumps({**config, **own}))
    assert is_random_in_training(load_model(weights_copy, device=CPU))
    assert not is_random_in_training(load_model(weights_copy, device=CPU, hidden_dropout=0.0, attention_dropout=0.0))


def test_head_dropout_leaves_the_saved_names_unchanged(tiny_weights: Path, tmp_path: Path) -> None:
    load_model(tiny_weights, device=CPU, head_dropout=0.3).save(tmp_path)
    saved, original = (load_file(folder / "model.safetensors") for folder in (tmp_path, tiny_weights))
    assert saved.keys() == original.keys()
    assert all(torch.equal(saved[name], original[name]) for name in original)


@pytest.mark.parametrize("opener", [AlbertForQuestionAnswering, AutoModelForQuestionAnswering])
def test_a_saved_folder_opens_in_transformers_with_the_same_logits(
    opener: type[AlbertForQuestionAnswering], tiny_weights: Path, tmp_path: Path
) -> None:
    model = load_model(tiny_weights, device=CPU)
    model.save(tmp_path)
    plain, info = opener.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    batch = random_batch((50,), VOCAB_SIZE)
    with torch.no_grad():
        expected = plain.eval()(input_ids=batch.input_ids[None], token_type_ids=batch.token_type_ids[None])
        start_logits, end_logits = model.logits(batch)
    torch.testing.assert_close(start_logits, expected.start_logits[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(end_logits, expected.end_logits[0], rtol=1e-5, atol=1e-5)


def test_saved_files_are_as_readable_as_any_other(tiny_weights: Path, tmp_path: Path) -> None:
    load_model(tiny_weights, device=CPU).save(tmp_path)
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    (tmp_path / "plain").write_text("")
    assert modes == {(tmp_path / "plain").stat().st_mode}


def test_saving_and_loading_again_gives_bit_equal_logits(tiny_weights: Path, tmp_path: Path) -> None:
    model = load_model(tiny_weights, device=CPU)
    model.save(tmp_path)
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    assert all(map(torch.equal, model.logits(batch), load_model(tmp_path, device=CPU, needs_head=True).logits(batch)))


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_name_that_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"^device is '{name}', expected auto, cpu, cuda, cuda:N or mps$"):
        choose_device(name)


@pytest.mark.parametrize("name", ["cpu:1", "cuda:99", "meta", "vulkan"])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=f"^device is '{name}', but this machine has none. Use --device auto or"):
        choose_device(name)


def test_auto_takes_the_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == CPU


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_fp16_is_for_cuda_only(device: str) -> None:
    with pytest.raises(
        ModelError, match=f"^mixed_precision is fp16 on {device}, expected a CUDA device. Use --mixed-precision auto$"
    ):
        choose_precision("fp16", torch.device(device))


@pytest.mark.parametrize(("is_fast", "expected"), [(True, torch.bfloat16), (False, None)])
def test_auto_precision_takes_bf16_only_where_it_is_fast(
    is_fast: bool, expected: torch.dtype | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "has_fast_bf16", lambda _: is_fast)
    assert choose_precision("auto", CPU) is expected
    assert choose_precision("no", CPU) is None
    assert choose_precision("bf16", CPU) is torch.bfloat16
    assert choose_precision("fp16", torch.device("cuda")) is torch.float16


def test_bf16_computes_in_bf16_and_gives_fp32_logits(tiny_weights: Path) -> None:
    batch = random_batch(LENGTHS, VOCAB_SIZE)
    full = load_model(tiny_weights, device=CPU).logits(batch)[0]
    half = load_model(tiny_weights, device=CPU, precision=torch.bfloat16).logits(batch)[0]
    assert half.dtype is torch.float32
    assert not torch.equal(half, full)
    assert float((half - full).detach().abs().max()) < 0.1 * float(full.detach().abs().max())
