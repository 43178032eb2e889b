"""Every published ALBERT loads, trains a step and is saved as it was.

Heads, layers, activation and dropout are those of the published configurations (google-research/albert and the Hub's
``config.json`` files); widths are scaled down in proportion.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AlbertForQuestionAnswering

from albertqa.config import OptimizerConfig
from albertqa.model.load import load_model
from albertqa.model.span_loss import span_losses
from albertqa.run.optimizer import build_optimizer

from .cases import random_batch, save_albert

VOCAB_SIZE = 1000


@dataclass(frozen=True)
class Published:
    name: str
    num_hidden_layers: int
    num_attention_heads: int
    hidden_act: str
    dropout: float

    def config(self) -> dict[str, object]:
        # The published widths are 64 a head (128 in xlarge); the intermediate layer is always four times as wide.
        hidden_size = self.num_attention_heads * (4 if "xlarge" in self.name and "xx" not in self.name else 2)
        return {
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "hidden_size": hidden_size,
            "intermediate_size": 4 * hidden_size,
            "hidden_act": self.hidden_act,
            "hidden_dropout_prob": self.dropout,
            "attention_probs_dropout_prob": self.dropout,
            "classifier_dropout_prob": 0.1,
            "embedding_size": 8,
            "num_hidden_groups": 1,
            "inner_group_num": 1,
        }


PUBLISHED = [
    Published("base-v1", 12, 12, "gelu", 0.1),
    Published("large-v1", 24, 16, "gelu", 0.1),
    Published("xlarge-v1", 24, 16, "gelu", 0.1),
    Published("xxlarge-v1", 12, 64, "gelu", 0.0),
    Published("base-v2", 12, 12, "gelu_new", 0.0),
    Published("large-v2", 24, 16, "gelu_new", 0.0),
    Published("xlarge-v2", 24, 16, "gelu_new", 0.0),
    Published("xxlarge-v2", 12, 64, "gelu_new", 0.0),
]


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda one: one.name)
def test_a_published_albert_loads_trains_a_step_and_saves(
    published: Published, tiny_folder: Path, tmp_path: Path
) -> None:
    source = save_albert(tiny_folder, tmp_path / "source", **published.config())
    model = load_model(source, device=torch.device("cpu"))
    batch = random_batch((20, 9), VOCAB_SIZE)
    optimizer = build_optimizer(model.model, OptimizerConfig(learning_rate=1e-3))
    before = {name: one.detach().clone() for name, one in model.model.named_parameters()}
    model.model.train()
    span_losses(*model.logits(batch), batch).mean().backward()
    optimizer.step()
    assert all(torch.isfinite(one).all() for one in model.model.parameters())
    assert all(not torch.equal(one, before[name]) for name, one in model.model.named_parameters())

    model.model.eval()
    target = tmp_path / "target"
    model.save(target)
    saved, original = (json.loads((folder / "config.json").read_text()) for folder in (target, source))
    assert {key: saved[key] for key in published.config()} == {key: original[key] for key in published.config()}
    again = AlbertForQuestionAnswering.from_pretrained(target).eval()
    with torch.no_grad():
        start_logits, _ = model.logits(batch)
        expected = again(input_ids=batch.input_ids[None, :20], token_type_ids=batch.token_type_ids[None, :20])
    torch.testing.assert_close(start_logits[:20], expected.start_logits[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("hidden_act", "dropout"), [("gelu", 0.1), ("gelu_new", 0.0)], ids=["v1", "v2"])
def test_dropout_acts_in_training_only_where_the_config_has_it(
    hidden_act: str, dropout: float, tiny_folder: Path, tmp_path: Path
) -> None:
    changes = {"hidden_act": hidden_act, "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    model = load_model(save_albert(tiny_folder, tmp_path, **changes), device=torch.device("cpu"))
    batch = random_batch((20, 9), VOCAB_SIZE)
    model.model.train()
    first, second = (model.logits(batch)[0] for _ in range(2))
    assert torch.equal(first, second) == (dropout == 0)
