"""The configuration of one trial: what `whc train --config` reads, a search samples, and a record keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import model_validator

from whc import plugins, tasks
from whc.config import Settings, fingerprint
from whc.errors import problem
from whc.models.assemble import HEAD_CHOICE, ModelConfig
from whc.plugins import Choice
from whc.tasks import DEFAULT_TASK, TASK_CHOICES, Task
from whc.training.loop import TrainingConfig

BOX_LAYOUTS = ("still", "frame_stack")  # of networks that give what their head gives


def _head_gives(name: str) -> str:
    return str(plugins.load(HEAD_CHOICE.kind, name).GIVES)


class TrialConfig(Settings):
    """What is predicted, by which network, trained how."""

    task: Annotated[Choice, TASK_CHOICES] = TASK_CHOICES.default(DEFAULT_TASK)
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @model_validator(mode="after")
    def _head_serves_the_task(self) -> TrialConfig:
        wanted, model = self.task_kind.head_gives, self.model
        serving = [name for name in plugins.names(HEAD_CHOICE.kind) if _head_gives(name) == wanted]
        if model.head.name not in serving:
            rule = f"must give {wanted} for task {self.task.name}"
            raise ValueError(problem("model.head", rule, model.head.name, f"choose one of: {', '.join(serving)}"))
        if wanted == "boxes" and model.layout not in BOX_LAYOUTS:
            rule = f"must keep the head, as task {self.task.name} needs it"
            raise ValueError(problem("model.sequence", rule, model.sequence.name, "leave it out"))
        return self

    @model_validator(mode="after")
    def _task_takes_composed_pictures(self) -> TrialConfig:
        steps = self.training.augmentation.composing
        if steps and not self.task_kind.can_compose:
            rule = f"must be 0, as task {self.task.name} has one target a picture"
            got = getattr(self.training.augmentation, steps[0])
            raise ValueError(problem(f"training.augmentation.{steps[0]}", rule, got, "leave it out"))
        return self

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
