"""The learnt uncertainty: the geodesic error in degrees that is to be expected of one answer."""

from __future__ import annotations

from torch import Tensor

_UNIT_DEGREES = 5.0  # what an untrained network expects
_LOGARITHM_LIMIT = 4.0  # keeps it between 0.1 and 273 degrees


def _logarithm(raw: Tensor) -> Tensor:
    return raw.clamp(-_LOGARITHM_LIMIT, _LOGARITHM_LIMIT)


def to_uncertainty(raw: Tensor) -> Tensor:
    """Raw numbers of any shape to degrees above 0."""
    return _logarithm(raw).exp() * _UNIT_DEGREES


def uncertainty_loss(raw: Tensor, error_degrees: Tensor, row_weights: Tensor) -> Tensor:
    """The negative log-likelihood of errors under an exponential distribution whose mean is the uncertainty.

    It is least where the uncertainty is the mean error of pictures that look alike, it is convex in the raw number, and
    errors count relative to what was expected, so that large ones do not drown the rest. The error is taken as it is:
    no gradient makes the pose worse, or gives up on what is hard, so that the uncertainty fits.

    Args:
        raw: (N,) the network's number.
        error_degrees: (N,) the geodesic error of the pose that goes with it.
        row_weights: (N,), 0 where the error is not known.

    Returns:
        A scalar, a mean over the weights.
    """
    logarithm = _logarithm(raw)
    unlikely = logarithm + error_degrees.detach() / _UNIT_DEGREES * (-logarithm).exp()
    return (row_weights * unlikely).sum() / row_weights.sum().clamp(min=1e-12)
