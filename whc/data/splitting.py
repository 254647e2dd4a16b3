"""Assigns groups (people, clips) to train, val and test, close to given shares, with every class in each split."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from whc.data.dataset import SPLIT_NAMES
from whc.errors import DataError, UsageError, problem

Shares = tuple[float, float, float]

_ABSENT_COST = 10.0  # of a class without rows in a split; wrong shares cost less than 3 a class
_MAX_ATTEMPTS = 8
_LARGE_SHARE = 0.01  # of a class: larger groups are assigned first, and then the others in random order
_FRAME_NUMBER = re.compile(r"[_.-]?\d+$")


def shares(text: str) -> Shares:
    """Read `70/15/15`: the shares of train, val and test, in hundredths.

    Raises:
        UsageError: the text is not three positive numbers that add up to 100.
    """
    try:
        train, val, test = (float(part) for part in text.split("/"))
    except ValueError:
        train = val = test = 0.0
    if not (min(train, val, test) > 0 and abs(train + val + test - 100) < 0.01):
        rule = "must be the shares of train, val and test, three positive numbers that add up to 100"
        raise UsageError(problem("--split", rule, text, "write 70/15/15"))
    return train / 100, val / 100, test / 100


def grouping(text: str) -> Callable[[str], str | None]:
    """The function for `--group`: from a file's name, which begins with its class folder, to its group or None.

    `person` is the first folder below the class, or else the file's name up to its first `_`. `video` is the folders
    below the class, or else the file's name without its number. Anything else is a regular expression, searched in the
    name, whose first group in parentheses is the key.

    Raises:
        UsageError: the text is no regular expression, or has no group.
    """
    if text in _NAMED_GROUPINGS:
        return _NAMED_GROUPINGS[text]
    rule = "must be person, video or a regular expression with a group in parentheses"
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(problem("--group", f"{rule} ({error})", text, "write such as '/([^/_]+)_[^/]*$'")) from error
    if not pattern.groups:
        raise UsageError(problem("--group", rule, text, "write such as '/([^/_]+)_[^/]*$'"))

    def matched(name: str) -> str | None:
        match = pattern.search(name)
        return (match.group(1) or None) if match else None

    return matched


def _person(name: str) -> str | None:
    _, *folders, file = name.split("/")
    if folders:
        return folders[0]
    person, underscore, _ = file.partition("_")
    return person if underscore and person else None


def _video(name: str) -> str | None:
    _, *folders, file = name.split("/")
    if folders:
        return "/".join(folders)
    return _FRAME_NUMBER.sub("", file.rpartition(".")[0]) or None


_NAMED_GROUPINGS: dict[str, Callable[[str], str | None]] = {"person": _person, "video": _video}


def group_names(names: Sequence[str], group: str) -> list[str]:
    """The group of each file.

    Raises:
        UsageError: as `grouping`.
        DataError: a file belongs to no group.
    """
    group_of = grouping(group)
    keys = [group_of(name) for name in names]
    for name, key in zip(names, keys, strict=True):
        if key is None:
            next_step = "rename the file, put it in a folder below its class, or give another pattern"
            raise DataError(problem(f"--group {group}", "every file must belong to a group", name, next_step))
    return [key for key in keys if key]


def assign(counts: NDArray[np.int64], target_shares: Shares, seed: int) -> NDArray[np.int64] | None:
    """Assign groups to the splits, so that the shares of each class come close to `target_shares`.

    Large groups are assigned first and the others in random order, each to the split that lacks its classes most. Then
    single groups move to other splits as long as that improves the shares. A class that is alone in three groups or
    more reaches every split.

    Args:
        counts: (G, C) rows of each class in each group, each class in some group.
        target_shares: shares of train, val and test; their sum is 1.
        seed: seed of the random order.

    Returns:
        (G,) an index of SPLIT_NAMES for each group; None if no attempt gives every class to every split.
    """
    rows = counts / counts.sum(0)
    rng = np.random.default_rng(seed)
    for _ in range(_MAX_ATTEMPTS):
        splits = _initial_splits(rows, np.array(target_shares), rng)
        _improve(rows, np.array(target_shares), splits)
        if _shares_of_classes(rows, splits).min() > 0:
            return splits
    return None


def _shares_of_classes(rows: NDArray[np.float64], splits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of each class in each split, (splits, C)."""
    return np.stack([rows[splits == split].sum(0) for split in range(len(SPLIT_NAMES))])


def _initial_splits(
    rows: NDArray[np.float64], target_shares: NDArray[np.float64], rng: np.random.Generator
) -> NDArray[np.int64]:
    splits = np.zeros(len(rows), np.int64)
    lacking = np.repeat(target_shares[:, None], rows.shape[1], 1)
    shuffled = rng.permutation(len(rows))
    size = rows.sum(1)[shuffled]
    for group in shuffled[np.argsort(np.where(size > _LARGE_SHARE, -size, 0), kind="stable")]:
        split = int(np.argmax(lacking @ rows[group]))
        splits[group] = split
        lacking[split] -= rows[group]
    return splits


def _improve(rows: NDArray[np.float64], target_shares: NDArray[np.float64], splits: NDArray[np.int64]) -> None:
    """Repeat the single move of a group that improves the shares most, in place, until no move improves them."""

    def cost(share_of_class: NDArray[np.float64]) -> NDArray[np.float64]:
        # Below 1e-9 is a rounding error, not a row: sums and differences of shares are not exact.
        return np.asarray(
            ((share_of_class - target_shares[:, None]) ** 2 + _ABSENT_COST * (share_of_class < 1e-9)).sum(-1)
        )

    all_groups = np.arange(len(rows))
    for _ in rows:
        class_shares = _shares_of_classes(rows, splits)
        present_cost = cost(class_shares)
        grown = cost(class_shares + rows[:, None]) - present_cost
        shrunk = cost(class_shares - rows[:, None]) - present_cost
        change = grown + shrunk[all_groups, splits][:, None]
        change[all_groups, splits] = 0
        group, split = np.unravel_index(np.argmin(change), change.shape)
        if change[group, split] > -1e-9:
            return
        splits[group] = split
