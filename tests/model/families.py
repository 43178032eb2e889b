"""Transformers' own models of every family, small and random: the judge of ours."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from transformers import (
    AlbertConfig,
    AlbertForQuestionAnswering,
    BertConfig,
    BertForQuestionAnswering,
    CamembertConfig,
    CamembertForQuestionAnswering,
    DistilBertConfig,
    DistilBertForQuestionAnswering,
    ElectraConfig,
    ElectraForQuestionAnswering,
    PreTrainedConfig,
    PreTrainedModel,
    RobertaConfig,
    RobertaForQuestionAnswering,
    XLMRobertaConfig,
    XLMRobertaForQuestionAnswering,
)
from transformers.utils.logging import disable_progress_bar

from albertqa.model.encoder import Encoder
from albertqa.model.families import FAMILIES
from albertqa.model.load import SpanModel, load_model

from .cases import WIDE

disable_progress_bar()
CPU = torch.device("cpu")
VOCAB_SIZE, POSITIONS = 100, 70
JUDGES: dict[str, tuple[type[PreTrainedConfig], type[PreTrainedModel]]] = {
    "albert": (AlbertConfig, AlbertForQuestionAnswering),
    "bert": (BertConfig, BertForQuestionAnswering),
    "roberta": (RobertaConfig, RobertaForQuestionAnswering),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaForQuestionAnswering),
    "camembert": (CamembertConfig, CamembertForQuestionAnswering),
    "electra": (ElectraConfig, ElectraForQuestionAnswering),
    "distilbert": (DistilBertConfig, DistilBertForQuestionAnswering),
}
SIZES = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": POSITIONS,
    "initializer_range": WIDE,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}
# DistilBERT's names for them.
DISTILBERT = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}


def judge_config(family: str, changes: Mapping[str, Any] | None = None) -> PreTrainedConfig:
    """Make a small configuration of a family; changes go by BERT's names."""
    fields = {**SIZES, **(changes or {})}
    if family in {"albert", "electra"}:
        fields.setdefault("embedding_size", 16)
    if family == "distilbert":
        fields = {DISTILBERT.get(name, name): value for name, value in fields.items()}
        fields.setdefault("qa_dropout", 0.0)
    return JUDGES[family][0](**fields)


def judge(family: str, changes: Mapping[str, Any] | None = None, *, seed: int = 0) -> PreTrainedModel:
    """Make Transformers' model of a family, with random weights, biases and LayerNorms."""
    torch.manual_seed(seed)
    model = JUDGES[family][1](judge_config(family, changes))
    with torch.no_grad():
        for parameter in model.parameters():
            # They begin with zeros and ones, which would hide one that is left out.
            if parameter.dim() == 1:
                parameter.add_(WIDE * torch.randn_like(parameter))
    return model.eval()


def ours_of(model: PreTrainedModel, folder: Path, **options: Any) -> SpanModel:
    """Load what Transformers saved."""
    model.save_pretrained(folder)
    return load_model(folder, device=CPU, **options)


def by_their_names(encoder: Encoder, family: str, value: Callable[[torch.Tensor], Any]) -> dict[str, Any]:
    """Return something of every parameter of ours, divided and named as Transformers has it."""
    parameters = dict(encoder.named_parameters())
    return {place.theirs: place.of(value(parameters[place.ours])) for place in FAMILIES[family].places(encoder.config)}


@st.composite
def configs(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """Draw changes that make another small configuration of a family."""
    heads = draw(st.integers(1, 4), label="heads")
    layers = draw(st.integers(1, 4), label="layers")
    changes: dict[str, Any] = {
        "num_attention_heads": heads,
        "hidden_size": heads * draw(st.sampled_from([3, 5, 8]), label="head size") * 2,
        "intermediate_size": draw(st.integers(3, 40), label="feed-forward size"),
        "num_hidden_layers": layers,
        "hidden_act": draw(st.sampled_from(["gelu", "gelu_new", "relu"]), label="activation"),
        "pad_token_id": draw(st.integers(0, 4), label="padding id"),
    }
    if family in {"albert", "electra"}:
        sizes = st.sampled_from([7, 12, changes["hidden_size"]])
        changes["embedding_size"] = draw(sizes, label="embedding size")
    if family == "albert":
        changes["num_hidden_groups"] = draw(st.integers(1, layers), label="groups")
        changes["inner_group_num"] = draw(st.integers(1, 2), label="inner layers")
    if family != "distilbert":
        changes["layer_norm_eps"] = draw(st.sampled_from([1e-12, 1e-5]), label="eps")
        changes["type_vocab_size"] = draw(st.integers(1 if "bert" in family and family != "bert" else 2, 3))
    return changes
