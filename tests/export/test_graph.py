"""The ONNX graph computes what the encoder does, for every family, and has every tensor once."""

import collections
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from albertqa.export.graph import build_graph, matrices_of
from albertqa.export.matrices import by_output, by_row, in_blocks
from albertqa.model.load import SpanModel
from albertqa.model.onnx_model import INPUTS, OnnxModel
from albertqa.model.window_model import WindowScores
from albertqa.windows.store import Window
from model.families import JUDGES, POSITIONS, VOCAB_SIZE, configs, judge, ours_of

from .conftest import KINDS

pytestmark = pytest.mark.usefixtures("one_thread")

CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def windows(lengths: tuple[int, ...], segments: int = 2) -> list[Window]:
    """Windows of random tokens and labels."""
    rng = np.random.default_rng(len(lengths))
    nothing = np.zeros(0, dtype=np.int32)
    return [
        Window(
            example_index=0,
            input_ids=rng.integers(5, VOCAB_SIZE, length),
            token_type_ids=(np.arange(length) > length // 3).astype(np.int64) * (segments > 1),
            context_start=length // 3,
            start_char=nothing,
            end_char=nothing,
            start_position=int(rng.integers(length)),
            end_position=int(rng.integers(length)),
        )
        for length in lengths
    ]


def saved(graph: onnx.ModelProto, folder: Path) -> OnnxModel:
    onnx.checker.check_model(graph, full_check=True)
    onnx.save(graph, folder / "model.onnx")
    return OnnxModel(folder / "model.onnx", device="cpu", num_threads=1)


def scores(model: SpanModel, exported: OnnxModel, lengths: tuple[int, ...]) -> tuple[WindowScores, WindowScores]:
    """What the model and its export say of the same windows."""
    source = windows(lengths, model.model.config.segments)
    everything = np.arange(len(source))
    with model.evaluating():
        expected, found = model.score_windows(source, everything), exported.score_windows(source, everything)
    assert expected is not None
    assert found is not None
    return expected, found


def assert_equal(model: SpanModel, exported: OnnxModel, lengths: tuple[int, ...]) -> None:
    for theirs, ours in zip(*scores(model, exported, lengths), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, **CLOSE)


def mean_difference(model: SpanModel, exported: OnnxModel) -> float:
    expected, found = scores(model, exported, (POSITIONS, 9))
    return float(np.abs(found.start - expected.start).mean())


@pytest.mark.parametrize("family", JUDGES)
def test_every_family_gives_the_encoders_logits_and_losses(family: str, tmp_path: Path) -> None:
    model = ours_of(judge(family), tmp_path / "saved")
    exported = saved(build_graph(model), tmp_path)
    assert exported.max_positions == model.max_positions
    assert exported.vocab_size == VOCAB_SIZE
    for lengths in ((9,), (2, 30, 17), (model.max_positions, 5, 5, 1, 12)):
        assert_equal(model, exported, lengths)


@pytest.mark.parametrize("family", ["albert", "bert", "roberta", "distilbert"])
@settings(max_examples=6)
@given(data=st.data())
def test_any_configuration_gives_the_encoders_logits(
    family: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("drawn")
    changes = data.draw(configs(family))
    model = ours_of(judge(family, changes), folder / "saved")
    assert_equal(model, saved(build_graph(model), folder), (POSITIONS - 6, 3, 20))


def large(graph: onnx.ModelProto, least: int) -> list[bytes]:
    return [one.raw_data for one in graph.graph.initializer if len(one.raw_data) >= least]


@pytest.mark.parametrize("family", ["albert", "bert"])
def test_every_tensor_of_a_saved_model_is_one_initializer_under_its_name(family: str, tmp_path: Path) -> None:
    changes = {"num_hidden_layers": 6} if family == "albert" else {}
    theirs = judge(family, changes)
    graph = build_graph(ours_of(theirs, tmp_path))
    found = {one.name: onnx.numpy_helper.to_array(one) for one in graph.graph.initializer}
    state = {name: tensor.numpy() for name, tensor in theirs.state_dict().items() if "pooler" not in name}
    assert state.keys() <= found.keys()
    for name, tensor in state.items():
        is_linear = tensor.ndim == 2 and "embeddings." not in name
        np.testing.assert_array_equal(found[name], tensor.T if is_linear else tensor)
    # Nothing else is large, and nothing hides in a node.
    least = 16 * 32 * 4
    assert len(large(graph, least)) == sum(tensor.nbytes >= least for tensor in state.values())
    assert len(set(large(graph, least))) == len(large(graph, least))
    assert graph.ByteSize() < sum(tensor.nbytes for tensor in state.values()) + 60_000
    uses = collections.Counter(name for node in graph.graph.node for name in node.input)
    if family == "albert":
        assert uses["albert.encoder.albert_layer_groups.0.albert_layers.0.ffn.weight"] == 6


@pytest.mark.parametrize("kind", ["faithful", "fast"])
def test_int8_is_near_fp32_and_matrices_that_are_named_stay_fp32(kind: Any, tmp_path: Path) -> None:
    model = ours_of(judge("albert", {"hidden_size": 64, "embedding_size": 32, "intermediate_size": 96}), tmp_path / "a")
    names = matrices_of(model)
    assert len(names) == 1 + 1 + 6  # words, projection, and the six products of the one layer
    rounded = build_graph(model, kind)
    kinds = {one.name: one.data_type for one in rounded.graph.initializer}
    assert all(kinds[f"{name}.weight"] == onnx.TensorProto.INT8 for name in names)
    assert 1e-4 < mean_difference(model, saved(rounded, tmp_path)) < (0.1 if kind == "faithful" else 0.5)
    assert_equal(model, saved(build_graph(model, kind, in_fp32=names), tmp_path), (POSITIONS, 9))
    only = build_graph(model, kind, in_fp32=names[1:])
    kinds = {one.name: one.data_type for one in only.graph.initializer}
    assert [name for name in names if kinds[f"{name}.weight"] == onnx.TensorProto.INT8] == names[:1]


def test_models_without_segments_take_none(tmp_path: Path) -> None:
    names = {
        family: [one.name for one in build_graph(ours_of(judge(family, changes), tmp_path / family)).graph.input]
        for family, changes in (("albert", {}), ("roberta", {"type_vocab_size": 1}), ("distilbert", {}))
    }
    assert names == {"albert": [*INPUTS], "roberta": [*INPUTS[:2]], "distilbert": [*INPUTS[:2]]}


@given(st.integers(0, 2**32 - 1), st.sampled_from([(3, 64), (5, 32), (4, 7), (1, 1)]))
def test_rounding_is_never_off_by_more_than_half_a_step(seed: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.standard_normal(shape) * rng.choice([0, 1e-6, 1, 1e6], (shape[0], 1))).astype(np.float32)
    most = np.abs(weight).max(axis=1, keepdims=True)
    blocks, scale = in_blocks(weight)
    assert (np.abs((blocks * scale).reshape(shape[1], shape[0]).T - weight) <= 0.501 * most / 127).all()
    columns, scale = by_output(weight)
    assert (np.abs((columns * scale).T - weight) <= 0.501 * 2 * most / 127).all()
    rows, scale = by_row(weight)
    assert (np.abs(rows * scale - weight) <= 0.501 * most / 127).all()
    # AVX2 without VNNI adds the products of two neighbours in 16 bits.
    pairs = np.pad(columns.astype(int), ((0, shape[1] % 2), (0, 0))).reshape(-1, 2, shape[0])
    assert 255 * np.abs(pairs.sum(axis=1)).max() <= 32_767


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_needs_no_library_but_the_standard(kind: Any, tmp_path: Path) -> None:
    graph = build_graph(ours_of(judge("albert"), tmp_path), kind)
    assert {node.domain for node in graph.graph.node} == {""}
    assert not graph.functions
    assert b"torch" not in graph.SerializeToString()
