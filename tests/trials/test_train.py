"""Training outside a study."""

from __future__ import annotations

import json
from pathlib import Path

from whc.config import load_yaml
from whc.data.dataset import Corpus
from whc.trials.config import TrialConfig
from whc.trials.train import train_and_save


def test_summary_config_and_checkpoint_are_written(tmp_path: Path, config: TrialConfig, bright_corpus: Corpus) -> None:
    summary = train_and_save(config, bright_corpus, tmp_path / "out", lambda _: None)
    assert summary["f1"] > 0.9
    assert summary["val_f1"] > 0.9
    assert summary["constant_f1"] == 2 / 3
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    assert TrialConfig.model_validate(load_yaml(tmp_path / "out" / "config.yaml")) == config
    assert Path(summary["checkpoint"]).is_file()
