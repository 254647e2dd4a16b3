"""The learnt uncertainty: the expected geodesic error of an output, in degrees."""

from __future__ import annotations

from torch import Tensor

_UNIT_DEGREES = 5.0  # the uncertainty for a raw number of 0, as of an untrained network
_LOGARITHM_LIMIT = 4.0  # limits the uncertainty to 0.1 to 273 degrees


def _logarithm(raw: Tensor) -> Tensor:
    return raw.clamp(-_LOGARITHM_LIMIT, _LOGARITHM_LIMIT)


def to_uncertainty(raw: Tensor) -> Tensor:
    """Raw numbers of any shape to degrees above 0."""
    return _logarithm(raw).exp() * _UNIT_DEGREES


def uncertainty_loss(raw: Tensor, error_degrees: Tensor, row_weights: Tensor) -> Tensor:
    """The negative log-likelihood of errors under an exponential distribution whose mean is the uncertainty.

    The loss is least if the uncertainty is the mean error of similar pictures. It is convex in the raw number. Errors
    count relative to the uncertainty, so that large errors do not dominate. The error gets no gradient: the pose must
    not become worse to match the uncertainty.

    Args:
        raw: (N,) the network's raw number.
        error_degrees: (N,) the geodesic error of the row's pose.
        row_weights: (N,), 0 if the error is unknown.

    Returns:
        A scalar, a weighted mean over the rows.
    """
    logarithm = _logarithm(raw)
    unlikely = logarithm + error_degrees.detach() / _UNIT_DEGREES * (-logarithm).exp()
    return (row_weights * unlikely).sum() / row_weights.sum().clamp(min=1e-12)
