"""FlashAttention's place taken by plain arithmetic on the CPU: the kernel alone, everything around it is PyTorch's own.

`torch.nn.attention.varlen.varlen_attn` is two custom operators, one for each direction, that have a kernel for CUDA
only. Here they get one for the CPU: a loop over the windows that `cu_seq` marks, and a check of everything that the
real kernel checks or takes for granted. Their Python front, autograd formula and shapes for `torch.compile` stay.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.attention import varlen


def _windows(cu_seq: torch.Tensor) -> Iterator[slice]:
    return itertools.starmap(slice, itertools.pairwise(cu_seq.tolist()))


def _check(
    tensors: tuple[torch.Tensor, ...],
    cu_seqs: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    is_causal: bool,
    window_size: list[int] | None,
) -> None:
    """Refuse what FlashAttention refuses, and bounds it would read or write beyond the tensors with."""
    query = tensors[0]
    num_tokens, _, head_size = query.shape
    for tensor in tensors:
        assert tensor.shape == query.shape
        assert tensor.dtype == query.dtype
        assert tensor.stride(-1) == 1
    assert head_size % 8 == 0
    assert head_size <= 256
    assert torch.equal(*cu_seqs)
    for cu_seq, most in zip(cu_seqs, longest, strict=True):
        assert cu_seq.dtype is torch.int32
        assert cu_seq.is_contiguous()
        assert cu_seq[0] == 0
        assert cu_seq[-1] == num_tokens
        assert int(cu_seq.diff().min()) > 0
        assert int(cu_seq.diff().max()) <= most
    assert not is_causal
    assert window_size in (None, [-1, -1])


@varlen._varlen_attn.register_kernel("cpu")
def _forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool = False,
    scale: float | None = None,
    window_size: list[int] | None = None,
    *_more: Any,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    _check((query, key, value), (cu_seq_q, cu_seq_k), (max_q, max_k), is_causal, window_size)
    out = torch.empty_like(query)
    log_sums = query.new_empty(query.shape[1], query.shape[0], dtype=torch.float)
    for window in _windows(cu_seq_q):
        q, k, v = (one[window].transpose(0, 1) for one in (query, key, value))
        scores = (q @ k.transpose(1, 2)).float() * (scale or query.shape[-1] ** -0.5)
        out[window] = (scores.softmax(-1).to(v.dtype) @ v).transpose(0, 1)
        log_sums[:, window] = scores.logsumexp(-1)
    return out, log_sums, torch.zeros(2, dtype=torch.uint64)


@varlen._varlen_attn_backward.register_kernel("cpu")
def _backward(
    grad_out: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    is_causal: bool,
    rng_state: torch.Tensor,
    scale: float | None = None,
    window_size: list[int] | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    del rng_state  # of a dropout that is none
    _check((query, key, value, out, grad_out), (cu_seq_q, cu_seq_k), (max_q, max_k), is_causal, window_size)
    factor = scale or query.shape[-1] ** -0.5
    grads = tuple(torch.empty_like(one) for one in (query, key, value))
    for window in _windows(cu_seq_q):
        q, k, v, o, do = (one[window].transpose(0, 1) for one in (query, key, value, out, grad_out))
        probabilities = ((q @ k.transpose(1, 2)).float() * factor - lse[:, window, None]).exp().to(q.dtype)
        grad_probabilities = do @ v.transpose(1, 2)
        grad_scores = probabilities * (grad_probabilities - (do * o).sum(-1, keepdim=True)) * factor
        parts = (grad_scores @ k, grad_scores.transpose(1, 2) @ q, probabilities.transpose(1, 2) @ do)
        for grad, part in zip(grads, parts, strict=True):
            grad[window] = part.transpose(0, 1)
    return grads
