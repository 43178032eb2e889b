"""The files of a model folder: ``config.json``, and weights as safetensors or as an older ``pytorch_model.bin``.

Names, shapes and types are checked before a tensor is read, so a damaged or hostile folder costs one line. Whatever
type was saved, weights are fp32. No code of a folder is ever run.
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from albertqa.errors import ModelError
from albertqa.files import first_line, make_readable, write_json
from albertqa.model.encoder import Encoder
from albertqa.model.encoder_config import EncoderConfig, shortened
from albertqa.model.families import HEAD, Family, family_of
from albertqa.schema import LFS_POINTER, ParseError, parse_json, require_fetched

CONFIG_JSON, SAFETENSORS, PICKLED = "config.json", "model.safetensors", "pytorch_model.bin"
_INDEX = ".index.json"
_MOST_JSON_BYTES = 50_000_000
# As safetensors and as PyTorch spell them.
_FLOATING = {"F64", "F32", "F16", "BF16", "torch.float64", "torch.float32", "torch.float16", "torch.bfloat16"}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a weight file that has not been read yet."""

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], torch.Tensor]


def read_config(folder: Path) -> tuple[Family, EncoderConfig, dict[str, Any]]:
    """Read a folder's ``config.json``.

    Returns:
        The encoder's family and settings, and the fields that are carried along.

    Raises:
        ModelError: It is damaged, of no family, or has a value that no encoder can have.
    """
    stated = _read_json(folder / CONFIG_JSON)
    try:
        family = family_of(stated)
        return family, *family.read_config(stated)
    except ModelError as error:
        raise ModelError(f"{CONFIG_JSON} cannot be used: {error}") from error


def read_weights(
    folder: Path, family: Family, encoder: Encoder, *, say: Callable[[str], None]
) -> dict[str, torch.Tensor]:
    """Read an encoder's weights from a model folder.

    Args:
        folder: The folder.
        family: Whose names the weights have there.
        encoder: An encoder of the folder's settings, for its shapes; it may be on the meta device.
        say: Takes a line for the user, where the weights are in an older format.

    Returns:
        Weights by the encoder's own names, fp32, on the CPU; those of the span head are left out where the folder has
        none.

    Raises:
        ModelError: A file is missing or damaged, or a weight is missing, extra, not a finite number, or of another
            shape or type.
    """
    file_name, tensors = _stored_tensors(folder)
    stored = _with_prefix(tensors, family.prefix)
    parameters = dict(encoder.named_parameters())
    places = list(family.places(encoder.config))
    if not any(name.startswith(HEAD) for name in stored):
        places = [place for place in places if not place.theirs.startswith(HEAD)]
    _check(stored, {place.theirs: tuple(place.of(parameters[place.ours]).shape) for place in places}, family)
    weights = {
        name: torch.empty(one.shape) for name, one in parameters.items() if name in {place.ours for place in places}
    }
    not_finite = []
    for place in places:
        into = place.of(weights[place.ours])
        try:
            into.copy_(stored[place.theirs].read())
        except (SafetensorError, OSError, RuntimeError) as error:
            raise ModelError(f"{place.theirs} cannot be read: {first_line(error)}") from error
        # NaN makes both ends NaN.
        if not torch.stack(into.aminmax()).isfinite().all():
            not_finite.append(place.theirs)
    _refuse(not_finite, "weight", "NaN or infinite", "Give another copy of the model")
    if file_name == PICKLED:
        say(f"the weights are in {PICKLED}; they are saved as {SAFETENSORS} from now on")
    return weights


def write_model(
    folder: Path, family: Family, encoder: Encoder, carried: Mapping[str, Any], *, with_head: bool = True
) -> None:
    """Write a model folder that Transformers opens.

    Args:
        folder: The folder; it is made where it is missing.
        family: Whose names the files get.
        encoder: The encoder.
        carried: Further fields of ``config.json`` (see `Family.carried`).
        with_head: Whether the span head is written.

    Raises:
        ModelError: The files cannot be written.
    """
    parameters = dict(encoder.named_parameters())
    tensors = {
        # A clone, as safetensors refuses parts of one tensor.
        place.theirs: place.of(parameters[place.ours]).detach().cpu().clone()
        for place in family.places(encoder.config)
        if with_head or not place.theirs.startswith(HEAD)
    }
    path = folder / SAFETENSORS
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path, metadata={"format": "pt"})
        make_readable(path)
        write_json(folder / CONFIG_JSON, family.config_json(encoder.config, carried))
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: cannot be written: {first_line(error)}") from error


def _check(stored: Mapping[str, StoredTensor], expected: Mapping[str, tuple[int, ...]], family: Family) -> None:
    """Compare what a folder has with what an encoder needs."""
    missing = sorted(name for name in expected if name not in stored)
    another_model = "Give the right model, or train from random weights with --from-scratch"
    _refuse(missing, "encoder weight", "not in the model files", another_model)
    extra = sorted(name for name in stored if family.is_encoder_tensor(name) and name not in expected)
    another_config = f"Give the {CONFIG_JSON} that belongs to these weights"
    _refuse(extra, "weight", f"not part of the encoder that {CONFIG_JSON} describes", another_config)
    misshapen = [
        f"{name} is {_shape(stored[name].shape)}, expected {_shape(shape)}"
        for name, shape in expected.items()
        if stored[name].shape != shape
    ]
    _refuse(misshapen, "weight", f"of another shape than {CONFIG_JSON} has it", another_config)
    mistyped = [f"{name} is {stored[name].dtype}" for name in expected if stored[name].dtype not in _FLOATING]
    before = "Give the model as it was before it was quantized"
    _refuse(mistyped, "weight", "of a type that is not floating point", before)


def _refuse(weights: list[str], what: str, fault: str, remedy: str) -> None:
    """Raise an error if any weights are at fault."""
    if weights:
        are = " is" if len(weights) == 1 else "s are"
        raise ModelError(f"{len(weights)} {what}{are} {fault}: {_listed(weights)}. {remedy}")


def _with_prefix(stored: Mapping[str, StoredTensor], prefix: str) -> dict[str, StoredTensor]:
    """Name tensors as a model with a head does: a bare encoder's names lack the prefix."""
    is_bare = not any(name.startswith(prefix) for name in stored)
    return {
        _current(f"{prefix}{name}" if is_bare and not name.startswith(HEAD) else name): tensor
        for name, tensor in stored.items()
    }


def _current(name: str) -> str:
    """Return the name that a tensor has today: BERT's oldest files call LayerNorm's weights gamma and beta."""
    for old, new in (("LayerNorm.gamma", "LayerNorm.weight"), ("LayerNorm.beta", "LayerNorm.bias")):
        if name.endswith(old):
            return f"{name.removesuffix(old)}{new}"
    return name


def _stored_tensors(folder: Path) -> tuple[str, dict[str, StoredTensor]]:
    """Open a folder's weight files, of the first format that it has; return that format's file name, too."""
    for name, opened in ((SAFETENSORS, _open_safetensors), (PICKLED, _open_pickled)):
        if _is_there(folder / name):
            files = [folder / name]
        elif _is_there(folder / f"{name}{_INDEX}"):
            files = _parts(folder / f"{name}{_INDEX}")
        else:
            continue
        return name, {tensor: stored for file in files for tensor, stored in opened(_readable(file)).items()}
    found = _listed(sorted(path.name for path in folder.iterdir()), most=10) or "nothing"
    raise ModelError(
        f"no {SAFETENSORS} and no {PICKLED} there; found {found}. Give the folder with the model's weights"
    )


def _parts(index: Path) -> list[Path]:
    """Return the files that an index names, each once."""
    named = _read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise ModelError(f"{index.name} has no weight_map")
    for name in named.values():
        # A path could lead anywhere.
        if not isinstance(name, str) or Path(name).name != name or "\0" in name:
            raise ModelError(f"{index.name} names the file {shortened(name)}, expected a file of the same folder")
    return [index.parent / name for name in dict.fromkeys(named.values())]


def _open_safetensors(path: Path) -> dict[str, StoredTensor]:
    try:
        file: Any = safe_open(path, framework="pt")
        # safe_open is no mapping.
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        return {
            name: StoredTensor(tuple(one.get_shape()), one.get_dtype(), partial(file.get_tensor, name))
            for name, one in slices.items()
        }
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path.name} is damaged: {first_line(error)}") from error


def _open_pickled(path: Path) -> dict[str, StoredTensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    # There is no end to what a damaged pickle raises; PyTorch's own words recommend to run its code.
    except Exception as error:
        raise ModelError(
            f"{path.name} is damaged, or holds more than weights ({type(error).__name__}); no code of it is run. "
            f"Give the model as {SAFETENSORS}"
        ) from error
    if not isinstance(loaded, dict):
        raise ModelError(f"{path.name} holds a {type(loaded).__name__}, expected weights by their names")
    return {
        name: StoredTensor(tuple(one.shape), str(one.dtype), one.detach)
        for name, one in loaded.items()
        if isinstance(name, str)
        and isinstance(one, torch.Tensor)
        and one.layout is torch.strided
        and one.device.type == "cpu"
    }


def _read_json(path: Path) -> dict[str, Any]:
    """Read a file that must be a JSON object."""
    try:
        if (size := _readable(path).stat().st_size) > _MOST_JSON_BYTES:
            raise ModelError(f"{path.name} has {size:,} bytes, expected at most {_MOST_JSON_BYTES:,}")
        content = parse_json(path.read_text(encoding="utf-8-sig"))
    except (OSError, ParseError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} cannot be used: {first_line(error)}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path.name} cannot be used: it is {shortened(content)}, expected an object")
    return content


def _is_there(path: Path) -> bool:
    """Report whether a name is taken, be it by a broken link."""
    return path.is_symlink() or path.exists()


def _readable(path: Path) -> Path:
    """Return a path to a regular file with its content: no folder, pipe or broken link, and no Git LFS pointer."""
    if not path.is_file():
        found = "is not a file" if _is_there(path) else "is missing"
        raise ModelError(f"{_listed([path.name])} {found}")
    try:
        with path.open("rb") as file:
            require_fetched(file.read(len(LFS_POINTER)), Path(path.name), ModelError)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read: {first_line(error)}") from error
    return path


def _listed(items: Sequence[str], most: int = 3) -> str:
    """List the first few; names come from files, so they are made printable."""
    some = ", ".join(one if one.isprintable() else ascii(one) for one in items[:most])
    return f"{some} and {len(items) - most} more" if len(items) > most else some


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) if shape else "a single number"
