"""Per-sample gradients of the last layer, all of them written out."""

from __future__ import annotations

from typing import Any

import numpy as np

from dprune import _core
from dprune._checks import class_labels
from dprune.backend import is_cuda


def last_layer_gradients(features: Any, probabilities: Any, labels: Any, out: Any = None) -> Any:
    """Per-sample gradients of softmax cross-entropy in the last layer, all at once.

    ``g_i = (p_i - y_i) (x) [features_i, 1]``: the weights of class 0, its bias, the weights of
    class 1, ...

    Parameters
    ----------
    features : (n, d) float32 or float64, C-contiguous
        Inputs of the last layer. Tensors on a CUDA device (float32 or bfloat16) stay there, and
        so does the result.
    probabilities : (n, C), same dtype, C-contiguous
        Softmax outputs.
    labels : (n,) int
        0..C-1.
    out : (n, C (d + 1)), same dtype, optional
        Where to write.

    Returns
    -------
    (n, C (d + 1)) array of the same dtype

    Raises
    ------
    TypeError
        If the arrays are not of one floating type and C-contiguous: nothing is cast or copied.
    ValueError
        If shapes do not fit or a label is out of range.
    """
    if is_cuda(features):
        from dprune import gpu

        return gpu.last_layer_gradients(features, probabilities, labels, out)
    for name, array in {"features": features, "probabilities": probabilities, "out": out}.items():
        if array is None and name == "out":
            continue
        if not isinstance(array, np.ndarray) or array.dtype not in (np.float32, np.float64):
            raise TypeError(
                f"{name} must be a float32 or float64 array, found "
                f"{getattr(array, 'dtype', type(array).__name__)}"
            )
        if array.dtype != features.dtype:
            raise TypeError(
                f"{name} must have the dtype of features, {features.dtype}, found {array.dtype}"
            )
        if not array.flags.c_contiguous:
            raise TypeError(f"{name} must be C-contiguous, found strides {array.strides}")
    if features.ndim != 2 or probabilities.ndim != 2:
        raise ValueError(
            f"features and probabilities must have 2 dimensions, found {features.ndim} and "
            f"{probabilities.ndim}"
        )
    y = class_labels(labels, len(features), probabilities.shape[1])
    return _core.last_layer_gradients(features, probabilities, y, out)
