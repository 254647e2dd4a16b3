"""What depends on what is predicted lives in `whc.tasks`: nothing else in the package speaks of it."""

from __future__ import annotations

import re
from pathlib import Path

import whc

PACKAGE = Path(whc.__file__).parent
WORDS = re.compile(
    r"\bF1\b|f1_|_f1\b|\bf1\b|class_ids?\b|[Tt]hreshold|positive_(label|class)|\bpositives?_|confusion|"
    r"class_counts?|num_classes|n_classes|\byaw\b|\bpitch\b|\bmulti_label\b|head_pose"
)
# Readers of what older versions and other projects wrote, and the clips that whc renders, which are of one task.
ALLOWED = ("tasks/", "training/originals/", "records/first_schema.py", "data/synthetic.py")
# Old names of fields, and what the help of the commands tells of the columns of a table.
ALLOWED_LINES = re.compile(
    r'"val_f1"\)|"constant_f1"\)|"max_f1_difference"\)|--labels|columns of the task|memory_usage_threshold|'
    r"stageThreshold"  # OpenCV's
)


def test_no_task_is_named_outside_its_own_folder() -> None:
    named = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(ALLOWED):
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
            named += [
                f"{name}:{n}: {line}" for n, line in lines if WORDS.search(line) and not ALLOWED_LINES.search(line)
            ]
    assert not named


def test_the_words_are_those_that_tasks_use() -> None:
    """A search for words that nobody uses would find nothing anywhere."""
    text = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / "tasks").rglob("*.py"))
    assert len(set(WORDS.findall(text))) >= 1
    assert WORDS.search(text)
