"""Plug-ins are found by listing folders, and chosen by name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BaseModel

import whc
from whc import plugins
from whc.plugins import Choice, ChoiceOf

BACKBONES = ChoiceOf("models.backbones")
RUNTIMES = ChoiceOf("runtimes")


class Holder(BaseModel):
    backbone: Annotated[Choice, BACKBONES] = BACKBONES.default("baseline")


def python(code: str, path: Path) -> str:
    """What a fresh interpreter prints that finds whc in `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=path, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_names_are_sorted_and_known() -> None:
    assert set(plugins.names("models.backbones")) >= {"baseline", "inverted_se", "convnext"}
    assert set(plugins.names("models.heads")) >= {"avg", "avgmax_mlp"}
    assert set(plugins.names("models.sequence")) >= {"none", "frame_stack"}
    assert list(plugins.names("models.heads")) == sorted(plugins.names("models.heads"))


def test_a_file_without_config_is_no_plugin() -> None:
    assert not {"fold", "parity"} & set(plugins.names("export"))


def test_listing_imports_nothing() -> None:
    code = """
import sys
from whc import plugins
for kind in ("models.backbones", "models.heads", "models.sequence", "runtimes", "tasks", "export"):
    assert plugins.names(kind), kind
print(sorted({"torch", "onnx", "onnxruntime", "whc.models", "whc.runtimes", "whc.tasks"} & set(sys.modules)))
"""
    assert python(code, Path(whc.__file__).parents[1]) == "[]"


def test_a_new_file_is_a_new_choice(tmp_path: Path) -> None:
    shutil.copytree(Path(whc.__file__).parent, tmp_path / "whc", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "whc" / "tasks" / "counting.py").write_text(
        "from whc.plugins import PluginConfig\n\n\nclass Config(PluginConfig):\n    most: int = 5\n"
    )
    code = """
from whc.plugins import ChoiceOf, names
print("counting" in names("tasks"), ChoiceOf("tasks").parse({"counting": {"most": 7}}).dump())
"""
    assert python(code, tmp_path) == "True {'counting': {'most': 7}}"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("basline", "did you mean 'baseline'"),
        ("invertedse", "did you mean 'inverted_se'"),
        ("resnet152", "choose one of: baseline, convnext, efficientnet, inverted_se, patches, plain, uhd"),
        ("__init__", "choose one of"),
        ("../heads/avg", "choose one of"),
        ("", "choose one of"),
    ],
)
def test_unknown_names(name: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plugins.load("models.backbones", name)


@pytest.mark.parametrize(
    ("written", "dumped"),
    [
        ("baseline", "baseline"),
        ({"baseline": {}}, "baseline"),
        ({"baseline": None}, "baseline"),
        ("inverted_se", {"inverted_se": {"expansion": 4, "se_reduction": 8}}),
        ({"inverted_se": {"expansion": 2}}, {"inverted_se": {"expansion": 2, "se_reduction": 8}}),
    ],
)
def test_choices_round_trip(written: object, dumped: object) -> None:
    holder = Holder.model_validate({"backbone": written})
    assert holder.model_dump(mode="json") == {"backbone": dumped}
    assert Holder.model_validate(holder.model_dump(mode="json")) == holder
    assert Holder(backbone=holder.backbone) == holder
    assert BACKBONES.parse(holder.backbone) is holder.backbone


def test_defaults_are_not_shared_by_name_only() -> None:
    assert Holder().backbone == BACKBONES.parse("baseline")


def test_aliases() -> None:
    for alias, name in plugins.ALIASES.items():
        with pytest.raises(ValueError, match="must be one of"):
            plugins.load("runtimes", alias)
        if name in plugins.names("models.sequence"):
            assert ChoiceOf("models.sequence").parse(alias).name == name
