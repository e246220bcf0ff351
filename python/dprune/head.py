"""The last layer of a classifier as a convex problem of its own.

``L(theta) = (1/n) sum_i w_i l(theta; h_i, y_i) + (lam/2) ||theta||^2`` with
``h_i = [features_i, 1]`` and softmax cross-entropy or squared loss l. Influence functions assume
that theta minimises L on these very features; a trained network's last layer is only near the
minimum, so it is refitted.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dprune._checks import class_labels, feature_matrix, sample_weights_vector
from dprune.curvature import Curvature, Hessian, SquaredHessian
from dprune.design import Design, Float64, vector_parts
from dprune.minimise import losses, minimise_softmax, minimise_squared, output_errors

if TYPE_CHECKING:
    import torch

_CRITERIA = ("softmax", "squared")
_SOLVE_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Change:
    """A predicted change of the head."""

    theta: Float64 = field(repr=False)  # (C, d + 1)
    norm: float
    residual: float  # relative residual of the solve behind it


@dataclass(frozen=True)
class LastLayer:
    """A linear head with the data it was fitted on.

    Build one with :meth:`fit` (arrays) or :meth:`from_torch` (a model and its training set).

    Attributes
    ----------
    features : (n, d) float
        Inputs of the last layer.
    labels : (n,) int64
        Classes, 0..C-1.
    weight_decay : float
        ``lam``, the L2 penalty ``(lam/2) ||theta||^2`` on weights and biases.
    theta : (C, d + 1) float64
        Weights and, in the last column, biases.
    criterion : {"softmax", "squared"}
        ``l``: softmax cross-entropy, or ``||theta h_i - y_i||^2 / 2`` with y_i one-hot.
    sample_weights : (n,) float64 or None
        ``w_i``; None: all one.
    """

    features: npt.NDArray[Any] = field(repr=False)
    labels: npt.NDArray[np.int64] = field(repr=False)
    weight_decay: float
    theta: Float64 = field(repr=False)
    criterion: str = "softmax"
    sample_weights: Float64 | None = field(default=None, repr=False)

    @classmethod
    def fit(
        cls,
        features: npt.ArrayLike,
        labels: npt.ArrayLike,
        weight_decay: float = 5e-4,
        *,
        classes: int | None = None,
        start: Float64 | None = None,
        criterion: str = "softmax",
        sample_weights: npt.ArrayLike | None = None,
    ) -> LastLayer:
        """Minimise the head loss on arrays: Newton steps to a gradient norm of 1e-8.

        Parameters
        ----------
        features : (n, d) float16, float32 or float64
            An array or a memory map, used in place.
        labels : (n,) int
            0..C-1.
        weight_decay : float, default 5e-4
            ``lam`` > 0; without it the Hessian is singular on separable data.
        classes : int, optional
            C; default the largest label plus one.
        start : (C, d + 1) float64, optional
            Where Newton's method begins; default zero.
        criterion : {"softmax", "squared"}
            Softmax cross-entropy, or squared loss against one-hot labels.
        sample_weights : (n,) float, optional
            ``w_i`` > 0 in ``(1/n) sum_i w_i l_i``. Class weights are ``weights[labels]``; divided
            by their mean they give PyTorch's weighted mean.

        Raises
        ------
        ValueError, TypeError
            On features that are not finite, not 2-d or not floating; labels out of range or of
            another length; ``weight_decay`` not positive; weights not positive.
        RuntimeError
            If the gradient norm is not reached.
        """
        x, y, count = _checked(features, labels, weight_decay, classes)
        if criterion not in _CRITERIA:
            raise ValueError(
                f"criterion must be one of {', '.join(_CRITERIA)}, found {criterion!r}"
            )
        weights = None if sample_weights is None else sample_weights_vector(sample_weights, len(y))
        theta = np.zeros((count, x.shape[1] + 1)) if start is None else start
        if theta.shape != (count, x.shape[1] + 1):
            raise ValueError(
                f"start must have shape {(count, x.shape[1] + 1)}, found {theta.shape}"
            )
        design = Design(x, weights)
        minimise = minimise_softmax if criterion == "softmax" else minimise_squared
        head = cls(
            x, y, float(weight_decay), minimise(design, y, weight_decay, theta), criterion, weights
        )
        # What the fit has computed about the features holds for the head.
        head.__dict__["design"] = design
        return head

    @classmethod
    def from_torch(
        cls,
        model: torch.nn.Module,
        loader: torch.utils.data.DataLoader[Any] | torch.utils.data.Dataset[Any],
        weight_decay: float = 5e-4,
        layer: torch.nn.Linear | str | None = None,
        refit: bool = True,
        *,
        out: str | os.PathLike[str] | None = None,
        dtype: npt.DTypeLike = np.float32,
        progress: bool = False,
    ) -> LastLayer:
        """Take the last Linear of a model and its inputs over a training set.

        The model runs in evaluation mode without gradients on the device it is on; its modes and
        hooks are as before afterwards.

        Parameters
        ----------
        model : torch.nn.Module
            Any model that ends in a Linear.
        loader : DataLoader or Dataset
            Yields ``(inputs, labels, ...)`` in the order of the data set: row i is ``dataset[i]``.
        weight_decay : float, default 5e-4
            ``lam``; as in training.
        layer : Linear or str, optional
            The layer, or its name; default the last Linear in ``model.modules()``.
        refit : bool, default True
            Minimise the head loss on the features from the model's weights. With False the
            weights are used as they are, although they do not minimise it.
        out : path, optional
            Write the features to this ``.npy`` memory map (labels beside it, in
            ``<out>.labels.npy``), for sets larger than memory. A run that was killed goes on
            where it stopped.
        dtype : float32 or float16
            How features are kept; half precision halves the space.
        progress : bool, default False
            Show a progress bar (needs rich, ``pip install 'dprune[report]'``).

        Raises
        ------
        ValueError
            If the loader shuffles or drops samples, if the layer is not found, not 2-d at its
            input or run more than once a batch.
        """
        from dprune._torch import last_layer_inputs  # torch only where a torch object came in

        features, labels, theta = last_layer_inputs(
            model, loader, layer, out=out, dtype=dtype, progress=progress
        )
        if refit:
            return cls.fit(features, labels, weight_decay, classes=len(theta), start=theta)
        x, y, _ = _checked(features, labels, weight_decay, len(theta))
        return cls(x, y, float(weight_decay), theta)

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.labels)

    @property
    def classes(self) -> int:
        """C, the number of classes."""
        return len(self.theta)

    @cached_property
    def design(self) -> Design:
        """``[features, 1]``, (n, d + 1), with the sample weights."""
        return Design(self.features, self.sample_weights)

    @cached_property
    def errors(self) -> Float64:
        """``w_i (p_i - y_i)``, (n, C) float64; squared loss: ``w_i (theta h_i - y_i)``."""
        return self._weighted(
            output_errors(self.design.times(self.theta), self.labels, self.criterion)
        )

    @cached_property
    def probabilities(self) -> Float64:
        """Softmax probabilities ``p_i``, (n, C) float64."""
        if self.criterion != "softmax":
            raise ValueError("probabilities need criterion='softmax', found 'squared'")
        p = self.errors.copy()
        if self.sample_weights is not None:
            p /= self.sample_weights[:, None]
        p[np.arange(self.n), self.labels] += 1.0
        return p

    @cached_property
    def hessian(self) -> Curvature:
        """The Hessian of the head loss at ``theta``."""
        if self.criterion == "squared":
            return SquaredHessian(self.design, self.classes, self.weight_decay)
        return Hessian(self.design, self.probabilities, self.weight_decay)

    @cached_property
    def contrast_errors(self) -> Float64:
        """``Q^T r_i`` with r_i the ``errors``: the class factors of the gradients, (n, k)."""
        return np.asarray(self.errors @ self.hessian.contrasts)

    def gradients(self, samples: npt.NDArray[np.int64]) -> Float64:
        """``g_i`` of some samples in contrasts, (len(samples), k (d + 1))."""
        x = self.design.gather(samples)
        e = self.contrast_errors[samples]
        return (e[:, :, None] * x[:, None, :]).reshape(len(samples), -1)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of n, labels and features: which data set, in which order."""
        digest = hashlib.sha256(f"dprune head {self.n} {self.features.dtype}".encode())
        digest.update(self.labels.data)
        digest.update(np.ascontiguousarray(self.features).data)
        return digest.hexdigest()

    def gradient_sum(self, weights: Float64, *, dtype: npt.DTypeLike = np.float64) -> Float64:
        """``G^T V = sum_i g_i v_i^T`` in contrasts for V (n,) or (n, columns), no g_i formed.

        Shape (k (d + 1), columns). With float32 products run in it, sums of blocks in float64.
        """
        v = weights.reshape(self.n, -1).astype(dtype, copy=False)
        errors = self.errors.astype(dtype, copy=False)
        classes, width = self.theta.shape
        total = np.zeros((v.shape[1], classes, width))
        parts = list(vector_parts(len(total), classes))
        for block, x in self.design.blocks(parts[0].stop * classes, dtype):
            for part in parts:
                scaled = v[block, part, None] * errors[block, None, :]
                products = scaled.reshape(len(x), -1).T @ x
                total[part] += products.reshape(-1, classes, width)
        turned = self.hessian.contrasts.T @ total
        return np.asarray(turned.reshape(v.shape[1], -1).T)

    def gradient_product(
        self, vectors: Float64, *, dtype: npt.DTypeLike = np.float64
    ) -> npt.NDArray[Any]:
        """``G V``: the inner products ``g_i . v`` in contrasts, (n, columns), no g_i formed.

        In ``dtype``, products and result.
        """
        turned = self.hessian.contrasts @ vectors.T.reshape(-1, *self.hessian.shape)
        turned = turned.astype(dtype, copy=False)
        errors = self.errors.astype(dtype, copy=False)
        out = np.empty((self.n, len(turned)), dtype=dtype)
        parts = list(vector_parts(len(turned), self.classes))
        for block, x in self.design.blocks(parts[0].stop * self.classes, dtype):
            for part in parts:
                logits = x @ turned[part].reshape(-1, x.shape[1]).T
                logits = logits.reshape(len(x), -1, self.classes)
                np.einsum("ikc,ic->ik", logits, errors[block], out=out[block, part])
        return out

    def change(self, removed: npt.NDArray[np.int64], *, reweight: float = 1.0) -> Change:
        """First-order change of the head when samples are left out, by one Hessian solve.

        ``change_c = H^-1 sum_i (W_i - c m/n) g_i / (n (1 - c m/n))``: the kept samples' weight
        grows from 1/n to 1/(n - c m).

        Parameters
        ----------
        removed : (m,) int
            Sample indices.
        reweight : float, default 1
            c in [0, 1].
        """
        m = len(removed)
        weights = np.full(self.n, -reweight * m / self.n)
        weights[removed] += 1.0
        solve = self.hessian.solve(self.gradient_sum(weights), tol=_SOLVE_TOLERANCE)
        kept_share = 1.0 - reweight * m / self.n
        step = solve.solution.reshape(self.hessian.shape) / (self.n * kept_share)
        return Change(
            self.hessian.contrasts @ step, float(np.linalg.norm(step)), float(solve.residuals[0])
        )

    def loss(self, features: npt.ArrayLike, labels: npt.ArrayLike) -> float:
        """Mean of ``l``, without weights and weight decay, on any data."""
        x, y = feature_matrix(features), class_labels(labels, np.shape(features)[0], self.classes)
        return float(np.mean(losses(Design(x).times(self.theta), y, self.criterion)))

    @property
    def gradient(self) -> Float64:
        """Gradient of the head loss at ``theta``, in contrasts, (k (d + 1), 1); 0 after a fit."""
        total = self.gradient_sum(np.ones(self.n)) / self.n
        pull = self.hessian.contrasts.T @ self.theta * self.weight_decay
        return np.asarray(total + pull.reshape(-1, 1))

    def restricted(self, indices: npt.NDArray[np.int64]) -> LastLayer:
        """The same ``theta`` on some of the samples, which it does not fit best."""
        return replace(
            self,
            features=self.features[indices],
            labels=self.labels[indices],
            sample_weights=None if self.sample_weights is None else self.sample_weights[indices],
        )

    def subset(self, indices: npt.NDArray[np.int64], *, start: Float64 | None = None) -> LastLayer:
        """The head refitted on the mean loss of some of its samples.

        Newton's method begins at ``start``, by default ``theta``.
        """
        part = self.restricted(indices)
        design = Design(part.features, part.sample_weights)
        if self.criterion == "squared":
            theta = minimise_squared(design, part.labels, self.weight_decay, self.theta)
        else:
            # As a preconditioner the second moment of all samples serves as well.
            design.__dict__["second_moment_eigh"] = self.design.second_moment_eigh
            begin = self.theta if start is None else start
            theta = minimise_softmax(design, part.labels, self.weight_decay, begin)
        return replace(part, theta=theta)

    def _weighted(self, values: Float64) -> Float64:
        return values if self.sample_weights is None else values * self.sample_weights[:, None]


def _checked(
    features: npt.ArrayLike, labels: npt.ArrayLike, weight_decay: float, classes: int | None
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], int]:
    x = feature_matrix(features)
    y = class_labels(labels, len(x), classes)
    if not weight_decay > 0.0 or not np.isfinite(weight_decay):
        raise ValueError(
            f"weight_decay must be positive and finite, found {weight_decay}: without it the head "
            "has no minimiser where the classes are separable, and its Hessian is singular"
        )
    count = int(y.max()) + 1 if classes is None else classes
    if count < 2:
        raise ValueError(f"labels must name at least 2 classes, found {count}")
    return x, y, count
