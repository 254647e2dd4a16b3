"""How well the test bed knows the trainings that it stands for: those it has not seen, and the noise of seeds."""

from __future__ import annotations

import bed
import pytest

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # a scale at the end of its range
]


@pytest.mark.parametrize("name", bed.BEDS)
def test_what_the_bed_predicts_of_unseen_trainings(name: str) -> None:
    _, one = bed.BEDS[name].opened()
    shown = ", ".join(f"{name} {value:.3f}" for name, value in one.accuracy().items())
    print(f"\n{name}: {len(one.rows)} networks, {len(one.frame)} trainings; out of fold, Spearman: {shown}")
    print(f"noise of seeds, standard deviation of -log(1 - score): {one.seed_noise[:, -1].std():.4f}")
    assert min(one.accuracy().values()) > 0.85
    drawn = one.networks["drawn"].iloc[0]
    training, again = (bed.World(one, 0).nearest(drawn) for _ in range(2))
    assert training == again, "a world must answer the same each time"
    assert len(training.curve) == one.epochs
