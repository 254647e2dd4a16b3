"""The configuration of one trial: what `whc train --config` reads, a search samples, and a record keeps."""

from __future__ import annotations

from types import ModuleType
from typing import Annotated, Any

from whc import plugins
from whc.config import Settings, fingerprint
from whc.models.assemble import ModelConfig
from whc.plugins import Choice, ChoiceOf
from whc.training.loop import TrainingConfig

TASKS = ChoiceOf("tasks")


class TrialConfig(Settings):
    """What is predicted, by which network, trained how."""

    task: Annotated[Choice, TASKS] = TASKS.default("classification")
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    def resolved(self) -> dict[str, Any]:
        """Every value spelt out, as JSON and YAML hold it."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """Short hash of everything resolved."""
        return fingerprint(self.resolved())

    @property
    def task_module(self) -> ModuleType:
        """The task plug-in."""
        return plugins.load(TASKS.kind, self.task.name)

    @property
    def threshold(self) -> float:
        """Least probability called positive."""
        return float(getattr(self.task.config, "threshold", 0.5))
