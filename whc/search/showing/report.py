"""`report.html`: the course and the results of a search, on one page that needs no network."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
import plotly.graph_objects as go
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator
from optuna.trial import FrozenTrial
from optuna.visualization import plot_parallel_coordinate
from plotly.offline import get_plotlyjs

from whc.errors import StudyError, problem
from whc.pareto import Point, front, hypervolume, ranks
from whc.records import Metric, StudyRecord, TrialRecord, write_atomic
from whc.records.results import front_trials, point_of, scored, study_reference
from whc.search.sampling.searcher import OBJECTIVE_DIRECTIONS
from whc.search.showing.display import counted
from whc.search.space import ranges, space
from whc.search.space.summary import summary

LEAST_FOR_IMPORTANCE = 10
MAX_BARS, MAX_LINES = 12, 200
AXES_THAT_FIT, AXIS_PIXELS = 14, 75
FRONT_COLOUR, OTHER_COLOUR, STOPPED_COLOUR = "#1f6fb4", "#808080", "#d0a060"
LATENCIES_MS = [digit * 10.0**exponent for exponent in range(-5, 4) for digit in (1, 2, 5)]

PAGE_TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{{ name }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1, h2 { line-height: 1.2; margin-bottom: 0.3em }
h2 { margin-top: 2em }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1.5em }
dt { color: #666 }
dd { margin: 0; overflow-wrap: anywhere }
.row { display: grid; overflow-x: auto }
.missing { color: #666; font-style: italic }
</style>
<script>{{ script }}</script>
</head>
<body>
<h1>{{ name }}</h1>
<dl>
{% for fact, value in facts.items() %}<dt>{{ fact }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
{% for section in sections %}
<h2>{{ section.title }}</h2>
<p>{{ section.words }}</p>
<div class="row" style="grid-template-columns: repeat({{ section.figures | length }}, minmax(0, 1fr))">
{% for drawn in section.drawn %}{{ drawn }}
{% endfor %}
</div>
{% endfor %}
</body>
</html>
"""


@dataclass(frozen=True)
class ReportSection:
    """A heading, what is to be seen below it, and figures; a text in place of a figure says what it would need."""

    title: str
    words: str
    figures: Sequence[go.Figure | str]

    @property
    def drawn(self) -> list[Markup]:
        """The figures as HTML that needs plotly's script on the page."""
        return [self._html(number, figure) for number, figure in enumerate(self.figures)]

    def _html(self, number: int, figure: go.Figure | str) -> Markup:
        if isinstance(figure, str):
            return Markup('<p class="missing">{}</p>').format(figure)
        figure.update_layout(template="plotly_white", margin={"l": 70, "r": 30, "t": 30, "b": 60}, title=None)
        name = f"{self.title} {number}".replace(" ", "-").lower()  # given, so that the same study makes the same page
        config = {"displaylogo": False, "plotlyServerURL": ""}
        return Markup(figure.to_html(config, full_html=False, include_plotlyjs=False, div_id=name))  # noqa: S704


def write(study: StudyRecord, records: Sequence[TrialRecord], path: Path) -> None:
    """Write the report of a study.

    Args:
        study: the study.
        records: its trials that are over, in any order.
        path: of the page; a page that is there is replaced.

    Raises:
        StudyError: the trials are not of the study's space.
        UsageError: the study's space is not one.
    """
    ended = sorted(records, key=lambda record: record.trial_id)
    source = str(path.with_name("study.yaml"))
    distributions = space.distributions(space.compile_space(study.space, source))
    states = counted(Counter(record.state for record in ended))
    facts = {
        "trials": f"{len(ended)} of {study.trials} ended: {', '.join(states) or 'none'}",
        "data": f"{study.data_shown} ({study.data_fingerprint})",
        "host": study.host,
        "limits": ", ".join(f"{name} {limit:g}" for name, limit in study.limits.items()) or "none",
        "constant predictor": study.metric.shown(study.floor),
    }
    sections = [
        _progress(study, ended),
        _front(study.metric, ended),
        _importances(study.metric, _sampled(study.metric, ended, distributions, source, whole=True)),
        _parameters(_sampled(study.metric, _best(ended), distributions, source)),
    ]
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(PAGE_TEMPLATE)
    script = Markup(get_plotlyjs())  # noqa: S704 (plotly's own)
    write_atomic(path, page.render(name=study.study, facts=facts, sections=sections, script=script))


def _progress(study: StudyRecord, ended: Sequence[TrialRecord]) -> ReportSection:
    """Hypervolume over time, or over the number of trials where old records have no time."""
    worst = study_reference(study, ended)
    timed = all(record.elapsed_s for record in ended)
    order = sorted(ended, key=lambda record: record.elapsed_s) if timed else ended
    x, y, best = [0.0], [0.0], list[Point]()
    for number, record in enumerate(order, 1):
        best += [point_of(trial) for trial in scored([record])]
        best = [best[i] for i in front(best)]
        x.append(record.elapsed_s / 60 if timed else number)
        y.append(hypervolume(best, worst))
    area = f"The area between the front and {study.metric.shown(worst.quality)} at {worst.cost:.4g} ms"
    words = f"{area}, latency as its log; {y[-1]:.4f} so far."
    shown: go.Figure | str = "No trial has finished, so there is no front to measure."
    if best:
        line = go.Scatter(x=x, y=y, mode="lines", line={"shape": "hv", "color": FRONT_COLOUR})
        axis = "minutes of searching" if timed else "trials that ended"
        shown = go.Figure(line).update_layout(height=350, xaxis_title=axis, yaxis_title="hypervolume")
    return ReportSection("Hypervolume", words, [shown])


def _front(metric: Metric, ended: Sequence[TrialRecord]) -> ReportSection:
    """All trials that have been trained, by latency and validation score, and the front's line."""
    name = metric.name
    words = f"Trials by latency and validation {name}; those cut short with the {name} that they had reached. "
    words += "Point at one."
    if not scored(ended) + scored(ended, "stopped"):
        return ReportSection("Front", words, ["No trial has been trained, so there is nothing to compare."])
    best = front_trials(ended)
    others = [record for record in scored(ended) if record not in best]
    line = {"shape": "hv", "color": FRONT_COLOUR}
    figure = go.Figure(
        [
            _scatter(metric, "cut short", scored(ended, "stopped"), STOPPED_COLOUR, symbol="x-thin-open"),
            _scatter(metric, "finished", others, OTHER_COLOUR, symbol="circle-open"),
            _scatter(metric, "front", best, FRONT_COLOUR, mode="lines+markers", line=line, symbol="circle"),
        ]
    )
    named = [f"{ms:g}" for ms in LATENCIES_MS]
    figure.update_xaxes(type="log", title="latency of one forward pass, ms", tickvals=LATENCIES_MS, ticktext=named)
    return ReportSection("Front", words, [figure.update_layout(height=500, yaxis_title=f"validation {name}")])


def _scatter(
    metric: Metric,
    name: str,
    trials: Sequence[TrialRecord],
    colour: str,
    symbol: str,
    mode: str = "markers",
    **style: object,
) -> go.Scatter:
    def label(trial: TrialRecord) -> str:
        at = point_of(trial)
        epochs = f"{len(trial.curve)} epochs"
        return f"{trial.trial_id}: {summary(trial.config)}<br>{metric.shown(at.quality)}, {at.cost:.4f} ms, {epochs}"

    return go.Scatter(
        x=[point_of(trial).cost for trial in trials],
        y=[point_of(trial).quality for trial in trials],
        text=[label(trial) for trial in trials],
        hovertemplate="%{text}<extra></extra>",
        name=f"{name} ({len(trials)})",
        mode=mode,
        marker={"color": colour, "size": 9, "symbol": symbol},
        **style,
    )


def _importances(metric: Metric, sampled: optuna.Study) -> ReportSection:
    words = (
        "How much of the spread between finished trials each parameter explains, as a random forest sees it: "
        f"the {MAX_BARS} greatest shares. What a trial did not need counts as its first value."
    )
    score = _importance(sampled, f"validation {metric.name}", lambda trial: float(trial.values[0]))
    latency = _importance(sampled, "log latency", lambda trial: math.log(trial.values[1]))
    return ReportSection("What matters", words, [score, latency])


def _importance(sampled: optuna.Study, name: str, target: Callable[[FrozenTrial], float]) -> go.Figure | str:
    trials = sampled.get_trials(deepcopy=False)
    different = len({target(trial) for trial in trials})
    if different < LEAST_FOR_IMPORTANCE:
        return f"For {name}, at least {LEAST_FOR_IMPORTANCE} finished trials must differ in it; {different} do."
    if len(trials[0].params) < 2:
        return f"For {name}, at least two parameters must be drawn."
    # PED-ANOVA said of 28 real trials that lr decides latency. fANOVA takes a minute, a forest a second.
    forest = MeanDecreaseImpurityImportanceEvaluator(seed=0)
    shares = optuna.importance.get_param_importances(sampled, evaluator=forest, target=target)
    x, y = list(shares.values())[:MAX_BARS], list(shares)[:MAX_BARS]
    bars = go.Bar(x=x, y=y, text=[f"{share:.2f}" for share in x], orientation="h", marker_color=FRONT_COLOUR)
    figure = go.Figure(bars).update_yaxes(autorange="reversed")
    return figure.update_layout(height=120 + 25 * len(y), xaxis_title=f"share in {name}")


def _parameters(sampled: optuna.Study) -> ReportSection:
    words = (
        "Each line is a finished trial, the darker the less it is dominated (rank 0: it is on the front); "
        f"of more than {MAX_LINES} the best. None: it had no use for the parameter."
    )
    trials = sampled.get_trials(deepcopy=False)
    names = {name for trial in trials for name in trial.params}
    if len(trials) < 2 or not names:
        counts = f"there are {len(trials)} and {len(names)}"
        missing = f"Needs at least two finished trials and a drawn parameter; {counts}."
        return ReportSection("Parameters", words, [missing])
    figure = plot_parallel_coordinate(sampled).update_annotations(bgcolor="rgba(255, 255, 255, 0.7)")
    wide = AXIS_PIXELS * len(names) if len(names) > AXES_THAT_FIT else None
    return ReportSection("Parameters", words, [figure.update_layout(height=500, width=wide)])


def _best(ended: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The finished trials of the lowest ranks, as many as lines can be seen apart."""
    finished = scored(ended)
    rank = ranks([point_of(record) for record in finished])
    return [finished[i] for i in sorted(range(len(finished)), key=rank.__getitem__)[:MAX_LINES]]


def _sampled(
    metric: Metric,
    ended: Iterable[TrialRecord],
    distributions: Mapping[str, BaseDistribution],
    source: str,
    whole: bool = False,
) -> optuna.Study:
    """The finished trials as Optuna's tools take them, their parameters under short names.

    Args:
        metric: in which its scores are read.
        ended: a study's trials that are over.
        distributions: what its space can draw.
        source: what errors call the study's file.
        whole: give every trial every parameter, as a forest cannot handle a missing one.
    """
    names = _short(distributions)
    absent = {key: ranges.values(distribution)[0] for key, distribution in distributions.items()} if whole else {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampled = optuna.create_study(directions=OBJECTIVE_DIRECTIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # of names for metrics
        sampled.set_metric_names([f"val_{metric.key}", "latency ms"])
    for record in scored(ended):
        at, drawn = point_of(record), absent | record.drawn
        try:
            trial = optuna.trial.create_trial(
                values=[metric.value(at.quality), at.cost],
                params={names[key]: value for key, value in drawn.items()},
                distributions={names[key]: distributions[key] for key in drawn},
            )
        except (KeyError, ValueError) as error:
            rule = f"the space must hold what trial {record.trial_id} drew"
            raise StudyError(problem(source, rule, record.drawn, "put study.yaml back as it was")) from error
        sampled.add_trial(trial)
    return sampled


def _short(keys: Iterable[str]) -> dict[str, str]:
    """For each dotted key its shortest ending that it shares with no other."""
    endings = {key: [key.split(".", cut)[-1] for cut in reversed(range(key.count(".") + 1))] for key in keys}
    counts = Counter(ending for listed in endings.values() for ending in listed)
    return {key: next((ending for ending in listed if counts[ending] == 1), key) for key, listed in endings.items()}
