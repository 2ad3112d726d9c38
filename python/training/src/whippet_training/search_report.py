"""What is left of a search for people to look at: a page, a picture of it, and a table for other tools."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from whippet_training.search_space import Choice, Range, Space

_SHOWN = 10
"""Trials in the page's table."""

_RANKED = 4
"""Trials that must have come to their end before importances mean anything."""

_GOOD, _PRUNED, _BEST, _INK = "#2f6fb3", "#b9bec6", "#d1495b", "#23272f"
_GRID = "#e6e8ec"


_ROUND_NUMBERS = [digit * 10.0**power for power in range(-6, 3) for digit in (1, 2, 5)]


@dataclass(frozen=True)
class Search:
    """A search that has ended.

    Attributes:
        title: Such as the data folder's name.
        space: What was searched.
        trials: In order.
        facts: What the page says of it, by what it is.
    """

    title: str
    space: Space
    trials: Sequence[FrozenTrial]
    facts: Mapping[str, str]

    def study(self) -> optuna.Study:
        """The search as Optuna has it."""
        study = optuna.create_study()
        study.add_trials(self.trials)
        return study

    def complete(self) -> list[tuple[int, FrozenTrial]]:
        """Number and trial of those that came to their end, best first."""
        complete = [(n, trial) for n, trial in enumerate(self.trials) if trial.state is TrialState.COMPLETE]
        return sorted(complete, key=lambda pair: (pair[1].value, pair[0]))

    def importances(self) -> dict[str, float]:
        """How much of what tells the best tenth of the trials apart is due to each hyperparameter, in parts of one.

        PED-ANOVA, Watanabe et al. 2023 (arXiv 2304.10255). Empty where too few trials came to their end.
        """
        values = {trial.value for _, trial in self.complete()}
        if len(values) < _RANKED:
            return {}
        return get_param_importances(self.study(), evaluator=PedAnovaImportanceEvaluator())


def csv_table(search: Search) -> str:
    """The trials in order: number, state, validation loss, epochs, seconds, and every hyperparameter."""
    names = list(search.trials[0].params) if search.trials else []
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["trial", "state", "valid_loss", "epochs", "seconds", *names])
    for number, trial in enumerate(search.trials):
        values = [trial.params[name] for name in names]
        table.writerow([number, *_outcome(trial), len(trial.intermediate_values), trial.user_attrs["seconds"], *values])
    return text.getvalue()


def page(search: Search) -> str:
    """A page that needs no other file and no network: table of the best, history, importance, coordinates."""
    from plotly.offline import get_plotlyjs

    figures = {"History": _history(search)}
    if importances := search.importances():
        figures["Importance"] = _importances(importances)
    if len(search.complete()) > 1:
        figures["Parallel coordinates of the trials that were trained to the end"] = _coordinates(search)
    drawn = [
        f'<section><h2>{title}</h2><div id="figure{i}"></div>'
        f"<script>Plotly.newPlot('figure{i}', {_json(figure['data'])}, {_json(_LAYOUT | figure['layout'])}, "
        "{displayModeBar: false, responsive: true})</script></section>"
        for i, (title, figure) in enumerate(figures.items())
    ]
    return _PAGE.format(
        title=html.escape(f"Search on {search.title}"),
        facts="".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(v)}</dd>" for k, v in search.facts.items()),
        table=_best_table(search),
        figures="\n".join(drawn),
        plotly=get_plotlyjs(),
    )


def picture(search: Search) -> Figure:
    """The page's three figures in one."""
    figure = Figure(figsize=(13, 9), layout="constrained")
    figure.suptitle(f"Search on {search.title}", fontsize=15, color=_INK)
    grid = figure.add_gridspec(2, 2, height_ratios=(1, 1.05), width_ratios=(1.5, 1))
    _draw_history(figure.add_subplot(grid[0, 0]), search)
    _draw_importances(figure.add_subplot(grid[0, 1]), search.importances())
    _draw_coordinates(figure.add_subplot(grid[1, :]), search)
    return figure


def _outcome(trial: FrozenTrial) -> tuple[str, str]:
    value = "" if trial.value is None else f"{trial.value:.6f}"
    return trial.state.name.lower(), value


def _best_table(search: Search) -> str:
    names = list(search.space.distributions())
    head = "".join(f"<th>{html.escape(name)}</th>" for name in ("trial", "validation loss", "epochs", *names))
    rows = []
    for number, trial in search.complete()[:_SHOWN]:
        cells = [number, f"{trial.value:.4f}", len(trial.intermediate_values), *(trial.params[name] for name in names)]
        rows.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


@dataclass(frozen=True)
class _Points:
    """What the history shows."""

    complete: list[tuple[int, float]]
    pruned: list[tuple[int, float]]
    lowest: list[tuple[int, float]]
    is_logarithmic: bool

    @classmethod
    def of(cls, search: Search) -> _Points:
        complete = sorted((number, trial.value or 0.0) for number, trial in search.complete())
        pruned = [
            (number, trial.value)
            for number, trial in enumerate(search.trials)
            if trial.state is TrialState.PRUNED and trial.value is not None
        ]
        lowest = [(number, min(loss for _, loss in complete[: i + 1])) for i, (number, _) in enumerate(complete)]
        losses = [loss for _, loss in complete + pruned]
        wide = max(losses) > 4 * min(losses) > 0
        return cls(complete, pruned, [*lowest, (len(search.trials) - 1, lowest[-1][1])], wide)


def _history(search: Search) -> dict[str, Any]:
    points = _Points.of(search)

    def markers(name: str, pairs: list[tuple[int, float]], colour: str) -> dict[str, Any]:
        texts = [_hover(search, number) for number, _ in pairs]
        return {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [number for number, _ in pairs],
            "y": [loss for _, loss in pairs],
            "text": texts,
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": colour, "size": 9},
        }

    line = {
        "type": "scatter",
        "mode": "lines",
        "name": "lowest so far",
        "x": [number for number, _ in points.lowest],
        "y": [loss for _, loss in points.lowest],
        "line": {"color": _BEST, "shape": "hv", "width": 2},
        "hoverinfo": "skip",
    }
    complete = markers("trained to the end", points.complete, _GOOD)
    return {
        "data": [markers("given up early", points.pruned, _PRUNED), line, complete],
        "layout": {
            "height": 400,
            "xaxis": {"title": {"text": "trial"}, "zeroline": False, "gridcolor": _GRID},
            "yaxis": {
                "title": {"text": "validation loss"},
                "type": "log" if points.is_logarithmic else "linear",
                **({"tickvals": _ROUND_NUMBERS} if points.is_logarithmic else {}),
                "zeroline": False,
                "gridcolor": _GRID,
            },
            "legend": {"orientation": "h", "y": 1.12},
        },
    }


def _hover(search: Search, number: int) -> str:
    trial = search.trials[number]
    lines = [f"<b>trial {number}: {trial.value:.4f}</b>", f"{len(trial.intermediate_values)} epochs"]
    return "<br>".join(lines + [f"{html.escape(name)} {html.escape(str(v))}" for name, v in trial.params.items()])


def _importances(importances: Mapping[str, float]) -> dict[str, Any]:
    names = list(importances)[::-1]
    values = [importances[name] for name in names]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": values,
        "y": names,
        "text": [f"{value:.2f}" for value in values],
        "textposition": "outside",
        "cliponaxis": False,
        "hoverinfo": "skip",
        "marker": {"color": _GOOD},
    }
    axis = {"title": {"text": "part of what tells the best trials apart (PED-ANOVA)"}, "gridcolor": _GRID}
    return {
        "data": [bars],
        "layout": {"height": 110 + 38 * len(names), "xaxis": axis, "yaxis": {"automargin": True, "ticksuffix": "  "}},
    }


def _coordinates(search: Search) -> dict[str, Any]:
    complete = search.complete()[::-1]
    losses = [trial.value or 0.0 for _, trial in complete]
    span = [min(losses), max(losses) if max(losses) > min(losses) else min(losses) + 1e-6]
    ticks = [span[0] + part * (span[1] - span[0]) for part in (0, 0.25, 0.5, 0.75, 1)]
    dimensions: list[dict[str, Any]] = [
        {
            "label": "validation loss",
            "values": losses,
            "range": span[::-1],
            "tickvals": ticks,
            "ticktext": [f"{tick:.3f}" for tick in ticks],
        }
    ]
    for name in search.space.distributions():
        axis = _Axis.of(search.space.searched[name.replace("-", "_")])
        dimensions.append(
            {
                "label": name,
                "values": [axis.place(trial.params[name]) for _, trial in complete],
                "range": [0, 1],
                "tickvals": list(axis.ticks),
                "ticktext": list(axis.ticks.values()),
            }
        )
    line = {"color": losses, "colorscale": "Viridis", "cmin": span[0], "cmax": span[1], "showscale": True}
    parallel = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": {**line, "colorbar": {"title": {"text": "loss"}, "thickness": 12, "x": 1.05}},
        "labelfont": {"size": 13},
        "unselected": {"line": {"opacity": 0.1}},
    }
    return {"data": [parallel], "layout": {"height": 460, "margin": {"l": 70, "r": 90, "t": 60, "b": 30}}}


def _json(value: Any) -> str:
    return json.dumps(value).replace("</", "<\\/")  # a class of that name must not end the script


def _draw_history(axes: Axes, search: Search) -> None:
    points = _Points.of(search)
    for pairs, colour, label in (
        (points.pruned, _PRUNED, "given up early"),
        (points.complete, _GOOD, "trained to the end"),
    ):
        axes.scatter([n for n, _ in pairs], [loss for _, loss in pairs], 30, color=colour, label=label, zorder=3)
    numbers, lowest = [n for n, _ in points.lowest], [loss for _, loss in points.lowest]
    axes.step(numbers, lowest, where="post", color=_BEST, label="lowest so far")
    axes.set(title="History", xlabel="trial", ylabel="validation loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if points.is_logarithmic:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_locator(NullLocator())
    axes.legend(frameon=False)
    _bare(axes, "y")


def _draw_importances(axes: Axes, importances: Mapping[str, float]) -> None:
    axes.set(title="Importance")
    if not importances:
        axes.text(0.5, 0.5, "too few trials were trained to the end", ha="center", va="center", color=_INK)
        axes.set_axis_off()
        return
    names = list(importances)[::-1]
    bars = axes.barh(names, [importances[name] for name in names], color=_GOOD)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=9)
    axes.set(xlim=(0, max(importances.values()) * 1.15), xlabel="part of what tells the best trials apart (PED-ANOVA)")
    _bare(axes, "x")


def _draw_coordinates(axes: Axes, search: Search) -> None:
    complete = search.complete()[::-1]  # the best on top
    names = list(search.space.distributions())
    axes.set_title("Parallel coordinates of the trials that were trained to the end", pad=30)
    losses = [trial.value or 0.0 for _, trial in complete]
    low, high = min(losses), max(losses)
    colours = matplotlib.colormaps["viridis"]
    columns = [_Axis.of(search.space.searched[name.replace("-", "_")]) for name in names]
    for loss, (_, trial) in zip(losses, complete, strict=True):
        worse = (loss - low) / (high - low or 1)
        places = [1 - worse, *(axis.place(trial.params[name]) for name, axis in zip(names, columns, strict=True))]
        is_best = trial is complete[-1][1]
        axes.plot(range(len(places)), places, color=colours(worse * 0.92), linewidth=2.8 if is_best else 1.2)
    ticks = [{1.0: f"{low:.3f}", 0.0: f"{high:.3f}"}, *(axis.ticks for axis in columns)]
    box = {"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
    for x, (name, labels) in enumerate(zip(["validation loss", *names], ticks, strict=True)):
        axes.axvline(x, 0.045, 0.955, color=_INK, linewidth=0.8)
        axes.text(x, 1.08, name, ha="center", fontsize=10, color=_INK)
        for place, label in labels.items():
            axes.annotate(
                label, (x, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5, bbox=box, zorder=4
            )
    axes.set(xlim=(-0.2, len(columns) + 0.5), ylim=(-0.05, 1.05))
    axes.set_axis_off()


@dataclass(frozen=True)
class _Axis:
    """One of the parallel coordinates: where on it, from 0 to 1, a value lies."""

    values: tuple[Any, ...]
    low: float
    high: float
    is_logarithmic: bool
    ticks: Mapping[float, str]

    @classmethod
    def of(cls, where: Range | Choice) -> _Axis:
        if isinstance(where, Choice):
            step = 1 / (len(where.values) - 1)
            ticks = {i * step: str(value).removeprefix("tf_") for i, value in enumerate(where.values)}
            return cls(where.values, 0, 1, False, ticks)
        axis = cls((), where.low, where.high, where.is_logarithmic, {})
        ends = {0.0: where.low, 1.0: where.high}
        if where.is_integer and where.high - where.low < 4:
            ends = {axis.place(value): value for value in range(int(where.low), int(where.high) + 1)}
        elif where.is_logarithmic:
            inner = range(math.floor(math.log10(where.low)), math.ceil(math.log10(where.high)) + 1)
            ends |= {place: 10.0**power for power in inner if 0.08 < (place := axis.place(10.0**power)) < 0.92}
        else:
            ends |= {part: where.low + part * (where.high - where.low) for part in (0.25, 0.5, 0.75)}
        return cls((), where.low, where.high, where.is_logarithmic, {at: f"{value:g}" for at, value in ends.items()})

    def place(self, value: Any) -> float:
        if self.values:
            return self.values.index(value) / (len(self.values) - 1)
        if self.is_logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float((value - self.low) / (self.high - self.low))


def _bare(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)


_LAYOUT = {
    "margin": {"l": 70, "r": 30, "t": 30, "b": 60},
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": _INK},
    "plot_bgcolor": "#ffffff",
    "paper_bgcolor": "#ffffff",
    "hoverlabel": {"align": "left"},
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; color: #23272f; background: #f4f5f7; margin: 0; }}
  main {{ max-width: 1280px; margin: 0 auto; padding: 2rem 1.5rem 3rem; }}
  h1 {{ font-size: 1.8rem; margin: 0 0 1rem; }}
  h2 {{ font-size: 1.15rem; margin: 0 0 .5rem; }}
  section {{ background: #fff; border: 1px solid #e2e5ea; border-radius: 10px; }}
  section {{ padding: 1.2rem 1.4rem; margin: 0 0 1.2rem; }}
  dl {{ display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 0; }}
  dt {{ color: #667080; }}
  dd {{ margin: 0; overflow-wrap: anywhere; }}
  .scroll {{ overflow-x: auto; }}
  table {{ border-collapse: collapse; width: 100%; font-size: .85rem; font-variant-numeric: tabular-nums; }}
  th, td {{ text-align: right; border-bottom: 1px solid #eef0f3; padding: .3rem .5rem; white-space: nowrap; }}
  th {{ color: #667080; font-weight: 600; }}
  tbody tr:first-child td {{ font-weight: 600; background: #eef5fb; }}
</style>
<script>{plotly}</script>
</head>
<body>
<main>
<h1>{title}</h1>
<section><dl>{facts}</dl></section>
<section><h2>Best trials</h2><div class="scroll">{table}</div></section>
{figures}
</main>
</body>
</html>
"""
