"""The JSON Schema of search files agrees with what reads them, and the file in search_spaces/ with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from whc.config import dump_yaml, load_yaml
from whc.errors import UsageError
from whc.search.running import schema
from whc.search.running.study import read

FOLDER = Path(schema.__file__).parents[3] / "search_spaces"
SHIPPED = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Draft7Validator:
    made = schema.schema()
    Draft7Validator.check_schema(made)
    return Draft7Validator(made)


def test_the_file_is_up_to_date() -> None:
    """If not: `whc search --schema > search_spaces/schema.json`."""
    assert (FOLDER / "schema.json").read_text(encoding="utf-8") == schema.text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_name_and_keep_it(path: Path, validator: Draft7Validator) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == "# yaml-language-server: $schema=schema.json"
    assert list(validator.iter_errors(load_yaml(path))) == []


GOOD = {"name": "hands", "recipe": "tiny", "space": {"model": {"width": [4, 8]}}}

SOUND: dict[str, Any] = {
    "a value": {"space": {"model": {"width": 4}}},
    "a range": {"space": {"model": {"depth": {"int": [2, 6], "step": 2}}}},
    "a log range": {"space": {"training": {"lr": {"float": [1e-3, 1e-2], "log": True}}}},
    "a whole range of numbers": {"space": {"training": {"augmentation": {"rotation_degrees": {"int": [0, 9]}}}}},
    "sizes": {"space": {"model": {"image_size": [16, "48x30"]}}},
    "a range of sizes": {"space": {"model": {"image_size": {"int": [16, 32], "step": 8}}}},
    "words": {"space": {"training": {"resampling": ["none", "weighted"], "schedule": "cosine"}}},
    "a choice": {"space": {"model": {"head": "avg"}}},
    "choices": {"space": {"model": {"head": ["avg", {"transformer": {"grid": ["2x2", "2x3"], "layers": 1}}]}}},
    "nested choices": {"space": {"model": {"backbone": {"baseline": None, "inverted_se": {"expansion": [2, 4]}}}}},
    "an alias": {"space": {"model": {"sequence": {"none": {}, "3dcnn": {"frames": {"int": [2, 4]}}}}}},
    "a task": {"space": {"task": {"classification": {"threshold": 0.4}}}},
    "rules": {"space": {"model": {"depth": [2, 3], "width": 4}, "rules": ["model.depth <= 2 where model.width <= 4"]}},
    "limits": {"limits": {"latency_ms": 0.2, "params": 1000, "size_bytes": None}},
    "a runtime": {"runtime": {"onnxruntime_cpu": {"threads": 2}}},
    "the rest": {"data": "x.parquet", "trials": 3, "workers": None, "seed": 3},
}
UNSOUND: dict[str, Any] = {
    "a misspelt key": {"trails": 3},
    "a misspelt section": {"space": {"modle": {}}},
    "a misspelt key of a model": {"space": {"model": {"widht": 4}}},
    "a misspelt augmentation": {"space": {"training": {"augmentation": {"flop": 1}}}},
    "a misspelt choice": {"space": {"model": {"head": "avgg"}}},
    "a misspelt choice in a list": {"space": {"model": {"head": ["avg", "avgg"]}}},
    "a misspelt parameter": {"space": {"model": {"backbone": {"inverted_se": {"expansio": 2}}}}},
    "a misspelt range": {"space": {"model": {"depth": {"itn": [2, 6]}}}},
    "a range of three": {"space": {"model": {"depth": {"int": [2, 4, 6]}}}},
    "a range of words": {"space": {"training": {"schedule": {"int": [2, 4]}}}},
    "a value out of bounds": {"space": {"model": {"width": 0}}},
    "one of a list out of bounds": {"space": {"model": {"width": [4, 0]}}},
    "an unknown word": {"space": {"training": {"resampling": ["none", "foo"]}}},
    "a list where one is meant": {"trials": [3, 4]},
    "two runtimes": {"runtime": {"onnxruntime_cpu": {}, "openvino": {}}},
    "no rule": {"space": {"model": {"depth": 3}, "rules": ["depth <= 3"]}},
    "rules that are none": {"space": {"rules": "model.depth <= 3"}},
    "no section": {"space": {"model": [4]}},
    "an empty list": {"space": {"model": {"width": []}}},
    "no trials": {"trials": 0},
    "a name with a slash": {"name": "a/b"},
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_read_is_valid(name: str, validator: Draft7Validator, tmp_path: Path) -> None:
    content = GOOD | SOUND[name]
    (tmp_path / "s.yaml").write_text(dump_yaml(content), encoding="utf-8")
    read(tmp_path / "s.yaml")
    assert [error.message for error in validator.iter_errors(content)] == []


@pytest.mark.parametrize("name", UNSOUND)
def test_what_is_refused_is_invalid(name: str, validator: Draft7Validator, tmp_path: Path) -> None:
    content = GOOD | UNSOUND[name]
    (tmp_path / "s.yaml").write_text(dump_yaml(content), encoding="utf-8")
    with pytest.raises(UsageError):
        read(tmp_path / "s.yaml")
    assert list(validator.iter_errors(content))


def test_name_and_space_may_be_included(validator: Draft7Validator) -> None:
    assert validator.is_valid({"include": "smile", "trials": 3})
    assert validator.is_valid({"include": ["smile", "mine.yaml"]})
    assert not validator.is_valid({"trials": 3})
    assert not validator.is_valid({key: value for key, value in GOOD.items() if key != "space"})
    assert not validator.is_valid({"include": 3})


def test_editors_are_told_what_keys_are_for() -> None:
    told = schema.schema()
    assert told["properties"]["trials"]["default"] == 20
    assert "`trials`" in told["description"]
    model = told["properties"]["space"]["properties"]["model"]
    assert "`width` is the channels of the first block" in model["description"]
    assert model["properties"]["image_size"]["default"] == 32
    assert model["properties"]["backbone"]["default"] == "baseline"
