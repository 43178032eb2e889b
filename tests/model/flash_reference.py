"""FlashAttention's place taken by plain arithmetic on the CPU: the kernels alone, the rest is PyTorch's own.

The two operators that `attend_varlen` runs on have a kernel for CUDA only. Here they get one for the CPU: a loop over
the windows that `cum_seq` marks, and a check of everything that the real kernel checks or takes for granted. PyTorch's
autograd formula and its shapes for `torch.compile` stay.
"""

import itertools
from collections.abc import Iterator

import torch

# Kept, as its kernels are there as long as it is.
_LIBRARY = torch.library.Library("aten", "IMPL")


def _windows(cu_seq: torch.Tensor) -> Iterator[slice]:
    return itertools.starmap(slice, itertools.pairwise(cu_seq.tolist()))


def _check(
    tensors: tuple[torch.Tensor, ...],
    cu_seqs: tuple[torch.Tensor, torch.Tensor],
    longest: tuple[int, int],
    dropout_p: float,
    is_causal: bool,
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
    assert 0 <= dropout_p < 1


def _masks(rng_state: torch.Tensor, dropout_p: float, heads: int, windows: list[slice]) -> Iterator[torch.Tensor]:
    """Draw the factors of each window's probabilities, (heads, n, n), the same in both directions."""
    generator = torch.Generator().manual_seed(int(rng_state[0]))
    for window in windows:
        size = window.stop - window.start
        yield (torch.rand(heads, size, size, generator=generator) >= dropout_p).float() / (1 - dropout_p)


def _forward(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cum_seq_q: torch.Tensor,
    cum_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    dropout_p: float,
    is_causal: bool,
    return_debug_mask: bool,
    *,
    scale: float | None = None,
) -> tuple[torch.Tensor, ...]:
    assert not return_debug_mask
    _check((query, key, value), (cum_seq_q, cum_seq_k), (max_q, max_k), dropout_p, is_causal)
    out = torch.empty_like(query)
    log_sums = query.new_empty(query.shape[1], query.shape[0], dtype=torch.float)
    rng_state = torch.randint(2**62, (2,)).to(torch.uint64)
    windows = list(_windows(cum_seq_q))
    for window, mask in zip(windows, _masks(rng_state, dropout_p, query.shape[1], windows), strict=True):
        q, k, v = (one[window].transpose(0, 1) for one in (query, key, value))
        scores = (q @ k.transpose(1, 2)).float() * (scale or query.shape[-1] ** -0.5)
        out[window] = ((scores.softmax(-1) * mask).to(v.dtype) @ v).transpose(0, 1)
        log_sums[:, window] = scores.logsumexp(-1)
    return out, log_sums, rng_state, query.new_empty(0), query.new_empty(0)


def _backward(
    grad_out: torch.Tensor,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    out: torch.Tensor,
    logsumexp: torch.Tensor,
    cum_seq_q: torch.Tensor,
    cum_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    dropout_p: float,
    is_causal: bool,
    rng_state: torch.Tensor,
    _unused: torch.Tensor,
    *,
    scale: float | None = None,
) -> tuple[torch.Tensor, ...]:
    _check((query, key, value, out, grad_out), (cum_seq_q, cum_seq_k), (max_q, max_k), dropout_p, is_causal)
    factor = scale or query.shape[-1] ** -0.5
    grads = tuple(torch.empty_like(one) for one in (query, key, value))
    windows = list(_windows(cum_seq_q))
    for window, mask in zip(windows, _masks(rng_state, dropout_p, query.shape[1], windows), strict=True):
        q, k, v, o, do = (one[window].transpose(0, 1) for one in (query, key, value, out, grad_out))
        probabilities = ((q @ k.transpose(1, 2)).float() * factor - logsumexp[:, window, None]).exp()
        grad_probabilities = (do @ v.transpose(1, 2)) * mask
        grad_scores = (probabilities * (grad_probabilities - (do * o).sum(-1, keepdim=True)) * factor).to(q.dtype)
        kept = (probabilities * mask).to(q.dtype)
        parts = (grad_scores @ k, grad_scores.transpose(1, 2) @ q, kept.transpose(1, 2) @ do)
        for grad, part in zip(grads, parts, strict=True):
            grad[window] = part.transpose(0, 1)
    return grads


_LIBRARY.impl("_flash_attention_forward", _forward, "CPU")
_LIBRARY.impl("_flash_attention_backward", _backward, "CPU")
