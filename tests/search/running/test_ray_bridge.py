"""Ray Tune between the driver and its workers: what it would swallow, and what it would keep."""

from __future__ import annotations

import io
from pathlib import Path
from unittest.mock import Mock

import pytest
from ray.tune.experiment import Trial
from rich.console import Console

from whc import records
from whc.data.synthetic import render
from whc.errors import StudyError
from whc.records import SearchObserver, TrialRecord
from whc.search.running import study
from whc.search.running.ray_bridge import Bridge, ProgressCallback
from whc.search.running.run import Request, search

SPACE = "name: hands\nrecipe: tiny\ntrials: 4\nworkers: 1\nspace: {model: {image_size: 16}, training: {epochs: 1}}\n"


def test_an_ended_trial_holds_no_job() -> None:
    trial = Trial("any", config={"job": object()}, experiment_tag="1_job=" + 2000 * "x", stub=True)
    trial.update_last_result({"state": "finished", "val_score": 0.5, "config": {"job": object()}})
    ProgressCallback(Mock()).on_trial_complete(0, [trial], trial)
    assert not trial.config
    assert not trial.experiment_tag
    assert "config" not in trial.last_result
    assert trial.last_result["val_score"] == 0.5
    assert not trial.metric_analysis


@pytest.mark.parametrize("call", ["next_job", "ended", "runs", "timer_lost"])
def test_what_the_driver_raises_halts_it(call: str) -> None:
    """Ray Tune would log it, and wait for ever for a trial that nobody took in."""
    first, second = StudyError("the first"), StudyError("the second")
    driver = Mock(halted=None, **{f"{call}.side_effect": [first, second]})
    bridge, progress = Bridge(driver), ProgressCallback(driver)
    trial = Trial("any", config={"job": Mock()}, stub=True)
    for _ in range(2):
        bridge.suggest("a")
        bridge.on_trial_complete("a", {})
        progress.on_trial_start(0, [trial], trial)
        progress.on_trial_result(0, [trial], trial, {"timer_lost": ""})
    assert driver.halted is first


def test_a_fault_beside_the_workers_ends_the_search(tmp_path: Path) -> None:
    class Broken(SearchObserver):
        def trial_ended(self, record: TrialRecord) -> None:
            raise ZeroDivisionError(record.trial_id)

    (tmp_path / "hands.yaml").write_text(SPACE)
    settings, _ = study.read(tmp_path / "hands.yaml")
    request = Request("hands-1", tmp_path / "runs", settings, [render(tmp_path, clips=12)], resume=False)
    with pytest.raises(ZeroDivisionError, match="00000"):
        search(request, [Broken()], Console(file=io.StringIO()))
    # Nothing already computed is lost.
    assert [record.trial_id for record in records.trial_records(tmp_path / "runs" / "hands-1")] == ["00000"]
