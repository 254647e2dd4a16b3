"""The configuration of one trial: what `whc train --config` reads, a search samples, and a record keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from whc import tasks
from whc.config import Settings, fingerprint
from whc.models.assemble import ModelConfig
from whc.plugins import Choice
from whc.tasks import DEFAULT_TASK, TASK_CHOICES, Task
from whc.training.loop import TrainingConfig


class TrialConfig(Settings):
    """What is predicted, by which network, trained how."""

    task: Annotated[Choice, TASK_CHOICES] = TASK_CHOICES.default(DEFAULT_TASK)
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    def resolved(self) -> dict[str, Any]:
        """Every value spelt out, as JSON and YAML hold it."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """Short hash of everything resolved."""
        return fingerprint(self.resolved())

    def task_for(self, labels: Sequence[str] | None) -> Task:
        """What is predicted, for the labels of a data set; None while none is known."""
        return tasks.build(self.task, labels)

    @property
    def task_kind(self) -> type[Task]:
        """What is predicted, whatever the labels."""
        return tasks.kind(self.task.name)
