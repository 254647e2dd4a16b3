"""Trains configurations of a space to their end, whatever their latency, for the test bed of the search.

    python record.py SPACE DATA DRAWS OUT

DRAWS is a JSON file: a list of {"drawn": {...}, "seed": 0, "why": "even"}. A row of OUT, a Parquet file, holds one
training: why it was drawn, its seed, what was drawn, its curve, its latency, the seconds before the training, and its
size. Rows that OUT holds already are kept and not trained again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import pandas as pd
from optuna.trial import FixedTrial
from tqdm import tqdm

from whc import tasks
from whc.data.dataset import load
from whc.latency.bench import bench
from whc.latency.timing import REFERENCE_NAME, Protocol
from whc.plugins import ChoiceOf
from whc.records import TrialRecord
from whc.search.running import study as studies
from whc.search.space import space
from whc.trials.config import TrialConfig
from whc.trials.dispatch import TrialJob, run_all
from whc.trials.run import Assignment, Limits

RUNTIME = ChoiceOf("runtimes").parse("onnxruntime_cpu")


def row(asked: dict[str, Any], record: TrialRecord) -> dict[str, Any]:
    """What the test bed reads of a training."""
    assert record.latency is not None
    nested = {
        "drawn": asked["drawn"],
        "curve": [round(point.val_score, 4) for point in record.curve],
        "seconds": [round(point.seconds, 3) for point in record.curve],
    }
    numbers = {
        "latency_ms": record.latency.ms,
        "before_s": round(record.before_s, 3),
        "size_bytes": record.size_bytes,
        "params": record.params,
        "peak_memory_bytes": record.peak_memory_bytes,
    }
    return {
        "why": asked["why"],
        "seed": asked["seed"],
        **{name: json.dumps(value, sort_keys=True) for name, value in nested.items()},
        **numbers,
    }


def identity(asked: dict[str, Any]) -> tuple[str, int]:
    drawn = asked["drawn"]
    return drawn if isinstance(drawn, str) else json.dumps(drawn, sort_keys=True), asked["seed"]


def main() -> None:
    """Train what is missing."""
    path, data, draws, out = map(Path, sys.argv[1:])
    _, tree = studies.read(path)
    corpus = load(data, space.image_sizes(tree), tasks.kind(space.task_of(tree).name))
    rows = pd.read_parquet(out).to_dict("records") if out.exists() else []
    there = set(map(identity, rows))
    todo = [asked for asked in json.loads(draws.read_text()) if identity(asked) not in there]
    reference_ms = bench({}, RUNTIME, Protocol())[REFERENCE_NAME].p50_ms
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for place, asked in enumerate(todo):
            config = TrialConfig.model_validate(space.suggest(tree, FixedTrial(asked["drawn"])))
            training = config.training.model_copy(update={"seed": asked["seed"]})
            trial_id = f"{place:05d}"
            assignment = Assignment(
                trial_id=trial_id, study="recorded", folder=Path(folder) / trial_id, limits=Limits(), runtime=RUNTIME,
                reference_ms=reference_ms, cache=Path(folder) / "latency", drawn=asked["drawn"],
            )  # fmt: skip
            jobs.append(TrialJob(config.model_copy(update={"training": training}), assignment))
        for place, record in tqdm(run_all(jobs, corpus, os.cpu_count() or 1), total=len(jobs)):
            if isinstance(record, str) or record.state != "finished":
                print(todo[place], record if isinstance(record, str) else record.reason, file=sys.stderr)
                continue
            rows.append(row(todo[place], record))
            pd.DataFrame(rows).to_parquet(out, compression="zstd")


if __name__ == "__main__":
    main()
