"""How much of the spread between trials each parameter explains, as a random forest sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MIN_TRIALS = 4
FEW_TRIALS = 20  # below this the shares are a first hint
TREES, TREE_DEPTH = 64, 64  # as in Optuna's evaluator of the mean decrease in impurity
ABSENT = "not needed"


def importances(drawn: Sequence[Mapping[str, Any]], values: Sequence[float]) -> dict[str, tuple[float, float]] | str:
    """Share of each parameter in the spread of a value, the largest first, or why there is none.

    The shares are mean decreases in impurity (Breiman 2001). A deviation is that between the trees; each is grown on a
    resample of the trials, so it tells how far few trials can be trusted. PED-ANOVA said of 28 real trials that the
    learning rate decides latency, and fANOVA takes a minute.

    Args:
        drawn: what each trial drew, by parameter; a trial may have no use for a parameter.
        values: of each trial, what is to be explained.
    """
    from sklearn.ensemble import RandomForestRegressor

    names = sorted({name for trial in drawn for name in trial})
    columns = {name: [trial.get(name) for trial in drawn] for name in names}
    varied = {name: column for name, column in columns.items() if len({str(value) for value in column}) > 1}
    different = len(set(values))
    if different < MIN_TRIALS:
        return f"at least {MIN_TRIALS} finished trials must differ in it; {different} do."
    if not varied:
        return "at least one parameter must be drawn."
    encoded = {name: _encoded(column) for name, column in varied.items()}
    owner = np.repeat(np.arange(len(encoded)), [array.shape[1] for array in encoded.values()])
    forest = RandomForestRegressor(TREES, max_depth=TREE_DEPTH, random_state=0)
    forest.fit(np.hstack(list(encoded.values())), np.asarray(values))
    trees = np.array([tree.feature_importances_ for tree in forest.estimators_])
    by_parameter = np.stack([trees[:, owner == i].sum(1) for i in range(len(encoded))], 1)
    means = by_parameter.mean(0) / (by_parameter.mean(0).sum() or 1)
    shares = dict(zip(encoded, zip(means.tolist(), by_parameter.std(0).tolist(), strict=True), strict=True))
    return dict(sorted(shares.items(), key=lambda item: -item[1][0]))


def _encoded(column: Sequence[Any]) -> NDArray[np.float64]:
    """A parameter's values as columns of numbers: numbers stay one, names become one each."""
    is_number = all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in column if value is not None
    )
    if is_number:
        present = [float(value) for value in column if value is not None]
        filled = [float(np.median(present)) if value is None else float(value) for value in column]
        return np.array(filled)[:, None]
    texts = [ABSENT if value is None else str(value) for value in column]
    return np.array([[text == name for name in sorted(set(texts))] for text in texts], np.float64)
