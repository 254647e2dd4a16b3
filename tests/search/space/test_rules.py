"""Rules that link parameters: what they say of a configuration, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.search.space import rules

KNOWN: dict[str, Any] = {
    "model.depth": range(2, 7),
    "model.width": [4, 8, 16],
    "model.image_size": [16, "24x32", 48],
    "model.backbone": ["baseline", "inverted_se"],
    "model.backbone.inverted_se.expansion": [2, 4],
    "model.sequence": ["none", "3dcnn"],
    "model.color": ["rgb", "luma"],
    "training.lr": (1e-3, 1e-2),
}
CONFIG = {
    "model": {
        "depth": 4,
        "width": 8,
        "image_size": "24x32",
        "backbone": {"inverted_se": {"expansion": 4}},
        "sequence": {"3dcnn": {"frames": 4}},
        "color": "luma",
    },
    "training": {"lr": 0.005},
}


def parsed(*texts: object) -> tuple[rules.Rule, ...]:
    problems: list[str] = []
    found = rules.parse(list(texts), KNOWN, "s.yaml: space.rules", problems)
    assert problems == []
    return found


def refusals(written: object) -> list[str]:
    problems: list[str] = []
    rules.parse(written, KNOWN, "r", problems)
    return problems


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("model.depth <= 4", True),
        ("model.depth <= 3", False),
        ("model.depth<=3", False),
        ("model.depth >= 5", False),
        ("model.depth <= model.width", True),
        ("model.depth >= model.width", False),
        ("model.image_size <= 24", True),  # the smaller side
        ("model.image_size >= 25", False),
        ("model.image_size is 24x32", True),
        ("model.image_size is 16", False),
        ("training.lr <= 5e-3", True),
        ("training.lr >= 0.0051", False),
        ("model.color is luma", True),
        ("model.color is not luma", False),
        ("model.backbone is inverted_se", True),
        ("model.backbone is baseline", False),
        ("model.sequence is cnn3d", True),
        ("model.sequence is 3dcnn", True),
        ("model.sequence is not cnn3d", False),
        ("model.backbone.inverted_se.expansion <= 2", False),
        ("model.depth <= 3 where model.image_size <= 16", True),
        ("model.depth <= 3 where model.image_size <= 24", False),
        ("model.depth <= 3 where model.image_size <= 24 and model.color is rgb", True),
        ("model.depth <= 3 where model.image_size <= 24 and model.color is not rgb", False),
        ("model.width is 4 where model.backbone is inverted_se", False),
    ],
)
def test_what_a_rule_says_of_a_configuration(text: str, kept: bool) -> None:
    (rule,) = parsed(text)
    assert rule.text == text
    assert rule.broken(CONFIG) is not kept


@pytest.mark.parametrize(
    "text",
    [
        "model.backbone.inverted_se.expansion <= 2",
        "model.depth <= 2 where model.backbone.inverted_se.expansion >= 2",
        "model.depth <= 2 where model.backbone.inverted_se.expansion is not 3",
        "model.width <= model.backbone.inverted_se.expansion",
    ],
)
def test_what_was_not_chosen_breaks_nothing(text: str) -> None:
    (rule,) = parsed(text)
    assert rule.broken(CONFIG)
    model = {**CONFIG["model"], "backbone": {"baseline": {}}}
    assert not rule.broken({**CONFIG, "model": model})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (3, "a rule must compare a key with a value, got 3; write `model.depth <= 3 where model.image_size <= 16`"),
        ("depth <= 3", "a rule must compare a key with a value, got 'depth <= 3'; write"),
        ("model.depth < 3", "a rule must compare a key with a value, got"),
        ("model.depth <= 3 if model.width <= 4", "a rule must compare a key with a value, got"),
        ("model.depth <= 3 where model.width <= 4 or model.width <= 3", "a rule must compare a key with a value, got"),
        ("model.depth <= 3 where", "a rule must compare a key with a value, got"),
        ("model.depth", "a rule must compare a key with a value, got"),
        ("model.dept <= 3", "'model.dept' must be a key of the space, got 'model.dept <= 3'; did you mean 'model.dep"),
        ("model.depth <= 3 where model.x <= 3", "'model.x' must be a key of the space, got 'model.depth <= 3 where"),
        ("model.depth <= model.wdth", "'model.wdth' must be a key of the space, got 'model.depth <= model.wdth'; did"),
        ("zzz.zzz <= 3", "'zzz.zzz' must be a key of the space, got 'zzz.zzz <= 3'; known here: model.depth, model.w"),
        ("model.color <= 3", "'model.color' must be a number to be bounded, got 'model.color <= 3'; compare it with `"),
        ("model.depth <= three", "'three' must be a number to be bounded, got 'model.depth <= three'; compare it with"),
        ("model.depth <= model.color", "'model.color' must be a number to be bounded, got 'model.depth <= model.color"),
        ("model.depth <= 1", "a rule must be one that can hold, got 'model.depth <= 1'; model.depth is never that; "),
        ("model.depth >= 7", "a rule must be one that can hold, got"),
        (
            "model.depth >= 7 where model.width <= 4",
            "a rule must be one that can hold, got 'model.depth >= 7 where mod",
        ),
        ("model.image_size >= 49", "a rule must be one that can hold, got"),
        ("model.backbone.inverted_se.expansion >= model.width", None),
        ("model.depth is 7", "a rule must be one that can hold, got 'model.depth is 7'; model.depth is never that; ch"),
        ("model.color is lab", "a rule must be one that can hold, got"),
        ("training.lr >= model.depth", "a rule must be one that can hold, got"),
        ("model.depth <= model.depth", "must not bound parameters in a circle, got model.depth <= model.depth; remove"),
    ],
)
def test_a_rule_with_a_mistake(text: object, told: str | None) -> None:
    problems = refusals([text])
    assert len(problems) == (1 if told else 0)
    if told:
        assert problems[0].startswith(f"r: {told}")
        assert "; " in problems[0]


def test_every_mistake_is_told() -> None:
    assert len(refusals(["model.depth <= 1", "model.width <= 8", "model.color <= 1"])) == 2


@pytest.mark.parametrize("written", [None, "model.depth <= 3", {"model.depth": 3}])
def test_what_is_no_list(written: object) -> None:
    (told,) = refusals(written)
    assert told.startswith("r: must be a list of rules, got ")


def test_bounds_in_a_circle() -> None:
    expansion = "model.backbone.inverted_se.expansion"
    circle = [f"{expansion} <= model.depth", "model.width >= model.depth", f"model.width <= {expansion}"]
    (told,) = refusals(circle)
    keys = told.removeprefix("r: must not bound parameters in a circle, got ").split(";")[0].split(" <= ")
    assert keys[0] == keys[-1]
    assert sorted(keys[1:]) == sorted(["model.depth", "model.width", expansion])
    assert keys[(keys.index("model.depth") + 1) % 3] == "model.width"
    assert refusals(circle[:2]) == []
    # Where each holds at its own time there is no circle.
    assert refusals([*circle[:2], f"{circle[2]} where model.color is rgb"]) == []


@given(st.data())
def test_one_that_can_never_hold_is_refused_and_no_other(data: st.DataObject) -> None:
    values = st.lists(st.integers(0, 6), min_size=1, max_size=3)
    known = {"a.b": data.draw(values), "c.d": data.draw(values)}
    comparison = data.draw(st.sampled_from(["<=", ">=", "is", "is not"]))
    right = data.draw(st.sampled_from(["3", "c.d"]))
    text = f"a.b {comparison} {right}"
    problems: list[str] = []
    found = rules.parse([text], known, "r", problems)
    others = known["c.d"] if right == "c.d" else [3]
    compare = {"<=": int.__le__, ">=": int.__ge__, "is": int.__eq__, "is not": int.__ne__}[comparison]
    pairs = [(a, b) for a in known["a.b"] for b in others]
    assert bool(found) == any(compare(*pair) for pair in pairs)
    for rule in found:
        for a, b in pairs:
            assert rule.broken({"a": {"b": a}, "c": {"d": b}}) is not compare(a, b)


@pytest.mark.parametrize(
    ("text", "can_hold"),
    [
        ("training.seed <= 5", True),
        ("training.seed >= 3e9", False),
        ("training.seed is 7", True),
        ("training.seed is -1", False),
        ("training.seed is cats", False),
        ("training.seed is model.depth", True),
        ("training.seed is not model.depth", True),
        ("model.depth is training.other", False),
    ],
)
def test_a_range_of_billions_is_not_counted_out(text: str, can_hold: bool) -> None:
    seeds = {"training.seed": range(2**31), "training.other": range(9, 2**31)}
    problems: list[str] = []
    rules.parse([text], {**KNOWN, **seeds}, "r", problems)
    assert problems == [] if can_hold else "that can hold" in problems[0]
