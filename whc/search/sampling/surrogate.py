"""A Gaussian process: it predicts a value of a configuration, and how sure that is, from observed configurations."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

KERNEL_JITTER = 1e-6
MAX_LOG_CHANGE = 3.0  # of a scale, from where it begins; beyond that, matrices lose their rank
MAX_STEPS = 15  # of the optimiser, which starts from the scales of the fit before
# Logs of the first scales, which are also the means of normal priors of deviation 1: a feature's length scale, and the
# shares of the curved (squared-exponential) and the linear kernel in the spread of the values.
LENGTH_PRIOR, CURVED_PRIOR, LINEAR_PRIOR = np.log([1.0, 0.5, 1.0])


class Surrogate:
    """Regression with a linear plus a squared-exponential kernel, which has one length scale a feature.

    All scales are fitted to the marginal likelihood with priors (Rasmussen and Williams 2006, "Gaussian Processes for
    Machine Learning", chapters 2 and 5). The linear kernel is there for the ends of a space, towards which a search
    draws: without it, the prediction beyond all observations is the average.

    Args:
        features: how many.
        noise: about the difference of two observations of one configuration, as a share of the spread of all values.
    """

    def __init__(self, features: int, noise: float) -> None:
        self._begin = np.array([LENGTH_PRIOR] * features + [CURVED_PRIOR, LINEAR_PRIOR, np.log(noise)])
        self._scales = self._begin

    def fit(self, rows: Array, values: Array) -> None:
        """Learn from observations.

        Args:
            rows: (N, features), each feature of 0 to 1 or so.
            values: (N,).
        """
        self._mean, self._spread = values.mean(), max(values.std(), 1e-9)
        targets = (values - self._mean) / self._spread
        parts = np.stack([*_squared_differences(rows, rows), _linear_kernel(rows, rows)])
        fitted = minimize(
            _likelihood,
            self._scales,
            args=(parts, targets, self._begin),
            jac=True,
            method="L-BFGS-B",
            bounds=[(scale - MAX_LOG_CHANGE, scale + MAX_LOG_CHANGE) for scale in self._begin[:-1]]
            + [(self._begin[-1] - 1, self._begin[-1] + MAX_LOG_CHANGE)],
            options={"maxiter": MAX_STEPS},
        )
        self._scales = fitted.x
        self._learn(rows, targets, parts)

    def believe(self, rows: Array) -> None:
        """Add rows as if the values predicted for them had been observed; the scales stay as they are.

        Args:
            rows: (N, features).
        """
        targets = np.concatenate([self._targets, (self.predict(rows)[0] - self._mean) / self._spread])
        rows = np.concatenate([self._rows, rows])
        self._learn(rows, targets, np.stack([*_squared_differences(rows, rows), _linear_kernel(rows, rows)]))

    def _learn(self, rows: Array, targets: Array, parts: Array) -> None:
        self._rows, self._targets = rows, targets
        self._factor = cho_factor(_kernel(self._scales, parts)[0], lower=True)
        self._weights = cho_solve(self._factor, targets)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the value of each row, without the noise of an observation."""
        lengths, (curved, linear, _) = np.exp(-self._scales[:-3]), np.exp(2 * self._scales[-3:])
        scaled, scaled_observed = rows * lengths, self._rows * lengths
        distances = (scaled**2).sum(1)[:, None] + (scaled_observed**2).sum(1)[None] - 2 * scaled @ scaled_observed.T
        kernel = curved * np.exp(-0.5 * np.maximum(distances, 0)) + linear * _linear_kernel(rows, self._rows)
        prior_variance = curved + linear * (((rows - 0.5) ** 2).sum(1) + 1)
        variance = prior_variance - (kernel * cho_solve(self._factor, kernel.T).T).sum(1)
        return self._mean + self._spread * (kernel @ self._weights), self._spread * np.sqrt(np.maximum(variance, 1e-9))


def _squared_differences(a: Array, b: Array) -> Array:
    """Squared differences, feature by feature."""
    return np.ascontiguousarray(((a[:, None, :] - b[None, :, :]) ** 2).transpose(2, 0, 1))


def _linear_kernel(a: Array, b: Array) -> Array:
    return np.asarray((a - 0.5) @ (b - 0.5).T + 1)


def _kernel(scales: Array, parts: Array) -> tuple[Array, Array]:
    """The covariance of the observations, and its curved part."""
    curved, linear, noise = np.exp(2 * scales[-3:])
    signal = curved * np.exp(-0.5 * np.tensordot(np.exp(-2 * scales[:-3]), parts[:-1], axes=1))
    kernel = signal + linear * parts[-1]
    kernel[np.diag_indices(len(kernel))] += noise + KERNEL_JITTER
    return kernel, signal


def _likelihood(scales: Array, parts: Array, targets: Array, begin: Array) -> tuple[float, Array]:
    """Minus the log of marginal likelihood times priors, and its gradient.

    Args:
        scales: logs of the length scales, and of the shares of the curved kernel, the linear one and the noise.
        parts: squared differences, feature by feature, and the linear kernel.
        targets: the values, scaled to mean 0 and deviation 1.
        begin: means of the priors.
    """
    kernel, signal = _kernel(scales, parts)
    factor = cho_factor(kernel, lower=True)
    solved = cho_solve(factor, targets)
    outer = cho_solve(factor, np.eye(len(targets))) - np.outer(solved, solved)
    by_length = 0.5 * np.exp(-2 * scales[:-3]) * np.tensordot(parts[:-1], outer * signal, axes=([1, 2], [0, 1]))
    shares = np.exp(2 * scales[-2:]) * np.array([(outer * parts[-1]).sum(), np.trace(outer)])
    gradient = np.concatenate([by_length, [(outer * signal).sum()], shares])
    off = scales - begin
    value = 0.5 * targets @ solved + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
    return float(value), gradient + off
