"""The families of encoders: how each one calls the settings and the weights of `albertqa.model.encoder`.

One table a family, read in both directions. Names are those of Transformers' ``config.json`` and weight files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from albertqa.errors import ModelError
from albertqa.model.encoder_config import EncoderConfig, config_problems, shortened

HEAD = "qa_outputs."
"""Names of the span head's weights begin with it, here and in every family."""


class Setting(NamedTuple):
    """A field of ``config.json``.

    Attributes:
        theirs: Its name there.
        ours: The attribute of `EncoderConfig`, which has its type and range.
        default: What Transformers takes where it is missing; `...`: it must be there.
    """

    theirs: str
    ours: str
    default: Any = ...


class Place(NamedTuple):
    """A tensor of a weight file, and where the encoder has it.

    Attributes:
        theirs: Its name in the file.
        ours: The parameter's name.
        third: Which third of the parameter it is, as one holds query, key and value; None: all of it.
    """

    theirs: str
    ours: str
    third: int | None = None

    def of(self, parameter: torch.Tensor) -> torch.Tensor:
        """Return the place's part of its parameter, as a view."""
        return parameter if self.third is None else parameter.chunk(3)[self.third]


@dataclass(frozen=True)
class Family:
    """A family of encoders.

    Attributes:
        model_type: Its name in ``config.json``.
        architecture: Transformers' class of its question-answering model.
        prefix: What the encoder's names begin with in a model with a head; a bare encoder's go without.
        settings: The fields of ``config.json`` that the encoder has.
        fixed: The values of `EncoderConfig` that all its encoders share, unless they are among the settings.
        carried: Further fields of ``config.json`` that a saved one has again, and their types.
        modules: Names of the modules outside the layers, theirs by ours.
        layer: What the names of a layer's modules begin with; ``{group}`` and ``{inner}`` are the layer's indices.
        layer_modules: Names of a layer's modules, theirs by ours.
    """

    model_type: str
    architecture: str
    prefix: str
    settings: tuple[Setting, ...]
    fixed: Mapping[str, Any]
    carried: Mapping[str, tuple[type, ...]]
    modules: Mapping[str, str]
    layer: str
    layer_modules: Mapping[str, str]

    def places(self, config: EncoderConfig) -> Iterator[Place]:
        """Yield every tensor of an encoder with a span head, under the name it has with the prefix."""
        for ours, theirs in self.modules.items():
            absent = {"embeddings.segment": config.segments == 0, "projection": not config.has_projection}
            if not absent.get(ours, False):
                yield from _both(ours, f"{self.prefix}{theirs}")
        for index in range(config.groups * config.inner_layers):
            group, inner = divmod(index, config.inner_layers)
            for ours, theirs in self.layer_modules.items():
                name = self.prefix + self.layer.format(group=group, inner=inner) + theirs
                if ours in _THIRDS:
                    yield from _both(f"layers.{index}.qkv", name, _THIRDS[ours])
                else:
                    yield from _both(f"layers.{index}.{ours}", name)
        yield from _both("qa_outputs", "qa_outputs")

    def read_config(self, stated: Mapping[str, Any]) -> tuple[EncoderConfig, dict[str, Any]]:
        """Read the content of a ``config.json`` whose ``model_type`` is this family's.

        Returns:
            The encoder's settings, and the carried fields.

        Raises:
            ModelError: A field is missing or has a value that it cannot have; the message names all of them.
        """
        problems = [
            f"{one.theirs} is missing" for one in self.settings if one.default is ... and one.theirs not in stated
        ]
        for name, allowed in _ONLY.items():
            if stated.get(name, allowed[0]) not in allowed:
                problems.append(f"{name} is {shortened(stated[name])}, expected {shortened(allowed[0])}")
        carried = {name: stated[name] for name in self.carried if name in stated}
        for name, value in carried.items():
            # Not isinstance, for which true is a whole number, too.
            if type(value) not in self.carried[name]:
                kinds = " or ".join(_JSON_TYPES[kind] for kind in self.carried[name])
                problems.append(f"{name} is {shortened(value)}, expected {kinds}")
        if problems:
            raise ModelError("; ".join(problems))
        values = dict(self.fixed) | {one.ours: stated.get(one.theirs, one.default) for one in self.settings}
        values.setdefault("embedding_size", values["hidden_size"])
        values.setdefault("groups", values["layers"])
        values.setdefault("has_projection", values["embedding_size"] != values["hidden_size"])
        if problems := config_problems(values, {one.ours: one.theirs for one in self.settings}):
            raise ModelError("; ".join(problems))
        return EncoderConfig(**values), carried

    def config_json(self, config: EncoderConfig, carried: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of ``config.json``: what makes the encoder, the carried fields, and nothing else."""
        settings = {one.theirs: getattr(config, one.ours) for one in self.settings}
        return {"architectures": [self.architecture], "model_type": self.model_type, **settings, **carried}

    def is_encoder_tensor(self, name: str) -> bool:
        """Report whether a tensor, its name with the prefix, is the encoder's: not of a head, and no constant table."""
        inside = name.removeprefix(self.prefix)
        return name.startswith(self.prefix) and not inside.startswith(_NOT_USED)


def family_of(stated: Mapping[str, Any]) -> Family:
    """Return the family that the content of a ``config.json`` is of.

    Raises:
        ModelError: It is of none, or needs code of its own.
    """
    if stated.get("auto_map"):
        raise ModelError(
            f"it names code of its own (auto_map: {shortened(stated['auto_map'])}), which is never run. "
            f"Expected a plain encoder: {', '.join(FAMILIES)}"
        )
    kind = stated.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        found = "missing" if kind is None else shortened(kind)
        raise ModelError(f"model_type is {found}, expected one of {', '.join(FAMILIES)}")
    return FAMILIES[kind]


def _both(ours: str, theirs: str, third: int | None = None) -> Iterator[Place]:
    """Yield a module's weight and bias; a table of embeddings has no bias."""
    is_table = ours.startswith("embeddings.") and not ours.endswith("layer_norm")
    for kind in ("weight",) if is_table else ("weight", "bias"):
        yield Place(f"{theirs}.{kind}", f"{ours}.{kind}", third)


_JSON_TYPES = {int: "a whole number", float: "a number", bool: "true or false", type(None): "null"}
_THIRDS = {"query": 0, "key": 1, "value": 2}
# Fields that would make another encoder of it, and the values that do not.
_ONLY: dict[str, tuple[Any, ...]] = {
    "position_embedding_type": ("absolute", None),
    "is_decoder": (False, None),
    "add_cross_attention": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}
# Tensors of an encoder that answering questions has no use for; the two tables are constants that old files have.
_NOT_USED = ("pooler.", "embeddings.position_ids", "embeddings.token_type_ids")

_EMBEDDINGS = {
    "embeddings.word": "embeddings.word_embeddings",
    "embeddings.position": "embeddings.position_embeddings",
    "embeddings.segment": "embeddings.token_type_embeddings",
    "embeddings.layer_norm": "embeddings.LayerNorm",
}
_SIZES = (
    Setting("vocab_size", "vocab_size"),
    Setting("hidden_size", "hidden_size"),
    Setting("num_hidden_layers", "layers"),
    Setting("num_attention_heads", "heads"),
    Setting("intermediate_size", "feed_forward_size"),
    Setting("max_position_embeddings", "positions"),
    Setting("type_vocab_size", "segments", 2),
    Setting("layer_norm_eps", "layer_norm_eps", 1e-12),
    Setting("initializer_range", "initializer_range", 0.02),
)
_TOKENS = {"bos_token_id": (int, type(None)), "eos_token_id": (int, type(None))}
_ALIKE = {
    "head_dropout": 0.0,
    "inner_layers": 1,
    "drops_attention_output": True,
    "drops_feed_forward": True,
    "positions_from_padding": False,
}

_ALBERT = Family(
    model_type="albert",
    architecture="AlbertForQuestionAnswering",
    prefix="albert.",
    settings=(
        *_SIZES,
        Setting("embedding_size", "embedding_size"),
        Setting("num_hidden_groups", "groups", 1),
        Setting("inner_group_num", "inner_layers", 1),
        Setting("hidden_act", "activation", "gelu_new"),
        Setting("hidden_dropout_prob", "hidden_dropout", 0.0),
        Setting("attention_probs_dropout_prob", "attention_dropout", 0.0),
        Setting("pad_token_id", "padding_id", 0),
    ),
    fixed={**_ALIKE, "has_projection": True, "drops_feed_forward": False},
    carried={**_TOKENS, "classifier_dropout_prob": (int, float, type(None))},
    modules={**_EMBEDDINGS, "projection": "encoder.embedding_hidden_mapping_in"},
    layer="encoder.albert_layer_groups.{group}.albert_layers.{inner}.",
    layer_modules={
        "query": "attention.query",
        "key": "attention.key",
        "value": "attention.value",
        "attention_output": "attention.dense",
        "attention_layer_norm": "attention.LayerNorm",
        "feed_forward": "ffn",
        "feed_forward_output": "ffn_output",
        "output_layer_norm": "full_layer_layer_norm",
    },
)


def _bert_like(
    model_type: str,
    architecture: str,
    prefix: str,
    *,
    padding_id: int = 0,
    more_settings: tuple[Setting, ...] = (),
    more_modules: Mapping[str, str] | None = None,
    **fixed: Any,
) -> Family:
    """Return a family that has BERT's names and differs from it in the arguments."""
    return Family(
        model_type=model_type,
        architecture=architecture,
        prefix=prefix,
        settings=(
            *_SIZES,
            *more_settings,
            Setting("hidden_act", "activation", "gelu"),
            Setting("hidden_dropout_prob", "hidden_dropout", 0.1),
            Setting("attention_probs_dropout_prob", "attention_dropout", 0.1),
            Setting("pad_token_id", "padding_id", padding_id),
        ),
        fixed={**_ALIKE, **fixed},
        carried={**_TOKENS, "classifier_dropout": (int, float, type(None))},
        modules={**_EMBEDDINGS, **(more_modules or {})},
        layer="encoder.layer.{group}.",
        layer_modules={
            "query": "attention.self.query",
            "key": "attention.self.key",
            "value": "attention.self.value",
            "attention_output": "attention.output.dense",
            "attention_layer_norm": "attention.output.LayerNorm",
            "feed_forward": "intermediate.dense",
            "feed_forward_output": "output.dense",
            "output_layer_norm": "output.LayerNorm",
        },
    )


_DISTILBERT = Family(
    model_type="distilbert",
    architecture="DistilBertForQuestionAnswering",
    prefix="distilbert.",
    settings=(
        Setting("vocab_size", "vocab_size"),
        Setting("dim", "hidden_size"),
        Setting("n_layers", "layers"),
        Setting("n_heads", "heads"),
        Setting("hidden_dim", "feed_forward_size"),
        Setting("max_position_embeddings", "positions"),
        Setting("activation", "activation", "gelu"),
        Setting("dropout", "hidden_dropout", 0.1),
        Setting("attention_dropout", "attention_dropout", 0.1),
        Setting("qa_dropout", "head_dropout", 0.1),
        Setting("initializer_range", "initializer_range", 0.02),
        Setting("pad_token_id", "padding_id", 0),
    ),
    fixed={**_ALIKE, "segments": 0, "layer_norm_eps": 1e-12, "drops_attention_output": False},
    carried={**_TOKENS, "sinusoidal_pos_embds": (bool,)},
    modules=_EMBEDDINGS,
    layer="transformer.layer.{group}.",
    layer_modules={
        "query": "attention.q_lin",
        "key": "attention.k_lin",
        "value": "attention.v_lin",
        "attention_output": "attention.out_lin",
        "attention_layer_norm": "sa_layer_norm",
        "feed_forward": "ffn.lin1",
        "feed_forward_output": "ffn.lin2",
        "output_layer_norm": "output_layer_norm",
    },
)

_ROBERTA: dict[str, Any] = {"padding_id": 1, "positions_from_padding": True}
FAMILIES: Mapping[str, Family] = {
    one.model_type: one
    for one in (
        _ALBERT,
        _bert_like("bert", "BertForQuestionAnswering", "bert."),
        _bert_like("roberta", "RobertaForQuestionAnswering", "roberta.", **_ROBERTA),
        _bert_like("xlm-roberta", "XLMRobertaForQuestionAnswering", "roberta.", **_ROBERTA),
        _bert_like("camembert", "CamembertForQuestionAnswering", "roberta.", **_ROBERTA),
        _bert_like(
            "electra",
            "ElectraForQuestionAnswering",
            "electra.",
            more_settings=(Setting("embedding_size", "embedding_size"),),
            more_modules={"projection": "embeddings_project"},
        ),
        _DISTILBERT,
    )
}
"""Every family by its ``model_type``."""
