"""What every contract asks of a plug-in's `Config`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import BaseModel, ValidationError

from whc import plugins
from whc.plugins import ChoiceOf

CheckConfig = Callable[[str, str], None]


def _check_config(kind: str, name: str) -> None:
    config_type: type[BaseModel] = plugins.load(kind, name).Config
    with pytest.raises(ValidationError, match="not permitted"):
        config_type.model_validate({"no_such_parameter": 1})
    config = config_type()
    for parameter in config_type.model_fields:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(config, parameter, getattr(config, parameter))
    choice = ChoiceOf(kind).parse(name)
    assert choice.config == config
    assert ChoiceOf(kind).parse(choice.dump()) == choice


@pytest.fixture
def check_config() -> CheckConfig:
    """Call with a kind and a name: refuses unknown keys, is frozen, and survives being written and read."""
    return _check_config
