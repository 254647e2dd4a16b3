"""Training outside a study: `whc train`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from whc import records
from whc.config import dump_yaml
from whc.data.dataset import Corpus
from whc.data.windows import windows
from whc.training import checkpoint
from whc.training.loop import score
from whc.trials.artifacts import batches_of, to_checkpoint
from whc.trials.config import TrialConfig
from whc.trials.run import Report, train


def train_and_save(config: TrialConfig, corpus: Corpus, out: Path, report: Report) -> dict[str, Any]:
    """Train, write config.yaml, checkpoint.pt and summary.json into `out`, and score the test split once.

    Returns:
        The summary: f1 (test), val_f1, epoch, constant_f1, params, the curve, and where the checkpoint lies.
    """
    out.mkdir(parents=True, exist_ok=True)
    records.write_atomic(out / "config.yaml", dump_yaml(config.resolved()))
    network, fit = train(config, corpus, report)
    checkpoint.save(to_checkpoint(config, corpus, fit), out / "checkpoint.pt")
    task = config.task_module
    batches = batches_of(config, corpus, next(network.parameters()).device)
    with torch.inference_mode():
        f1 = score(network, batches, "test", task, config.threshold)
    summary = {
        "f1": f1,
        "val_f1": fit.val_f1,
        "epoch": fit.epoch,
        "constant_f1": task.constant_score(windows(corpus, "test", config.model.frames).class_ids),
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "unreadable": list(corpus.unreadable),
        "data_fingerprint": corpus.fingerprint,
        "checkpoint": str(out / "checkpoint.pt"),
        "curve": [point.model_dump() for point in fit.curve],
    }
    records.write_atomic(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    return summary
