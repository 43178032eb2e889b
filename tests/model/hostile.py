"""Ways to damage a good model folder, each seeded."""

import json
import os
import pickle
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from albertqa.model.families import FAMILIES
from albertqa.model.weights import CONFIG_JSON, PICKLED, SAFETENSORS

MARKER = "EXECUTED"
TERMINAL = "a\x1b[31m\nb\u202e"
Damage = Callable[[Path, str, random.Random], None]
DAMAGES: list[Damage] = []


def damage(function: Damage) -> Damage:
    DAMAGES.append(function)
    return function


def config_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / CONFIG_JSON).read_text())
    return content


def write_config(folder: Path, content: object) -> None:
    (folder / CONFIG_JSON).write_text(json.dumps(content))


def edit_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = load_file(folder / SAFETENSORS)
    change(tensors)
    save_file(tensors, folder / SAFETENSORS)


@damage
def a_setting_of_a_wrong_type_or_range(folder: Path, family: str, rng: random.Random) -> None:
    setting = rng.choice(FAMILIES[family].settings)
    values: list[Any] = [
        "x",
        TERMINAL,
        "\ud800",
        [],
        [1],
        {},
        {"a": 1},
        True,
        False,
        -1,
        10**9,
        10**30,
        -(10**30),
        1e308,
    ]
    if setting.ours != "initializer_range":
        values.append(2.5)
    if setting.ours != "padding_id":
        values.append(None)
    write_config(folder, {**config_of(folder), setting.theirs: rng.choice(values)})


@damage
def a_setting_that_json_does_not_have(folder: Path, family: str, rng: random.Random) -> None:
    name = rng.choice(FAMILIES[family].settings).theirs
    text = json.dumps({**config_of(folder), name: "PLACE"})
    value = rng.choice(["NaN", "Infinity", "-Infinity", "9" * 6000, "1e400", "[" * 100_000, "0x10", "'a'"])
    (folder / CONFIG_JSON).write_text(text.replace('"PLACE"', value))


@damage
def a_size_that_is_missing(folder: Path, family: str, rng: random.Random) -> None:
    content = config_of(folder)
    del content[rng.choice([one.theirs for one in FAMILIES[family].settings if one.default is ...])]
    write_config(folder, content)


@damage
def a_size_that_the_weights_do_not_have(folder: Path, family: str, rng: random.Random) -> None:
    sizes = {"vocab_size", "hidden_size", "feed_forward_size", "positions", "embedding_size"}
    setting = rng.choice([one for one in FAMILIES[family].settings if one.ours in sizes])
    content = config_of(folder)
    write_config(folder, {**content, setting.theirs: rng.choice([2, 1000]) * content[setting.theirs]})


@damage
def another_architecture(folder: Path, family: str, rng: random.Random) -> None:
    del family
    changes = [
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"add_cross_attention": True},
        {"pruned_heads": {"0": [1]}},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"bos_token_id": "x"},
        {"eos_token_id": [1, 2]},
    ]
    write_config(folder, {**config_of(folder), **rng.choice(changes)})


@damage
def an_unknown_type(folder: Path, family: str, rng: random.Random) -> None:
    del family
    kinds: list[Any] = [
        "evil",
        "",
        "../albert",
        "ALBERT",
        TERMINAL,
        "\ud800",
        None,
        1,
        [],
        ["albert"],
        {"a": "b"},
        True,
    ]
    write_config(folder, {**config_of(folder), "model_type": rng.choice(kinds)})


@damage
def code_beside_the_config(folder: Path, family: str, rng: random.Random) -> None:
    del family
    (folder / "evil.py").write_text(f"open({str(folder / MARKER)!r}, 'w').close()\n")
    maps: list[Any] = [{"AutoConfig": "evil.C", "AutoModelForQuestionAnswering": "evil.M"}, "evil.C", ["evil.C"], 1]
    kind = rng.choice(["evil", config_of(folder)["model_type"]])
    write_config(folder, {**config_of(folder), "model_type": kind, "auto_map": rng.choice(maps)})


@damage
def a_config_that_is_no_object(folder: Path, family: str, rng: random.Random) -> None:
    del family
    text = (folder / CONFIG_JSON).read_bytes()
    contents = [
        b"",
        b"[]",
        b"null",
        b"3",
        b'"albert"',
        b"\xff\xfe\x00",
        b"{" * 100_000,
        b'{"a":' * 100_000,
        text[: len(text) // 2],
        text.decode().encode("utf-16"),
        b"\x00" * 1000,
        b"version https://git-lfs.github.com/spec/v1\n",
        rng.randbytes(500),
    ]
    (folder / CONFIG_JSON).write_bytes(rng.choice(contents))


@damage
def a_config_that_is_no_file(folder: Path, family: str, rng: random.Random) -> None:
    del family
    not_a_file(folder / CONFIG_JSON, rng)


@damage
def weights_that_are_no_file(folder: Path, family: str, rng: random.Random) -> None:
    del family
    not_a_file(folder / SAFETENSORS, rng)


def not_a_file(path: Path, rng: random.Random) -> None:
    path.unlink()
    kind = rng.choice(["missing", "folder", "pipe", "loop", "broken link", "device"])
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.symlink_to({"loop": path.name, "broken link": "nothing", "device": "/dev/zero"}[kind])


@damage
def weights_that_are_cut_or_overwritten(folder: Path, family: str, rng: random.Random) -> None:
    del family
    path = folder / SAFETENSORS
    content = bytearray(path.read_bytes())
    kind = rng.choice(["cut", "begin", "random", "header length", "lfs", "empty"])
    if kind == "cut":
        content = content[: rng.randrange(len(content))]
    elif kind == "begin":
        content[:64] = rng.randbytes(64)
    elif kind == "random":
        content = bytearray(rng.randbytes(1000))
    elif kind == "header length":
        content[:8] = struct.pack("<Q", rng.choice([0, 2**63, 2**64 - 1, 10**8, len(content)]))
    else:
        content = bytearray(b"version https://git-lfs.github.com/spec/v1\n" if kind == "lfs" else b"")
    path.write_bytes(content)


@damage
def a_header_that_does_not_fit(folder: Path, family: str, rng: random.Random) -> None:
    del family
    path = folder / SAFETENSORS
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = rng.choice([one for one in header if one != "__metadata__" and "pooler" not in one])
    kind = rng.choice(["dtype", "shape", "offsets", "name"])
    if kind == "dtype":
        header[name]["dtype"] = rng.choice(["F99", "I64", "", 1, None, TERMINAL])
    elif kind == "shape":
        header[name]["shape"] = rng.choice([[], [0], [2**62, 4], [-1], "x", [10**12, 0], [1.5]])
    elif kind == "offsets":
        header[name]["data_offsets"] = rng.choice([[0, 2**63], [-1, 3], [8, 4], [], "x"])
    else:
        header[TERMINAL] = header.pop(name)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])


@damage
def tensors_that_are_not_right(folder: Path, family: str, rng: random.Random) -> None:
    prefix = FAMILIES[family].prefix

    def change(tensors: dict[str, torch.Tensor]) -> None:
        name = rng.choice(sorted(tensors))
        kind = rng.choice(["nan", "inf", "int8", "complex", "missing", "extra", "transposed", "longer", "scalar"])
        if kind in {"nan", "inf"}:
            tensors[name].view(-1)[rng.randrange(tensors[name].numel())] = float(kind)
        elif kind in {"int8", "complex"}:
            tensors[name] = tensors[name].to(torch.int8 if kind == "int8" else torch.complex64)
        elif kind == "missing":
            del tensors[name]
        elif kind == "extra":
            tensors[f"{prefix}encoder.{TERMINAL}"] = torch.zeros(3)
        elif kind == "transposed":
            tensors[name] = tensors[name][None]
        else:
            tensors[name] = torch.cat([tensors[name]] * 2) if kind == "longer" else torch.tensor(1.0)

    edit_tensors(folder, change)


class Trap:
    """Executes something where it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@damage
def a_pickle_that_is_no_weights(folder: Path, family: str, rng: random.Random) -> None:
    del family
    tensors = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).unlink()
    path = folder / PICKLED
    name = rng.choice(sorted(tensors))
    trap = Trap(folder / MARKER)
    kind = rng.choice(["trap", "trap in a zip", "trap beside weights", "list", "number", "cut", "random", "types"])
    if kind == "trap":
        path.write_bytes(pickle.dumps(trap))
    elif kind == "trap in a zip":
        torch.save(trap, path)
    elif kind == "trap beside weights":
        torch.save({**tensors, "more": trap}, path)
    elif kind == "list":
        torch.save(list(tensors.values()), path)
    elif kind == "number":
        torch.save(3, path)
    elif kind == "cut":
        torch.save(tensors, path)
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size - 100)])
    elif kind == "random":
        path.write_bytes(rng.randbytes(2000))
    else:
        odd = [3, None, "x", tensors[name].to_sparse(), tensors[name].to("meta"), torch.zeros(1).expand(10**9, 10**9)]
        torch.save({**tensors, name: rng.choice(odd)}, path)


@damage
def an_index_that_leads_elsewhere(folder: Path, family: str, rng: random.Random) -> None:
    del family
    tensors = load_file(folder / SAFETENSORS)
    (folder / SAFETENSORS).rename(folder / "part.safetensors")
    names = ["../part.safetensors", "/etc/passwd", "nothing.safetensors", "", ".", "..", "a/b", "\0", TERMINAL, 3, None]
    maps: list[Any] = [{name: rng.choice(names) for name in tensors}, {}, [], None, "part.safetensors", {"x": ["y"]}]
    kind = rng.choice([SAFETENSORS, PICKLED])
    (folder / f"{kind}.index.json").write_text(json.dumps({"weight_map": rng.choice([maps[0], *maps])}))
