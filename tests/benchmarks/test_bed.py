"""How well the test bed knows the trainings that it stands for: those it has not seen, and the noise of seeds."""

from __future__ import annotations

import bed
import pytest

from whc.search.running import study as studies

pytestmark = [
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),  # a scale at the end of its range
]


def test_what_the_bed_predicts_of_unseen_trainings() -> None:
    _, tree = studies.read(bed.RECORDED / "smile.yaml")
    smile = bed.Bed(tree, bed.RECORDED / "bed_smile.parquet", ("no", "yes"))
    shown = ", ".join(f"{name} {value:.3f}" for name, value in smile.accuracy().items())
    print(f"\n{len(smile.rows)} networks, {len(smile.frame)} trainings, out of fold, Spearman: {shown}")
    print(f"noise of seeds, standard deviation of -log(1 - F1): {smile.seed_noise[:, -1].std():.4f}")
    assert min(smile.accuracy().values()) > 0.9
    drawn = smile.networks["drawn"].iloc[0]
    training, again = (bed.World(smile, 0).nearest(drawn) for _ in range(2))
    assert training == again, "a world must answer the same each time"
    assert len(training.curve) == smile.epochs
