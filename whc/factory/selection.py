"""Which candidates become variants under a recipe, and which gate rejected each other candidate."""

from __future__ import annotations

from collections.abc import Sequence

from whc.factory import ladder
from whc.factory.evidence import probability_of_gain
from whc.factory.front import Candidate, left_out
from whc.factory.recipe import Recipe
from whc.pareto import Point, dominates
from whc.records import LeftOut


def choose(candidates: Sequence[Candidate], recipe: Recipe, reference: Point, confidence: float) -> list[Candidate]:
    """The ladder, fastest first: `whc.factory.ladder.choose` with comparisons at `confidence`."""

    def beats(slower: int, faster: int) -> bool:
        return _confidence(candidates[slower], candidates[faster], recipe) >= confidence

    points = [candidate.point for candidate in candidates]
    return [candidates[i] for i in ladder.choose(points, recipe.max_variants, beats, reference)]


def _confidence(slower: Candidate, faster: Candidate, recipe: Recipe) -> float:
    """Confidence that the slower of two candidates adds the recipe's gain; 0 if its own score does not."""
    if slower.val_score - faster.val_score < recipe.min_gain:
        return 0.0
    return probability_of_gain(slower.evidence, faster.evidence, recipe.min_gain)


def why_not(
    candidate: Candidate,
    candidates: Sequence[Candidate],
    variants: Sequence[Candidate],
    recipe: Recipe,
    reference: Point,
) -> LeftOut:
    """The gate that rejected a candidate."""
    point, metric = candidate.point, candidate.exported.config.task_kind.metric
    better = [rival for rival in candidates if dominates(rival.point, point)]
    faster = [variant for variant in variants if variant.latency.ms < candidate.latency.ms]
    if point.quality <= reference.quality:
        floor = metric.number(reference.quality - recipe.min_over_floor)
        margin = metric.shown_gain(recipe.min_over_floor)
        reason = f"not better than the constant predictor ({floor}) by {margin}"
    elif better:
        reason = f"dominated by trial {better[0].exported.trial_id}"
    elif faster and _confidence(candidate, faster[-1], recipe) < recipe.confidence:
        reason = f"not told apart: {_too_little(candidate, faster[-1], recipe)}"
    else:
        reason = f"others of the front are worth more hypervolume among {recipe.max_variants} variants"
    return left_out(candidate.exported.fitted.trial, reason, candidate.val_score, candidate.latency)


def _too_little(slower: Candidate, faster: Candidate, recipe: Recipe) -> str:
    """Why what the slower of two candidates adds does not count: too little, or not sure enough."""
    metric, gain = slower.exported.config.task_kind.metric, slower.val_score - faster.val_score
    rival = f"over trial {faster.exported.trial_id}, which is faster"
    if gain < recipe.min_gain:
        return f"it gains {metric.shown_gain(gain)} {rival} (must be {metric.shown_gain(recipe.min_gain)})"
    sure = f"{_confidence(slower, faster, recipe):.0%} sure (must be {recipe.confidence:.0%})"
    return f"a gain of {metric.shown_gain(recipe.min_gain)} {rival}, is {sure}"
