"""README's pictures and ladders: what the command that remakes them puts where."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def remake() -> ModuleType:
    spec = importlib.util.spec_from_file_location("remake", ROOT / ".github" / "pictures" / "remake.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_readme_has_a_place_for_both_ladders(remake: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("tiny", "smile"):
        changed = remake.replaced(text, name, "new \\1 content\n")
        assert f"<!-- {name} -->\nnew \\1 content\n<!-- /{name} -->" in changed
        assert remake.replaced(changed, name, "new \\1 content") == changed
        before, after = text.partition(f"<!-- {name} -->")[0], text.partition(f"<!-- /{name} -->")[2]
        assert changed.startswith(before)
        assert changed.endswith(after)
    with pytest.raises(ValueError, match="must have one <!-- huge -->"):
        remake.replaced(text, "huge", "")


def test_its_pictures_are_those_that_readme_shows(remake: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in ("front.png", "registry.png"):
        assert f".github/pictures/{name}" in text
        assert f'"{name}"' in Path(remake.__file__ or "").read_text(encoding="utf-8")


def test_what_build_table_prints_is_cut_after_the_floor(remake: ModuleType) -> None:
    printed = "tiny-1: 1 variant   \nwhc_m  0.9\nalways calling 'x' scores F1 0.5\nregistered whc_m\nfiles: table.md\n"
    assert remake.ladder_alone(printed) == "tiny-1: 1 variant\nwhc_m  0.9\nalways calling 'x' scores F1 0.5"


def test_how_a_search_went_is_a_sentence(remake: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remake.os, "cpu_count", lambda: 2)
    said = remake.searched(ROOT / "tests" / "records" / "made_before" / "hands-1")
    assert said == "3 trials in 2 minutes on 2 cores, 1 of them rejected before training."
