"""The forms of a matrix in an exported model: fp32, and two of int8. All are symmetric: 0 stays 0.

*Faithful* keeps a scale for every 32 weights, from which ONNX Runtime restores fp32 once, when it loads the file: what
is small is the file, and a window's logits do not depend on the windows beside it. *Fast* rounds a layer's input, too,
by its smallest and largest value, and multiplies integers.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float32]

BLOCK = 32
"""Weights of the faithful form that share a scale."""


def in_blocks(weight: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Round a matrix with a scale for every `BLOCK` weights of an output, or for all of them where that leaves a rest.

    Args:
        weight: A linear layer's weight.

    Returns:
        The weights, and their scales, to be multiplied with them.

    Shapes:
        weight: (out, in) float32
        returns: (in / block, block, out) int8, (in / block, 1, out) float32
    """
    outputs, inputs = weight.shape
    block = BLOCK if inputs % BLOCK == 0 else inputs
    rounded, scale = _rounded(weight.reshape(outputs, -1, block), 127)
    return np.ascontiguousarray(rounded.transpose(1, 2, 0)), np.ascontiguousarray(scale.transpose(1, 2, 0))


def by_output(weight: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Round a matrix with a scale for every output, so that no processor's products overflow.

    Processors with AVX2 but without VNNI add the products of two neighbouring inputs in 16 bits, and cut off what does
    not fit. An input is at most 255, so two weights whose sum is from -128 to 128 fit: 255 * 128 = 32,640.

    Args:
        weight: A linear layer's weight.

    Shapes:
        weight: (out, in) float32
        returns: (in, out) int8, (out,) float32
    """
    pairs = np.pad(weight, ((0, 0), (0, weight.shape[1] % 2))).reshape(len(weight), -1, 2)
    # Rounding adds at most a half to each of the two.
    most = np.maximum(np.abs(weight).max(axis=1), np.abs(pairs.sum(axis=2)).max(axis=1))
    rounded, scale = _rounded(weight, 127, most[:, None])
    return np.ascontiguousarray(rounded.T), scale[:, 0]


def by_row(table: FloatArray) -> tuple[NDArray[np.int8], FloatArray]:
    """Round a table of embeddings with a scale for every row.

    Shapes:
        table: (rows, width) float32
        returns: (rows, width) int8, (rows, 1) float32
    """
    return _rounded(table, 127)


def _rounded(values: FloatArray, most: int, largest: FloatArray | None = None) -> tuple[NDArray[np.int8], FloatArray]:
    """Round to whole numbers from -most to most, with a scale for the last axis by its largest value, or by another."""
    largest = np.abs(values).max(axis=-1, keepdims=True) if largest is None else largest
    scale = largest.astype(np.float32) / np.float32(most)
    # Where all are 0, any scale will do.
    scale[scale == 0] = 1
    return np.rint(values / scale).clip(-most, most).astype(np.int8), scale
