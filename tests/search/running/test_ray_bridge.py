"""Ray Tune keeps ended trials as long as a search runs: they must hold little."""

from __future__ import annotations

from unittest.mock import Mock

from ray.tune.experiment import Trial

from whc.search.running.ray_bridge import ProgressCallback


def test_an_ended_trial_holds_no_job() -> None:
    trial = Trial("any", config={"job": object()}, stub=True)
    trial.update_last_result({"state": "finished", "val_score": 0.5, "config": {"job": object()}})
    ProgressCallback(Mock()).on_trial_complete(0, [trial], trial)
    assert not trial.config
    assert "config" not in trial.last_result
    assert trial.last_result["val_score"] == 0.5
    assert not trial.metric_analysis
