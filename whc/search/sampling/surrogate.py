"""A Gaussian process: it predicts a value of a configuration, and how sure that is, from observed configurations."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

Array = NDArray[np.float64]

KERNEL_JITTER = 1e-6
MAX_LOG_CHANGE = 3.0  # of a scale, from where it begins; beyond that, matrices lose their rank
MAX_STEPS = 15  # of the optimiser, which starts from the scales of the fit before
# The first scales, which are also where their priors are: a feature's length, and the shares of the variance of the
# values that the curved (squared-exponential) and the linear kernel have.
LENGTH, CURVED_SHARE, LINEAR_SHARE = 1.0, 0.25, 1.0


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
        # Variances are squares of scales: their logarithms may change twice as much.
        self._kernel = (
            ConstantKernel(CURVED_SHARE, _around(CURVED_SHARE, 2 * MAX_LOG_CHANGE))
            * RBF([LENGTH] * features, _around(LENGTH, MAX_LOG_CHANGE))
            + ConstantKernel(LINEAR_SHARE, _around(LINEAR_SHARE, 2 * MAX_LOG_CHANGE)) * DotProduct(1.0, "fixed")
            + WhiteKernel(noise**2, (noise**2 * np.exp(-2), _around(noise**2, 2 * MAX_LOG_CHANGE)[1]))
        )
        self._means = self._kernel.theta
        self._deviations = np.array([2.0, *[1.0] * features, 2.0, 2.0])

    def fit(self, rows: Array, values: Array) -> None:
        """Learn from observations.

        Args:
            rows: (N, features), each feature of 0 to 1 or so.
            values: (N,).
        """
        self._mean, self._spread = values.mean(), max(values.std(), 1e-9)
        self._learn(rows, (values - self._mean) / self._spread, _few_steps)

    def believe(self, rows: Array) -> None:
        """Add rows as if the values predicted for them had been observed; the scales stay as they are.

        Args:
            rows: (N, features).
        """
        expected = (self.predict(rows)[0] - self._mean) / self._spread
        self._learn(np.concatenate([self._rows, rows]), np.concatenate([self._targets, expected]), None)

    def _learn(self, rows: Array, targets: Array, optimizer: Any) -> None:
        self._rows, self._targets = rows, targets
        regressor = _WithPriors(self._kernel, alpha=KERNEL_JITTER, optimizer=optimizer)
        regressor.means, regressor.deviations = self._means, self._deviations
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a scale at the end of its range
            self._fitted = regressor.fit(rows - 0.5, targets)
        self._kernel = self._fitted.kernel_

    def predict(self, rows: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the value of each row, without the noise of an observation."""
        mean, deviation = self._fitted.predict(rows - 0.5, return_std=True)
        variance = deviation**2 - self._kernel.k2.noise_level
        return self._mean + self._spread * mean, self._spread * np.sqrt(np.maximum(variance, 1e-9))


class _WithPriors(GaussianProcessRegressor):  # type: ignore[misc]
    """With normal priors on the logarithms of the scales: a few observations would fit dozens of scales perfectly."""

    means: Array
    deviations: Array

    def log_marginal_likelihood(self, theta: Any = None, eval_gradient: bool = False, clone_kernel: bool = True) -> Any:
        """The log of marginal likelihood times priors, with its gradient where it is asked for."""
        found = super().log_marginal_likelihood(theta, eval_gradient, clone_kernel)
        if theta is None:
            return found
        off = (theta - self.means) / self.deviations
        if eval_gradient:
            return found[0] - 0.5 * off @ off, found[1] - off / self.deviations
        return found - 0.5 * off @ off


def _few_steps(objective: Any, begin: Array, bounds: Array) -> tuple[Array, float]:
    fitted = minimize(objective, begin, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": MAX_STEPS})
    return fitted.x, fitted.fun


def _around(value: float, log_change: float) -> tuple[float, float]:
    return value * np.exp(-log_change), value * np.exp(log_change)
