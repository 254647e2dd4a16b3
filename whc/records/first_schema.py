"""Conversion of files from versions whose only task was classification scored by F1."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from whc.records.metric import Metric

# Keys of table.json, to those of today; records, checkpoints and studies share some.
_KEYS_TODAY = {
    "f1": "score",
    "f1_low": "score_low",
    "f1_high": "score_high",
    "f1_rotated": "score_changed",
    "val_f1": "val_score",
    "constant_f1": "floor",
    "constant_val_f1": "val_floor",
}
FIRST_METRIC = Metric(key="f1", name="F1")


def metadata(properties: Mapping[str, str]) -> dict[str, str]:
    """Properties of an ONNX file without their prefix.

    Raises:
        ValueError: a property that all files of schema 1 have is missing or damaged.
    """
    if lacking := {"positive", "threshold"} - properties.keys():
        raise ValueError(f"no {lacking.pop()}, which files of schema 1 have")
    threshold = json.loads(properties["threshold"])
    unchanged = {name: value for name, value in properties.items() if name not in ("positive", "threshold")}
    return {**unchanged, "task_config": json.dumps({"threshold": threshold})}


def checkpoint(content: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint with renamed keys, also in its progress; the caller validates it."""
    renamed = _renamed(content)
    progress = renamed.get("progress")
    if isinstance(progress, dict):
        renamed["progress"] = {**progress, "curve": _rows(progress.get("curve")), "best": _row(progress.get("best"))}
    return renamed


def table(content: Any) -> Any:
    """A table.json of schema 1 or 2 with renamed keys; the caller validates it."""
    if not isinstance(content, dict) or "metric" in content:
        return content
    rows = {name: _rows(content[name]) for name in ("variants", "left_out") if name in content}
    return {**_renamed(content), **rows, "metric": FIRST_METRIC.model_dump()}


def _renamed(content: Mapping[str, Any]) -> dict[str, Any]:
    return {_KEYS_TODAY.get(name, name): value for name, value in content.items()}


def _row(row: Any) -> Any:
    return _renamed(row) if isinstance(row, dict) else row


def _rows(rows: Any) -> Any:
    return [_row(row) for row in rows] if isinstance(rows, list) else rows
