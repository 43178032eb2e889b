"""Model folders: what Transformers saved is read whatever its form, and what is saved here Transformers opens."""

import json
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AlbertForMaskedLM,
    AutoModel,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    BertForPreTraining,
    PreTrainedModel,
)

from albertqa.errors import ModelError
from albertqa.model import load
from albertqa.model.families import FAMILIES
from albertqa.model.load import load_model
from albertqa.model.weights import CONFIG_JSON, PICKLED, SAFETENSORS
from albertqa.schema import LFS_POINTER

from .families import CPU, JUDGES, VOCAB_SIZE, by_their_names, judge, judge_config, ours_of

# What other tasks, tools and versions leave in a config.
LEFT_OVER: dict[str, Any] = {
    "num_labels": 3,
    "id2label": {"0": "a", "1": "b", "2": "c"},
    "label2id": {"a": 0, "b": 1, "c": 2},
    "problem_type": "single_label_classification",
    "return_dict": False,
    "output_attentions": True,
    "output_hidden_states": True,
    "torchscript": True,
    "torch_dtype": "bfloat16",
    "dtype": "bfloat16",
    "auto_map": {},
    "_attn_implementation": "flash_attention_9",
    "attn_implementation": "kernels-community/nothing",
    "chunk_size_feed_forward": 3,
    "use_cache": False,
    "position_embedding_type": "absolute",
    "transformers_version": "4.14.1",
    "down_scale_factor": 1,
    "gap_size": 0,
}


def change_config(folder: Path, changes: Mapping[str, Any]) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def weights_of(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    """Return what is loaded, by the family's names."""
    model = load_model(folder, device=CPU, **options)
    assert all(parameter.dtype is torch.float32 for parameter in model.model.parameters())
    return by_their_names(model.model, model.family.model_type, torch.Tensor.detach)


def assert_equal(found: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("family", JUDGES)
def test_what_transformers_saved_is_read_key_for_key(family: str, tmp_path: Path) -> None:
    plain = judge(family)
    plain.save_pretrained(tmp_path)
    assert_equal(weights_of(tmp_path), dict(plain.named_parameters()))


@pytest.mark.parametrize("family", JUDGES)
def test_transformers_opens_what_is_saved_and_reads_it_back_key_for_key(family: str, tmp_path: Path) -> None:
    plain = judge(family)
    ours = ours_of(plain, tmp_path / "theirs")
    ours.save(tmp_path / "ours")
    again, info = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not any(info.values())
    assert type(again) is JUDGES[family][1]
    assert all(parameter.dtype is torch.float32 for parameter in again.parameters())
    assert_equal(dict(again.named_parameters()), dict(plain.named_parameters()))
    before, after = ({**config.to_dict(), "dtype": None} for config in (plain.config, again.config))
    differing = {name for name in before | after if before.get(name) != after.get(name)}
    assert differing <= {"_name_or_path", "architectures"}
    saved, original = (load_file(tmp_path / one / SAFETENSORS) for one in ("ours", "theirs"))
    assert_equal(saved, original)


@pytest.mark.parametrize("family", JUDGES)
def test_what_other_tasks_left_in_a_config_changes_nothing_and_is_not_saved_again(family: str, tmp_path: Path) -> None:
    plain = judge(family)
    plain.save_pretrained(tmp_path / "theirs")
    change_config(tmp_path / "theirs", LEFT_OVER)
    assert_equal(weights_of(tmp_path / "theirs"), dict(plain.named_parameters()))
    load_model(tmp_path / "theirs", device=CPU).save(tmp_path / "ours")
    saved = json.loads((tmp_path / "ours" / "config.json").read_text())
    table = FAMILIES[family]
    known = {one.theirs for one in table.settings} | set(table.carried) | {"architectures", "model_type"}
    assert saved.keys() <= known
    assert saved["architectures"] == [table.architecture]


@pytest.mark.parametrize("family", JUDGES)
def test_defaults_are_those_of_transformers(family: str) -> None:
    defaults = JUDGES[family][0]()
    for setting in FAMILIES[family].settings:
        if setting.default is not ...:
            assert getattr(defaults, setting.theirs) == setting.default, setting.theirs


@pytest.mark.parametrize("family", JUDGES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_weights_are_fp32_whatever_was_saved(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    plain = judge(family).to(dtype)
    plain.save_pretrained(tmp_path)
    change_config(tmp_path, {"dtype": str(dtype).removeprefix("torch.")})
    assert_equal(weights_of(tmp_path), {name: one.float() for name, one in plain.named_parameters()})


@pytest.mark.parametrize("family", JUDGES)
def test_sharded_files_are_read(family: str, tmp_path: Path) -> None:
    plain = judge(family)
    plain.save_pretrained(tmp_path, max_shard_size="10KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    assert_equal(weights_of(tmp_path), dict(plain.named_parameters()))


def repickled(folder: Path, *, legacy: bool = False, parts: int = 1) -> None:
    """Put a folder's weights into the older format."""
    tensors = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    if parts == 1:
        torch.save(tensors, folder / PICKLED, _use_new_zipfile_serialization=not legacy)
        return
    places = {name: f"pytorch_model-{at % parts}.bin" for at, name in enumerate(tensors)}
    for file in set(places.values()):
        torch.save({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / f"{PICKLED}.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize("how", [{}, {"legacy": True}, {"parts": 3}], ids=str)
def test_an_older_weight_file_is_read_with_a_line_that_says_so(how: dict[str, Any], tmp_path: Path) -> None:
    plain = judge("bert")
    plain.save_pretrained(tmp_path / "old")
    repickled(tmp_path / "old", **how)
    said: list[str] = []
    assert_equal(weights_of(tmp_path / "old", say=said.append), dict(plain.named_parameters()))
    assert said == [
        f"{tmp_path / 'old'}: the weights are in pytorch_model.bin; they are saved as model.safetensors from now on"
    ]
    load_model(tmp_path / "old", device=CPU, say=said.append).save(tmp_path / "new")
    assert_equal(load_file(tmp_path / "new" / SAFETENSORS), dict(plain.named_parameters()))


def test_without_a_listener_that_line_is_printed_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    judge("albert").save_pretrained(tmp_path)
    repickled(tmp_path)
    load_model(tmp_path, device=CPU)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "expected"),
    [(LFS_POINTER + b"v1\n", ": a Git LFS pointer"), (b"", "is damaged"), (pickle.dumps([1]), "is damaged")],
)
def test_an_older_weight_file_that_cannot_be_read_is_one_line(content: bytes, expected: str, tmp_path: Path) -> None:
    judge("bert").save_pretrained(tmp_path)
    (tmp_path / SAFETENSORS).unlink()
    (tmp_path / PICKLED).write_bytes(content)
    said: list[str] = []
    with pytest.raises(ModelError, match=expected):
        weights_of(tmp_path, say=said.append)
    assert said == []


def test_a_config_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    plain = judge("bert")
    plain.save_pretrained(tmp_path)
    (tmp_path / CONFIG_JSON).write_bytes(b"\xef\xbb\xbf" + (tmp_path / CONFIG_JSON).read_bytes())
    assert_equal(weights_of(tmp_path), dict(plain.named_parameters()))


def test_safetensors_go_before_an_older_file(tmp_path: Path) -> None:
    plain = judge("albert")
    plain.save_pretrained(tmp_path)
    (tmp_path / PICKLED).write_bytes(b"never read")
    assert_equal(weights_of(tmp_path), dict(plain.named_parameters()))


@pytest.mark.parametrize("files", [{"model.safetensors"}, {"pytorch_model.bin"}], ids=str)
def test_the_older_file_is_fetched_from_the_hub_where_there_is_no_other(
    files: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = judge("albert")
    plain.save_pretrained(tmp_path / "hub")
    if PICKLED in files:
        repickled(tmp_path / "hub")
    asked = []

    def fetch(_: str, patterns: tuple[str, ...], **__: Any) -> Path:
        asked.append(patterns)
        for path in (tmp_path / "hub").iterdir():
            if any(path.match(pattern) for pattern in patterns):
                (tmp_path / "cache").mkdir(exist_ok=True)
                shutil.copy(path, tmp_path / "cache")
        return tmp_path / "cache"

    monkeypatch.setattr(load, "fetch_folder", fetch)
    assert_equal(weights_of(Path("somebody/albert"), say=lambda _: None), dict(plain.named_parameters()))
    assert len(asked) == (2 if PICKLED in files else 1)


@pytest.mark.parametrize("family", JUDGES)
def test_a_bare_encoder_is_read_and_gets_a_new_head(family: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    bare = AutoModel.from_config(judge_config(family))
    bare.save_pretrained(tmp_path)
    found = weights_of(tmp_path)
    prefix = FAMILIES[family].prefix
    expected = {f"{prefix}{name}": one for name, one in bare.named_parameters() if not name.startswith("pooler.")}
    assert_equal({name: one for name, one in found.items() if not name.startswith("qa_outputs.")}, expected)
    with pytest.raises(ModelError, match=r"has no trained span head \(qa_outputs\)"):
        load_model(tmp_path, device=CPU, needs_head=True)


OTHER_TASKS: dict[str, Callable[[], PreTrainedModel]] = {
    "albert, masked": lambda: AlbertForMaskedLM(judge_config("albert")),
    "bert, pretraining": lambda: BertForPreTraining(judge_config("bert")),
    **{
        f"{family}, classification": lambda family=family: AutoModelForSequenceClassification.from_config(
            judge_config(family)
        )
        for family in JUDGES
    },
}


@pytest.mark.parametrize("kind", OTHER_TASKS)
def test_heads_of_other_tasks_are_left_out(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    other = OTHER_TASKS[kind]()
    other.save_pretrained(tmp_path)
    found = weights_of(tmp_path)
    prefix = FAMILIES[kind.split(",")[0]].prefix
    expected = {
        name: one for name, one in other.named_parameters() if name.startswith(prefix) and ".pooler." not in name
    }
    assert_equal({name: one for name, one in found.items() if not name.startswith("qa_outputs.")}, expected)


def edit(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(folder / SAFETENSORS)
    change(tensors)
    save_file(tensors, folder / SAFETENSORS, metadata={"format": "pt"})


def test_the_names_of_berts_oldest_files_are_understood(tmp_path: Path) -> None:
    plain = judge("bert")
    plain.save_pretrained(tmp_path)

    def rename(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
            tensors[old] = tensors.pop(name)
        tensors["bert.embeddings.position_ids"] = torch.arange(70)
        tensors["cls.predictions.bias"] = torch.zeros(3)

    edit(tmp_path, rename)
    assert_equal(weights_of(tmp_path), dict(plain.named_parameters()))


def refusal(folder: Path, **options: Any) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder, device=CPU, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", JUDGES)
def test_weights_beyond_the_encoder_are_named(family: str, tmp_path: Path) -> None:
    """Two layers of three would be another encoder without a word."""
    judge(family).save_pretrained(tmp_path)
    changes = {"albert": {"num_hidden_layers": 3, "inner_group_num": 1}, "distilbert": {"n_layers": 2}}
    change_config(tmp_path, changes.get(family, {"num_hidden_layers": 2}))
    if family == "albert":
        edit(tmp_path, lambda one: one.update({"albert.encoder.albert_layer_groups.1.x": torch.zeros(2)}))
    message = refusal(tmp_path)
    assert " not part of the encoder that config.json describes: " in message
    assert message.endswith("Give the config.json that belongs to these weights")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(value: float, tmp_path: Path) -> None:
    judge("albert").save_pretrained(tmp_path)
    name = "albert.encoder.albert_layer_groups.0.albert_layers.0.attention.key.bias"

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name][3] = value
        tensors["qa_outputs.weight"][1, 2] = value

    edit(tmp_path, spoil)
    assert (
        refusal(tmp_path)
        == f"{tmp_path}: 2 weights are NaN or infinite: {name}, qa_outputs.weight. Give another copy of the model"
    )


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.complex64, torch.bool, torch.float8_e4m3fn])
def test_weights_of_another_type_than_floating_point_are_named(dtype: torch.dtype, tmp_path: Path) -> None:
    judge("albert").save_pretrained(tmp_path)
    edit(tmp_path, lambda one: one.update({"qa_outputs.weight": one["qa_outputs.weight"].to(dtype)}))
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: 1 weight is of a type that is not floating point: qa_outputs.weight is ")
    assert message.endswith("Give the model as it was before it was quantized")


@pytest.mark.parametrize("name", ["config.json", SAFETENSORS, PICKLED])
def test_a_git_lfs_pointer_is_recognized(name: str, tmp_path: Path) -> None:
    judge("albert").save_pretrained(tmp_path)
    if name == PICKLED:
        (tmp_path / SAFETENSORS).unlink()
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 46747112\n")
    message = refusal(tmp_path, say=lambda _: None)
    assert message == f"{tmp_path}: {name}: a Git LFS pointer instead of the file; run 'git lfs pull' in its repository"


def test_a_head_of_which_a_part_is_missing_is_refused(tmp_path: Path) -> None:
    judge("albert").save_pretrained(tmp_path)
    edit(tmp_path, lambda one: one.__delitem__("qa_outputs.bias"))
    assert "1 encoder weight is not in the model files: qa_outputs.bias. " in refusal(tmp_path)


def test_an_encoder_that_the_memory_does_not_hold_is_refused_before_it_is_made(tmp_path: Path) -> None:
    judge("albert").save_pretrained(tmp_path)
    change_config(tmp_path, {"num_hidden_layers": 1000, "num_hidden_groups": 1000, "hidden_size": 8192})
    message = refusal(tmp_path, from_scratch=True)
    assert "its weights take " in message
    assert message.endswith("Use a smaller model, or a machine with more memory")


@pytest.mark.parametrize("family", JUDGES)
def test_a_random_start_is_drawn_as_transformers_draws_it(family: str, tmp_path: Path) -> None:
    changes = {"hidden_size": 96, "intermediate_size": 128, "initializer_range": 0.3, "vocab_size": 400}
    torch.manual_seed(0)
    plain = JUDGES[family][1](judge_config(family, changes))
    plain.save_pretrained(tmp_path)
    found = weights_of(tmp_path, from_scratch=True)
    for name, parameter in plain.named_parameters():
        ours, theirs = found[name], parameter.detach()
        if theirs.dim() == 1 or "LayerNorm" in name or "layer_norm" in name:
            assert torch.equal(ours, theirs), name
            continue
        # Rows of the padding token are zero in both.
        zero = (theirs == 0).all(dim=1)
        assert torch.equal(zero, (ours == 0).all(dim=1)), name
        for drawn in (ours, theirs):
            values = drawn[~zero].flatten()
            # Mean and standard deviation within five standard errors, and the tails of a normal distribution.
            error = 0.3 / len(values) ** 0.5
            assert abs(float(values.mean())) < 5 * error, name
            assert abs(float(values.std()) - 0.3) < 5 * error, name
            beyond = float((values.abs() > 0.6).float().mean())
            assert abs(beyond - 0.0455) < 5 * (0.0455 / len(values)) ** 0.5, name


def test_a_new_head_is_drawn_from_the_seed_alone(tmp_path: Path) -> None:
    AutoModel.from_config(judge_config("albert")).save_pretrained(tmp_path)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(weights_of(tmp_path)["qa_outputs.weight"])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    # Transformers draws the same.
    torch.manual_seed(1)
    theirs = AutoModelForQuestionAnswering.from_pretrained(tmp_path)
    assert torch.equal(theirs.qa_outputs.weight, drawn[0])


def test_sinusoidal_positions_are_read_and_not_drawn(tmp_path: Path) -> None:
    plain = judge("distilbert", {"sinusoidal_pos_embds": True})
    plain.save_pretrained(tmp_path / "theirs")
    assert_equal(weights_of(tmp_path / "theirs"), dict(plain.named_parameters()))
    load_model(tmp_path / "theirs", device=CPU).save(tmp_path / "ours")
    assert json.loads((tmp_path / "ours" / "config.json").read_text())["sinusoidal_pos_embds"] is True
    assert "sinusoidal_pos_embds is true" in refusal(tmp_path / "theirs", from_scratch=True)


def test_positions_of_a_roberta_are_counted_from_its_padding_id(tmp_path: Path) -> None:
    model = ours_of(judge("roberta", {"pad_token_id": 3, "vocab_size": VOCAB_SIZE}), tmp_path)
    assert model.max_positions == 70 - 4
