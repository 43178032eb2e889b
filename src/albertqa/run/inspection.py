"""Inspect a model, its tokenizer and its machine before a run, for the doctor: cheap, and without any effect on it."""

import hashlib
import platform
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch.nn import functional

from albertqa.model.load import SpanModel, has_fast_bf16
from albertqa.model.processor import read_processor
from albertqa.rundir.run_json import MachineFacts, ModelFacts, TokenizerFacts
from albertqa.windows.tokenizer import QATokenizer

_MEMINFO = Path("/proc/meminfo")
_SAMPLED_WEIGHTS = 512
# Shorter pieces are seldom two forms of one word.
_SHORTEST_FORM, _MOST_PAIRS = 4, 4_000
# The name of a parameter up to its last number, which tells its layer.
_NUMBERED = re.compile(r".*\.\d+(?=\.)")
# In smaller matrices chance is too large.
_SMALLEST_MATRIX = 32


def model_facts(model: SpanModel, tokenizer: QATokenizer, source: str) -> ModelFacts:
    """Describe a model and its tokenizer before any step; `source` is what the user called it."""
    config = model.model.config
    pieces = [piece for piece in tokenizer.backend.get_vocab() if any(map(str.isalpha, piece)) and piece[0] not in "<["]
    cased = sum(piece != piece.lower() for piece in pieces)
    embeddings = model.model.embeddings.word.weight
    pairs, alike = related_pieces(embeddings, tokenizer.backend.get_vocab())
    parameters = list(model.model.parameters())
    return ModelFacts(
        source=source,
        type=model.family.model_type,
        parameters=sum(one.numel() for one in parameters),
        trainable_parameters=sum(one.numel() for one in parameters if one.requires_grad),
        tokenizer_sha256=tokenizer.fingerprint,
        hidden_size=config.hidden_size,
        layers=config.layers,
        max_positions=model.max_positions,
        vocabulary=config.vocab_size,
        segment_types=config.segments,
        hidden_dropout=float(config.hidden_dropout),
        attention_dropout=float(config.attention_dropout),
        untrained=is_untrained(model.model),
        random_layers=random_layers(model.model),
        tokenizer=TokenizerFacts(
            vocabulary=tokenizer.vocab_size,
            segments=[tokenizer.layout.question_segment, tokenizer.layout.context_segment],
            folds_case=tokenizer.encode_batch(["ABC"])[0].ids == tokenizer.encode_batch(["abc"])[0].ids,
            cased_pieces_percent=round(100 * cased / max(1, len(pieces)), 3),
            related_pieces=pairs,
            related_pieces_percent=alike,
        ),
    )


def weights_sha256(model: torch.nn.Module) -> str:
    """Return a hash of all weights."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def machine_facts(model: SpanModel, run: Path) -> MachineFacts:
    """Describe the machine that a run starts on.

    Args:
        model: The model, on its device.
        run: The run directory.
    """
    is_cuda = model.device.type == "cuda"
    return MachineFacts(
        device=str(model.device),
        device_name=str(torch.cuda.get_device_name(model.device)) if is_cuda else read_processor().name,
        precision=str(model.autocast_dtype or torch.float32).removeprefix("torch."),
        threads=torch.get_num_threads(),
        platform=platform.platform(),
        fast_bf16=has_fast_bf16(model.device),
        **machine_state(run),
    )


@torch.no_grad()
def related_pieces(embeddings: torch.Tensor, vocabulary: Mapping[str, int]) -> tuple[int, float]:
    """Measure whether pieces that are two forms of a word ("river", "rivers") have embeddings that are alike.

    In pretraining they become so. Where another vocabulary's ids are looked up, or the table is damaged, two forms of a
    word are no more alike than any two pieces.

    Args:
        embeddings: The encoder's table.
        vocabulary: The tokenizer's pieces with their ids.

    Returns:
        How many pairs of pieces that differ by one last letter were looked at, and the percentage of them that are more
        alike than one of the two is to another pair's: 94 for the starter encoder, 50 by chance.

    Shapes:
        embeddings: (tokens, width)
    """
    # Sorted, as a tokenizer gives its pieces in another order every time.
    forms = sorted(
        (at, vocabulary[piece[:-1]])
        for piece, at in vocabulary.items()
        if len(piece) > _SHORTEST_FORM and piece[-1].isalpha() and piece[:-1] in vocabulary
    )
    forms = [pair for pair in forms[:: 1 + len(forms) // _MOST_PAIRS] if max(pair) < len(embeddings)]
    if len(forms) < 2:
        return len(forms), 0.0
    used = embeddings[torch.tensor(forms, device=embeddings.device)].to("cpu", torch.float32)
    # What all pieces have in common would make any two alike.
    one, other = (used - used.mean(dim=(0, 1))).unbind(1)
    own = functional.cosine_similarity(one, other)
    strange = functional.cosine_similarity(one, other.roll(len(forms) // 2, dims=0))
    # A table of equal rows gives as many as chance would.
    percent = 100 * ((own > strange).float().mean() + 0.5 * (own == strange).float().mean())
    return len(forms), round(float(percent), 3)


def is_untrained(model: torch.nn.Module) -> bool:
    """Return whether an encoder's weights are still those that it was created with.

    Every normalization is made with scale 1 and shift 0, to the bit, and no training leaves all of them so.
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]
    return bool(norms) and all(
        bool((norm.weight == 1).all()) and (norm.bias is None or not bool(norm.bias.any())) for norm in norms
    )


@torch.no_grad()
def random_layers(model: torch.nn.Module) -> list[int]:
    """Return the layers, from 0, whose weight matrices are as random ones are drawn, or zero: lost, or never loaded.

    Drawn weights have one spread in all rows and columns, and no tails; pretraining makes some rows, columns and single
    weights larger. So it does not matter from which distribution they were drawn, nor what the LayerNorms hold.

    Args:
        model: The model; its layers are told apart by the number in the names of their parameters.
    """
    layers: dict[str, list[bool]] = {}
    for name, weight in model.named_parameters():
        numbered = _NUMBERED.match(name)
        if numbered and weight.dim() == 2 and min(weight.shape) >= _SMALLEST_MATRIX:
            layers.setdefault(numbered[0], []).append(_is_drawn(weight.detach()))
    return [at for at, drawn in enumerate(layers.values()) if sum(drawn) > 0.5 * len(drawn)]


def _is_drawn(weight: torch.Tensor) -> bool:
    """Return whether a matrix's weights are zero, or independent draws from one short-tailed distribution."""
    squares = weight.to("cpu", torch.float64).square()
    mean = float(squares.mean())
    if mean == 0:
        return True
    tails = float(squares.square().mean()) / (mean * mean)
    # A normal distribution has 3, a uniform one 1.8; pretrained matrices have 3.2 and more.
    if not tails < 3 + 4 * (24 / squares.numel()) ** 0.5:
        return False
    # The spread of the rows' and of the columns' means; 1 is what chance gives, pretrained matrices have 1.5 and more.
    spreads = [float(squares.mean(axis).std()) / mean / ((tails - 1) / squares.shape[axis]) ** 0.5 for axis in (0, 1)]
    return bool(max(spreads) < 1.3)


class WeightSample:
    """Some of an encoder's weights as they are now, to see later how far they have moved."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._then = _sampled(model)

    def moved_percent(self, model: torch.nn.Module) -> float:
        """Return the root mean square of the changes since, in percent of their own, over all sampled matrices."""
        changed = total = 0.0
        for name, now in _sampled(model).items():
            changed += float((now - self._then[name]).square().sum())
            total += float(self._then[name].square().sum())
        return round(100 * (changed / total) ** 0.5, 6) if total else 0.0


def _sampled(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Take evenly spaced weights of every matrix but the head's, which begins at random, and the embeddings' tables."""
    found = {}
    for name, weight in model.named_parameters():
        if weight.dim() == 2 and "embeddings." not in name and not name.startswith("qa_outputs."):
            flat = weight.detach().reshape(-1)
            found[name] = flat[:: max(1, len(flat) // _SAMPLED_WEIGHTS)].to("cpu", torch.float64, copy=True)
    return found


def machine_state(run: Path) -> dict[str, int]:
    """Return the free space on a run's disk, and on Linux the swap space in use, as `MachineFacts` has them."""
    state = {"disk_free_bytes": shutil.disk_usage(run).free}
    try:
        text = _MEMINFO.read_text(encoding="ascii", errors="replace")
    except OSError:
        return state
    kibibytes = {name: int(value) for name, value in re.findall(r"^(SwapTotal|SwapFree):\s+(\d+) kB$", text, re.M)}
    if len(kibibytes) == 2:
        state["swap_used_bytes"] = 1024 * (kibibytes["SwapTotal"] - kibibytes["SwapFree"])
    return state
