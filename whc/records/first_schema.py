"""What whc wrote while it knew one task, classification scored by F1, as it is called today."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from whc.records.metric import Metric

# Of table.json; records, checkpoints and studies share some of them.
_NAMES = {
    "f1": "score",
    "f1_low": "score_low",
    "f1_high": "score_high",
    "f1_rotated": "score_changed",
    "val_f1": "val_score",
    "constant_f1": "floor",
    "constant_val_f1": "val_floor",
}
METRIC = Metric(key="f1", name="F1")


def metadata(properties: Mapping[str, str]) -> dict[str, str]:
    """Properties of an ONNX file without their prefix.

    Raises:
        ValueError: one that all files had is missing or damaged.
    """
    if lacking := {"positive", "threshold"} - properties.keys():
        raise ValueError(f"no {lacking.pop()}, which files of schema 1 have")
    threshold = json.loads(properties["threshold"])
    kept = {name: value for name, value in properties.items() if name not in ("positive", "threshold")}
    return {**kept, "task_config": json.dumps({"threshold": threshold})}


def renamed(node: Any) -> Any:
    """JSON (or a checkpoint's content) with scores under their names of today."""
    if isinstance(node, dict):
        return {_NAMES.get(name, name): renamed(value) for name, value in node.items()}
    return [renamed(value) for value in node] if isinstance(node, list) else node


def table(content: Any) -> Any:
    """A table.json of schema 1 or 2; whether the rest of it is right is asked later."""
    if not isinstance(content, dict) or "metric" in content:
        return content
    variants = content.get("variants")
    rows = [_variant(row) for row in variants] if isinstance(variants, list) else variants
    left_out = renamed(content.get("left_out", []))
    kept = {_NAMES.get(name, name): value for name, value in content.items()}
    return {**kept, "metric": METRIC.model_dump(), "variants": rows, "left_out": left_out}


def _variant(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    return {_NAMES.get(name, name): value for name, value in row.items()}
