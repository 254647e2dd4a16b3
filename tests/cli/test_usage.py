"""What a mistyped command line is told: everything that is wrong, and what could have been meant."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from whc.cli._usage import _keys
from whc.config import overlay
from whc.trials.config import TrialConfig

Run = Callable[..., Any]

TOLD = {
    "serch": ["serch: no such command; did you mean `whc search`?"],
    "build-table": ["build-table: no such command; did you mean `whc factory build-table`?"],
    "data buidl": ["buidl: no such command; did you mean `whc data build`?"],
    "studies shwo": ["shwo: no such command; did you mean `whc studies show`?"],
    "zzz": ["zzz: no such command; see `whc --help`"],
    "train": [
        "--data: required, got nothing; see `whc train --help`",
        "--out: required, got nothing; see `whc train --help`",
    ],
    "train --out o": ["--data: required, got nothing; see `whc train --help`"],
    "predict --out o": [
        "--model: required, got nothing; see `whc predict --help`",
        "--source: required, got nothing; see `whc predict --help`",
    ],
    "data info": ["FILE: required, got nothing; see `whc data info --help`"],
    "train --epochs 5 --lr=0.1 --dta x": [
        "--epochs: no such option; did you mean `--set training.epochs=5`?",
        "--lr: no such option; did you mean `--set training.lr=0.1`?",
        "--dta: no such option; did you mean --data?",
    ],
    "train --data x --out y --epoch": ["--epoch: no such option; did you mean `--set training.epochs=VALUE`?"],
    "train --model.width 8": ["--model.width: no such option; did you mean `--set model.width=8`?"],
    "train --se-reduction 4": [
        "--se-reduction: no such option; did you mean `--set model.backbone.inverted_se.se_reduction=4`?"
    ],
    "train -data x": ["-data: no such option; did you mean --data?"],
    "train --trials 3": ["--trials: no such option; see `whc train --help`"],
    "search --epochs 5 --trails 3": [
        "--epochs: no such option; write it in the search file: space.training.epochs",
        "--trails: no such option; did you mean --trials?",
    ],
    "search --latency-ms 1": ["--latency-ms: no such option; write it in the search file: limits.latency_ms"],
    "train --set": ["Option '--set' requires an argument; see `whc train --help`"],
}


@pytest.mark.parametrize("line", TOLD)
def test_what_is_told(line: str, whc_command: Run) -> None:
    ended = whc_command(*line.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [f"error: {told}" for told in TOLD[line]]


def test_nothing_heavy_is_imported_to_tell_it() -> None:
    code = """
import sys
import whc.cli
sys.argv = ["whc", "train", "--epochs", "5"]
try:
    whc.cli.main()
except SystemExit:
    print(sorted({"torch", "numpy", "pandas", "mlflow", "ray"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
    assert "training.epochs=5" in done.stderr


def test_the_keys_are_those_of_a_configuration() -> None:
    keys = {key.removeprefix("space.") for key in _keys() if key.startswith("space.")}
    resolved = TrialConfig().resolved()
    for section in ("model", "training"):
        assert {f"{section}.{name}" for name in resolved[section]} <= keys
    for key, value in (("training.epochs", 3), ("model.width", 8), ("training.augmentation.flip", 0.1)):
        assert key in keys
        TrialConfig.model_validate(overlay({}, {key: str(value)}))


def longest(text: str) -> int:
    return max(map(len, text.splitlines()))


def test_help_takes_the_width_of_the_terminal(whc_command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for columns in (60, 79, 110):
        monkeypatch.setenv("COLUMNS", str(columns))
        assert columns - 25 < longest(whc_command("train", "--help").out) <= columns
