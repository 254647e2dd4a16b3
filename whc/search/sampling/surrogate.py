"""A Gaussian process: what is expected of a configuration, and how sure that is, from those that have been tried."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

JITTER = 1e-6
FAR = 3.0  # how far, in logs, scales may go from where they begin: beyond that, matrices lose their rank
STEPS = 15  # of the optimiser, which goes on from where it was before
# Logs of where it begins, and what pulls it back by a normal prior of deviation 1: a feature's length scale, and the
# shares of the curved part and of the straight one in the spread of the values.
LENGTH, CURVED, STRAIGHT = np.log([1.0, 0.5, 1.0])


class Surrogate:
    """Regression by a straight line plus a squared-exponential kernel, one length scale a feature.

    All scales are fitted to the marginal likelihood with priors (Rasmussen and Williams 2006, "Gaussian Processes for
    Machine Learning", chapters 2 and 5). The straight part is there for the ends of a space, which one draws towards:
    without it, what is beyond everything tried is expected to be average.

    Args:
        features: how many.
        noise: about how far apart two observations of the same are, as a share of the spread of all.
    """

    def __init__(self, features: int, noise: float) -> None:
        self._begin = np.array([LENGTH] * features + [CURVED, STRAIGHT, np.log(noise)])
        self._scales = self._begin

    def fit(self, rows: Array, values: Array) -> None:
        """Learn from observations.

        Args:
            rows: (N, features), each feature of 0 to 1 or so.
            values: (N,).
        """
        self._mean, self._spread = values.mean(), max(values.std(), 1e-9)
        known = (values - self._mean) / self._spread
        parts = np.stack([*_parted(rows, rows), _straight(rows, rows)])
        found = minimize(
            _likelihood,
            self._scales,
            args=(parts, known, self._begin),
            jac=True,
            method="L-BFGS-B",
            bounds=[(one - FAR, one + FAR) for one in self._begin[:-1]]
            + [(self._begin[-1] - 1, self._begin[-1] + FAR)],
            options={"maxiter": STEPS},
        )
        self._scales = found.x
        self._learn(rows, known, parts)

    def believe(self, rows: Array) -> None:
        """Take rows to have come out as expected: what is like them is as good as known. Scales stay as they are.

        Args:
            rows: (N, features).
        """
        known = np.concatenate([self._known, (self.predict(rows)[0] - self._mean) / self._spread])
        rows = np.concatenate([self._rows, rows])
        self._learn(rows, known, np.stack([*_parted(rows, rows), _straight(rows, rows)]))

    def _learn(self, rows: Array, known: Array, parts: Array) -> None:
        self._rows, self._known = rows, known
        self._factor = cho_factor(_kernel(self._scales, parts)[0], lower=True)
        self._weights = cho_solve(self._factor, known)

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the value of each row, the noise of an observation left out."""
        lengths, (curved, straight, _) = np.exp(-self._scales[:-3]), np.exp(2 * self._scales[-3:])
        ours, theirs = rows * lengths, self._rows * lengths
        apart = (ours**2).sum(1)[:, None] + (theirs**2).sum(1)[None] - 2 * ours @ theirs.T
        kernel = curved * np.exp(-0.5 * np.maximum(apart, 0)) + straight * _straight(rows, self._rows)
        own = curved + straight * (((rows - 0.5) ** 2).sum(1) + 1)
        variance = own - (kernel * cho_solve(self._factor, kernel.T).T).sum(1)
        return self._mean + self._spread * (kernel @ self._weights), self._spread * np.sqrt(np.maximum(variance, 1e-9))


def _parted(a: Array, b: Array) -> Array:
    """Squared differences, feature by feature."""
    return np.ascontiguousarray(((a[:, None, :] - b[None, :, :]) ** 2).transpose(2, 0, 1))


def _straight(a: Array, b: Array) -> Array:
    return np.asarray((a - 0.5) @ (b - 0.5).T + 1)


def _kernel(scales: Array, parts: Array) -> tuple[Array, Array]:
    """The covariance of the observations, and its curved part."""
    curved, straight, noise = np.exp(2 * scales[-3:])
    signal = curved * np.exp(-0.5 * np.tensordot(np.exp(-2 * scales[:-3]), parts[:-1], axes=1))
    kernel = signal + straight * parts[-1]
    kernel[np.diag_indices(len(kernel))] += noise + JITTER
    return kernel, signal


def _likelihood(scales: Array, parts: Array, known: Array, begin: Array) -> tuple[float, Array]:
    """Minus the log of marginal likelihood times priors, and its gradient.

    Args:
        scales: logs of the length scales, and of the three shares.
        parts: squared differences, feature by feature, and the straight kernel.
        known: the values.
        begin: middles of the priors.
    """
    kernel, signal = _kernel(scales, parts)
    factor = cho_factor(kernel, lower=True)
    solved = cho_solve(factor, known)
    outer = cho_solve(factor, np.eye(len(known))) - np.outer(solved, solved)
    by_length = 0.5 * np.exp(-2 * scales[:-3]) * np.tensordot(parts[:-1], outer * signal, axes=([1, 2], [0, 1]))
    shares = np.exp(2 * scales[-2:]) * np.array([(outer * parts[-1]).sum(), np.trace(outer)])
    gradient = np.concatenate([by_length, [(outer * signal).sum()], shares])
    off = scales - begin
    value = 0.5 * known @ solved + np.log(np.diag(factor[0])).sum() + 0.5 * off @ off
    return float(value), gradient + off
