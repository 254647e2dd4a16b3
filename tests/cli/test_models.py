"""What `whc models` and `whc models diff` print."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

from whc.cli.models import _differences, _listed
from whc.registry.models import Registered

TAGS = {"task": "classification", "f1": "0.9042", "val_f1": "0.8540", "latency_ms": "0.01141", "latency_ratio": "0.383"}


def printed(shown: RenderableType) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80).print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_champions_are_listed_with_their_figures() -> None:
    tested = TAGS | {"size_bytes": "10234", "study": "tiny-1"}
    untested = tested | {"f1": "no test split"}
    models = [Registered(f"whc_{letter}", "3", (), tags, {}) for letter, tags in (("p", tested), ("m", untested))]
    first, second = (line.split() for line in printed(_listed(models))[2:])
    assert first == ["whc_p", "3", "F1", "0.9042", "0.01141", "0.383", "10.2", "tiny-1"]
    assert second[2:6] == ["F1", "0.8540", "on", "val"]


def test_without_models_the_next_step_is_told() -> None:
    assert printed(_listed([])) == ["no model is registered yet: run `whc factory build-table`"]


def test_differences_fit_80_columns() -> None:
    differences = {
        "onnx_sha256": ["c3d6bf48431a" + "0" * 52, "1c9eca1d4833" + "0" * 52],
        "config.model.sequence.frame_stack.frames": ["3", "8"],
        "config.training.weight_decay": ["0.010138787059783484", "0.0012894920591049323"],
        "labels": ['["no_waving_hand"]', '["no"]'],
    }
    lines = printed(_differences("whc_s", "whc_m", differences))
    assert [line.split() for line in lines[2:]] == [
        ["onnx_sha256", "c3d6bf48431a", "1c9eca1d4833"],
        ["config.model.sequence.frame_stack.frames", "3", "8"],
        ["config.training.weight_decay", "0.0101388", "0.00128949"],
        ["labels", '["no_waving_hand"]', '["no"]'],
    ]
    assert printed(_differences("whc_s", "whc_s/1", {})) == ["whc_s and whc_s/1 are the same"]
