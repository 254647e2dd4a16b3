"""Search spaces: what is drawn from them, and how every mistake in one is told."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from whc import plugins
from whc.config import load_yaml, shipped
from whc.errors import UsageError
from whc.factory import recipe
from whc.search.running import study as studies
from whc.search.space import space
from whc.trials.config import TrialConfig

SHIPPED = sorted(Path(space.__file__).parents[3].joinpath("search_spaces").glob("*.yaml"))


def compiled(folder: Path, text: str) -> space.Section:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return space.compile_space(load_yaml(path), "s.yaml")


def draw(tree: space.Section, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration as drawn, and the parameters that Optuna was asked for."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    trial = study.ask()
    return space.suggest(tree, trial), dict(trial.params)


@pytest.fixture(autouse=True, scope="module")
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", {}),
        ("training: {lr: 0.01}", {}),
        ("training: {lr: [0.01]}", {}),
        ("training: {lr: [0.01, 0.02]}", {"training.lr": CategoricalDistribution([0.01, 0.02])}),
        ("training: {lr: {float: [1e-3, 1e-2]}}", {"training.lr": FloatDistribution(1e-3, 1e-2)}),
        (
            "training: {lr: {float: [1e-3, 1e-2], log: true}}",
            {"training.lr": FloatDistribution(1e-3, 1e-2, log=True)},
        ),
        ("model: {depth: {int: [2, 6]}}", {"model.depth": IntDistribution(2, 6)}),
        ("model: {depth: {int: [2, 6], step: 2}}", {"model.depth": IntDistribution(2, 6, step=2)}),
        ("model: {width: {int: [2, 6], log: true}}", {"model.width": IntDistribution(2, 6, log=True)}),
        (
            "training: {augmentation: {rotation_degrees: [0, 6]}}",
            {"training.augmentation.rotation_degrees": CategoricalDistribution([0, 6])},
        ),
        ("model: {head: avg}", {}),
        ("model: {head: [avg]}", {}),
        ("model: {head: [avg, avgmax_mlp]}", {"model.head": CategoricalDistribution(["avg", "avgmax_mlp"])}),
        (
            "model: {backbone: {inverted_se: {expansion: [2, 4]}}}",
            {"model.backbone.inverted_se.expansion": CategoricalDistribution([2, 4])},
        ),
        (
            "model: {backbone: {baseline: , inverted_se: {expansion: {int: [2, 4]}, se_reduction: 0}}}",
            {
                "model.backbone": CategoricalDistribution(["baseline", "inverted_se"]),
                "model.backbone.inverted_se.expansion": IntDistribution(2, 4),
            },
        ),
        (
            "model: {backbone: [baseline, {inverted_se: {expansion: [2, 4]}}]}",
            {
                "model.backbone": CategoricalDistribution(["baseline", "inverted_se"]),
                "model.backbone.inverted_se.expansion": CategoricalDistribution([2, 4]),
            },
        ),
    ],
)
def test_what_a_space_can_draw(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    tree = compiled(tmp_path, text)
    assert space.distributions(tree) == expected
    TrialConfig.model_validate(draw(tree, 0)[0])


def test_a_fixed_value_is_in_every_draw(tmp_path: Path) -> None:
    tree = compiled(
        tmp_path, "model: {head: avgmax_mlp, width: 4, backbone: {inverted_se: {expansion: 2}}, image_size: 24x16}"
    )
    config, drawn = draw(tree, 0)
    assert drawn == {}
    assert config == {
        "model": {
            "head": {"avgmax_mlp": {}},
            "width": 4,
            "backbone": {"inverted_se": {"expansion": 2}},
            "image_size": "24x16",
        }
    }


def test_a_choice_brings_only_its_own_parameters(tree: space.Section) -> None:
    seen = set()
    for seed in range(20):
        config, drawn = draw(tree, seed)
        ((name, parameters),) = config["model"]["backbone"].items()
        assert parameters.keys() == ({"expansion", "se_reduction"} if name == "inverted_se" else set())
        assert ("model.backbone.inverted_se.expansion" in drawn) == (name == "inverted_se")
        seen.add(name)
    assert seen == {"baseline", "inverted_se"}


def test_what_a_sequence_model_has_no_use_for_is_not_drawn(tmp_path: Path) -> None:
    text = """
        model:
          backbone: [baseline, convnext]
          head: [avg, avgmax_mlp]
          color: [rgb, lab]
          depth: {int: [2, 3]}
          width: [4, 8]
          sequence: {none: {}, lstm: {frames: [2, 3]}, 3dcnn: {frames: 4}}
    """
    tree = compiled(tmp_path, text)
    everything = {"backbone", "head", "color", "depth", "width", "sequence"}
    kept = {"none": everything, "lstm": everything - {"head"}, "3dcnn": {"color", "width", "sequence"}}
    seen = set()
    for seed in range(20):
        config, drawn = draw(tree, seed)
        (name,) = config["model"]["sequence"]
        assert config["model"].keys() == kept[name]
        assert {key.split(".")[1] for key in drawn} == kept[name]
        model = TrialConfig.model_validate(config).model
        rest = {"image_size", "dropout"} if name == "none" else {"image_size"}
        assert model.model_dump(mode="json").keys() == kept[name] | rest
        seen.add(name)
    assert seen == kept.keys()


LR = "s.yaml: space.training.lr: "
EPOCHS = "s.yaml: space.training.epochs: "
MODEL = "s.yaml: space.model."
HEADS = ", ".join(plugins.names("models.heads"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("trainning: {}", "s.yaml: space.trainning: unknown key; did you mean 'training'?"),
        ("training: {lrr: 1}", "s.yaml: space.training.lrr: unknown key; did you mean 'lr'?"),
        ("training: {zzz: [1, 2]}", "s.yaml: space.training.zzz: unknown key; known here: epochs, batch_size, "),
        ("model: 3", "s.yaml: space.model: must be a mapping, got 3; its keys: backbone, head, "),
        ("training: [a]", "s.yaml: space.training: must be a mapping, got ['a']; its keys: epochs, "),
        ("training: {augmentation: {float: [0, 1]}}", "s.yaml: space.training.augmentation.float: unknown key; "),
        (
            "training: {lr: {float: [2, 1]}}",
            LR + "impossible range (the first end must be less than the second), got {'float': [2, 1]}; "
            "write {float: [low, high]}",
        ),
        ("training: {lr: {float: [0.1, 0.1]}}", LR + "impossible range (the first end must be less than the second)"),
        (
            "training: {lr: {float: [0, 1], log: true}}",
            LR + "impossible range (a log range must begin above 0), got {'float': [0, 1], 'log': True}; write {float",
        ),
        (
            "training: {epochs: {int: [2, 7], step: 2}}",
            EPOCHS + "impossible range (the step must divide the range), got {'int': [2, 7], 'step': 2}; write {int: [",
        ),
        ("training: {epochs: {int: [2, 8], step: 2, log: true}}", EPOCHS + "impossible range (a log range takes no st"),
        ("training: {epochs: {int: [2, 8], step: 0}}", EPOCHS + "impossible range (the step must be a whole number ab"),
        ("training: {epochs: {int: [2, 8], step: -2}}", EPOCHS + "impossible range (the step must be a whole number a"),
        ("training: {epochs: {int: [2, 8], step: x}}", EPOCHS + "impossible range (the step must be a whole number ab"),
        ("training: {epochs: {int: [2.7, 6.2]}}", EPOCHS + "impossible range (the ends must be two whole numbers), "),
        ("training: {epochs: {int: [a, b]}}", EPOCHS + "impossible range (the ends must be two whole numbers), got {'"),
        ("training: {epochs: {int: [true, 9]}}", EPOCHS + "impossible range (the ends must be two whole numbers), got"),
        ("training: {lr: {float: ['0', '1']}}", LR + "impossible range (the ends must be two numbers), got "),
        ("training: {lr: {float: [1, 2, 3]}}", LR + "impossible range (the ends must be two numbers), got "),
        ("training: {lr: {float: 3}}", LR + "impossible range (the ends must be two numbers), got {'float': 3}; write"),
        ("training: {lr: {float: [1, 2], log: yess}}", LR + "impossible range (log must be true or false), got "),
        ("training: {lr: {float: [1, 2], logg: true}}", LR + "unknown key 'logg' in a range; known here: float, log"),
        ("training: {lr: {float: [1, 2], int: [1, 2]}}", LR + "unknown key 'int' in a range; known here: float, log"),
        ("training: {lr: {float: [1, 2], step: 1}}", LR + "unknown key 'step' in a range; known here: float, log"),
        ("training: {lr: {float: [0.5, 1.5]}}", LR + "must be less than or equal to 1, got 1.5; change the value"),
        ("model: {width: {float: [4, 8]}}", MODEL + "width: must be a valid integer"),
        ("training: {lr: []}", LR + "must list plain values, got []; list at least one, or give a range"),
        ("model: {width: [[8]]}", MODEL + "width: must list plain values, got [[8]]; list at least one"),
        ("training: {lr: [0.1, 0.1]}", LR + "must not list a value twice, got [0.1, 0.1]; remove the repeats"),
        ("model: {width: [8, -1]}", MODEL + "width: must be greater than or equal to 1, got -1; change the value"),
        ("model: {width: -1}", MODEL + "width: must be greater than or equal to 1, got -1; change the value"),
        ("training: {resampling: [none, foo]}", "s.yaml: space.training.resampling: must be 'none', 'weighted' or "),
        ("model: {image_size: [16, 4]}", MODEL + "image_size: must be within 8 and 512 pixels, got 4; choose another "),
        ("model: {image_size: [16, axb]}", MODEL + "image_size: must be a side in pixels or HEIGHTxWIDTH, got 'axb'; "),
        ("model: {head: []}", MODEL + "head: must name at least one choice, got []; one of " + HEADS),
        ("model: {head: }", MODEL + "head: must name at least one choice, got None; one of " + HEADS),
        ("model: {head: 3}", MODEL + "head: must name at least one choice, got 3; one of " + HEADS),
        ("model: {head: [avg, avg]}", MODEL + "head: must not list a choice twice, got ['avg', 'avg']; remove the rep"),
        (
            "model: {head: [avgg]}",
            MODEL + f"head: must be one of {HEADS}, got 'avgg'; did you mean 'avg'?",
        ),
        ("model: {head: {avg: 3}}", MODEL + "head.avg: must be a mapping of its parameters, got 3; write {} for none"),
        (
            "model: {backbone: {inverted_se: {expansio: [2]}}}",
            MODEL + "backbone.inverted_se.expansio: unknown key; did you mean 'expansion'?",
        ),
        (
            "model: {backbone: {baseline: {}, inverted_se: {expansion: [2, 99]}}}",
            MODEL + "backbone.inverted_se.expansion: must be less than or equal to 8, got 99; change the value",
        ),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        compiled(tmp_path, text)
    (line,) = str(error.value).splitlines()
    assert line.startswith(told)
    assert "; " in line  # the next step


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = """
        model: {width: [8, -1], head: [avgg, avg], depth: {int: [6, 2]}, image_size: [16, 4], colour: rgb}
        training: {lr: {float: [1e-3, 1e-2], log: true}, epochs: [0, 2], resampling: []}
    """
    with pytest.raises(UsageError) as error:
        compiled(tmp_path, text)
    keys = [line.removeprefix("s.yaml: space.").split(":")[0] for line in str(error.value).splitlines()]
    expected = ("head", "depth", "width", "image_size", "colour")
    assert sorted(keys) == sorted([*(f"model.{key}" for key in expected), "training.epochs", "training.resampling"])


def test_parts_that_do_not_fit_each_other_are_no_mistake(tmp_path: Path) -> None:
    # convnext's fourfold stem leaves nothing of 8 pixels for a fifth block, which only some draws have.
    tree = compiled(tmp_path, "model: {backbone: {convnext: {}}, image_size: [8, 32], depth: [2, 5]}")
    assert space.distributions(tree).keys() == {"model.image_size", "model.depth"}


NAMES = ["avg", "avgmax_mlp"]
numbers = st.lists(st.integers(1, 64), min_size=1, max_size=4, unique=True)
ranges = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)).map(  # to 16, the deepest
    lambda r: {"int": [r[0], r[0] + r[1] * r[2]], "step": r[1]}
)
rates = st.tuples(st.floats(1e-5, 0.4), st.floats(0.5, 1), st.booleans()).map(
    lambda r: {"float": [r[0], r[1]], "log": r[2]}
)
expansions = st.one_of(st.integers(1, 8), st.lists(st.integers(1, 8), min_size=1, unique=True))
backbones = st.fixed_dictionaries(
    {}, optional={"baseline": st.just({}), "inverted_se": st.fixed_dictionaries({}, optional={"expansion": expansions})}
).filter(bool)
spaces = st.fixed_dictionaries(
    {},
    optional={
        "model": st.fixed_dictionaries(
            {},
            optional={
                "backbone": backbones,
                "head": st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
                "width": numbers,
                "depth": ranges,
                "image_size": st.lists(st.integers(8, 40), min_size=1, max_size=3, unique=True),
            },
        ),
        "training": st.fixed_dictionaries({}, optional={"lr": rates, "batch_size": st.integers(2, 64)}),
    },
)


def lies_within(value: Any, written: Any) -> bool:
    """Whether a drawn value is one that the space, as written, allows."""
    if isinstance(written, list):
        return (set(value) <= set(written)) if isinstance(value, dict) else value in written
    if not isinstance(written, dict):
        return bool(value == written)
    if "int" in written:
        low, high = written["int"]
        return low <= value <= high and (value - low) % written["step"] == 0
    if "float" in written:
        return bool(written["float"][0] <= value <= written["float"][1])
    return value.keys() <= written.keys() and all(lies_within(part, written[key]) for key, part in value.items())


@settings(max_examples=40)
@given(written=spaces, seed=st.integers(0, 2**16))
def test_every_draw_lies_within_the_space(written: dict[str, Any], seed: int) -> None:
    tree = space.compile_space(written, "s.yaml")
    config, drawn = draw(tree, seed)
    assert lies_within(config, written)
    assert lies_within(space.suggest(tree, space.at_random(tree, random.Random(seed))), written)
    known = space.distributions(tree)
    assert drawn.keys() <= known.keys()
    # Optuna refuses a value that its distribution does not hold.
    optuna.trial.create_trial(value=0, params=drawn, distributions={key: known[key] for key in drawn})
    # What the drawn branches leave out is all that may be missing.
    backbone = config.get("model", {}).get("backbone", {})
    missing = known.keys() - drawn.keys()
    assert all(key.split(".")[2] not in backbone for key in missing)


def test_parameters_are_told_with_what_they_hang_on(tmp_path: Path) -> None:
    text = """
        model:
          backbone: {baseline: {}, inverted_se: {expansion: [2, 4], se_reduction: 0}}
          head: [avg, {transformer: {layers: [1, 2]}}]
          depth: {int: [2, 6], step: 2}
          sequence: {none: {}, lstm: {frames: [2, 3]}, 3dcnn: {frames: 4}}
          dropout: 0.1
        training: {lr: {float: [1e-3, 1e-2], log: true}}
    """
    told = {one.key: one for one in space.parameters(compiled(tmp_path, text))}
    assert told["model.backbone"].when == told["model.depth"].when == "model.sequence is none or lstm"
    assert told["model.backbone.inverted_se.expansion"].when == (
        "model.sequence is none or lstm and model.backbone is inverted_se"
    )
    assert told["model.head.transformer.layers"].when == "model.sequence is none and model.head is transformer"
    assert told["model.sequence.lstm.frames"].when == "model.sequence is lstm"
    assert told["model.sequence"].when == told["training.lr"].when == ""
    fixed = {key for key, one in told.items() if not one.distribution}
    assert fixed == {"model.backbone.inverted_se.se_reduction", "model.sequence.3dcnn.frames", "model.dropout"}
    assert list(told["model.depth"].values) == [2, 4, 6]
    assert list(told["training.lr"].values) == [1e-3, 1e-2]
    assert list(told["model.dropout"].values) == [0.1]
    assert list(told["model.head"].values) == ["avg", "transformer"]


def test_a_sequence_model_alone_says_what_is_never_drawn(tmp_path: Path) -> None:
    tree = compiled(tmp_path, "model: {head: [avg, avgmax_mlp], sequence: {cnn3d: {frames: [2, 3]}}}")
    when = {one.key: one.when for one in space.parameters(tree)}
    assert when == {"model.head": "model.sequence is another", "model.sequence": "", "model.sequence.cnn3d.frames": ""}


RULES = """
    model: {depth: {int: [2, 6]}, image_size: [16, 24x32, 48], width: [4, 8], backbone: [baseline, convnext]}
    training: {batch_size: [32, 64], lr: {float: [1e-3, 1e-2]}}
    rules: [%s]
"""


def test_a_draw_that_breaks_a_rule_is_drawn_again(tmp_path: Path) -> None:
    tree = compiled(tmp_path, RULES % "model.depth <= 3 where model.image_size <= 16")
    kept, refused = set(), set()
    for seed in range(60):
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
        trial = study.ask()
        try:
            model = space.suggest(tree, trial)["model"]
        except space.BrokenRuleError as error:
            assert str(error) == "the rule 'model.depth <= 3 where model.image_size <= 16' is broken"
            refused.add((trial.params["model.image_size"], trial.params["model.depth"]))
        else:
            kept.add((model["image_size"], model["depth"]))
    assert refused == {(16, 4), (16, 5), (16, 6)}
    assert {(16, 2), (16, 3), (48, 6), ("24x32", 6)} <= kept
    assert not kept & refused


RULED = "s.yaml: space.rules: "


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            "model.dept <= 3",
            "'model.dept' must be a key of the space, got 'model.dept <= 3'; did you mean 'model.depth'?",
        ),
        (
            "model.depth <= 3 where model.backbone is convnxt",
            "model.backbone: must be one of baseline, convnext, efficientnet, inverted_se, patches, plain, uhd, "
            "got 'convnxt'; did you mean 'convnext'?",
        ),
        ("model.depth <= 3 where model.depth is four", "model.depth: must be a valid integer, unable to parse string"),
    ],
)
def test_a_rule_with_a_mistake(tmp_path: Path, rule: str, told: str) -> None:
    with pytest.raises(UsageError) as error:
        compiled(tmp_path, RULES % rule)
    (line,) = str(error.value).splitlines()
    assert line.startswith(RULED + told)


@pytest.mark.parametrize("rules", ["3", "{model.depth: 3}", "model.depth <= 3", "null"])
def test_rules_are_a_list(tmp_path: Path, rules: str) -> None:
    with pytest.raises(
        UsageError, match=r"s\.yaml: space\.rules: must be a list of rules, got .*; write `model\.depth"
    ):
        compiled(tmp_path, f"rules: {rules}")


def test_rules_that_leave_nothing_to_draw(tmp_path: Path) -> None:
    rules = "model.depth <= 3 where model.width <= 4, model.depth >= 5, model.width <= 4"
    with pytest.raises(UsageError) as error:
        compiled(tmp_path, RULES % rules)
    assert str(error.value).startswith(
        "s.yaml: space.rules: must leave something to draw, got nothing in 1000 draws; loosen one, most often the rule"
    )


def test_a_mistake_elsewhere_is_not_told_of_the_rules_too(tmp_path: Path) -> None:
    text = "model: {depth: {int: [6, 2]}}\nrules: [model.depth <= 3]"
    with pytest.raises(UsageError) as error:
        compiled(tmp_path, text)
    (line,) = str(error.value).splitlines()
    assert line.startswith("s.yaml: space.model.depth: impossible range")


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("{}", {TrialConfig().model.image_size}),
        ("model: {image_size: 48x30}", {(48, 30)}),
        ("model: {image_size: [16, 24x16]}", {(16, 16), (24, 16)}),
        ("model: {image_size: {int: [16, 32], step: 8}}", {(16, 16), (24, 24), (32, 32)}),
    ],
)
def test_image_sizes(tmp_path: Path, text: str, sizes: set[tuple[int, int]]) -> None:
    tree = compiled(tmp_path, text)
    assert set(space.image_sizes(tree)) == sizes
    for seed in range(8):
        assert TrialConfig.model_validate(draw(tree, seed)[0]).model.image_size in sizes


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {width: 4}", False),
        ("model: {sequence: none}", False),
        ("model: {sequence: {lstm: {frames: 4}}}", True),
        ("model: {sequence: {none: {}, frame_stack: {frames: [2, 4]}}}", True),
    ],
)
def test_whether_windows_are_taken(tmp_path: Path, text: str, expected: bool) -> None:
    assert space.takes_windows(compiled(tmp_path, text)) is expected


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_spaces(path: Path) -> None:
    settings, tree = studies.read(path)
    assert settings.name == path.stem
    assert len(space.distributions(tree)) > 5
    assert recipe.read(shipped("factory", settings.recipe)).prefix


def test_there_are_shipped_spaces() -> None:
    assert [path.stem for path in SHIPPED] == ["full", "head_pose", "person", "sequence", "smile", "tiny"]
