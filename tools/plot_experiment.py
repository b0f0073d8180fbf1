#!/usr/bin/env python3
"""Draws the figures of an experiment's report from the tables beside it.

    python3 tools/plot_experiment.py reproduced/methods

reads table.csv, tests.csv, drift.csv and fisher.csv in the folder, as far as they are there, and writes SVG and PNG files
to figures/ in it. Needs matplotlib (Debian: python3-matplotlib).
"""

import argparse
import csv
import math
import os
import re
import sys
from collections import defaultdict

import figure_style as style
from figure_style import plt

AVERAGE = "average"
MASK = re.compile(r"mask:(?P<kind>[a-z-]+)-(?P<percent>[0-9.]+)$")
SUBSET_KINDS = {
    "fisher": ("highest Fisher information", style.VERMILION, "s", "-"),
    "random": ("random", style.SKY, "v", "--"),
    "bottom": ("lowest Fisher information", style.BLUE, "D", ":"),
}
CROSS_KINDS = {
    "others": ("chosen on the other tasks", style.VERMILION, "s"),
    "own-as-others": ("chosen on the task itself", style.BLACK, "o"),
    "random-as-others": ("random", style.SKY, "v"),
}
TASK_MARKERS = dict(zip(("cola", "sst2", "mrpc", "stsb", "rte", "qqp", "mnli", "qnli"), style.MARKERS))


def read_rows(folder, name):
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text):
    return float(text) if text else None


def unique(values):
    return list(dict.fromkeys(values))


def percent_of(row, key="mean"):
    value = number(row[key])
    return None if value is None else 100 * value


def tasks_of(rows):
    """The average first, as readers look for it."""
    tasks = unique(row["task"] for row in rows)
    return [AVERAGE] * (AVERAGE in tasks) + [task for task in tasks if task != AVERAGE]


def panels(tasks, width=3.5, height=2.7, extra=1.0, sharex=True):
    columns = min(3, len(tasks))
    lines = math.ceil(len(tasks) / columns)
    figure, grid = plt.subplots(lines, columns, figsize=(width * columns, height * lines + extra), squeeze=False,
                                sharex=sharex)
    for axes in grid.flat[len(tasks):]:
        axes.set_visible(False)
    return figure, grid, columns


def label_panels(grid, tasks, columns, xlabel):
    """The x axis is named below the lowest panel of each column."""
    for i, axes in enumerate(grid.flat[:len(tasks)]):
        if i + columns >= len(tasks):
            axes.set_xlabel(xlabel)
            axes.tick_params(labelbottom=True)


def task_title(task):
    return "average over tasks" if task == AVERAGE else task


def score_label(rows, task):
    metric = "mean" if task == AVERAGE else next(row["metric"] for row in rows if row["task"] == task)
    return style.METRIC_NAMES.get(metric, metric) + " (%)"


def finish(figure, legend, title, stem, columns=4):
    """One legend for all panels below them, and the title above."""
    lines = math.ceil(len(legend) / columns)
    height = figure.get_figheight()
    figure.suptitle(title, y=1 - 0.12 / height, va="top")
    figure.legend(legend.values(), legend.keys(), loc="lower center", ncol=columns, frameon=False)
    figure.tight_layout(rect=(0, (0.25 * lines + 0.05) / height, 1, 1 - 0.2 / height))
    style.save(figure, stem)


# ---- Scores


def method_style(method):
    name, _, start = method.partition("@")
    colour, marker = style.METHOD_STYLES.get(name, (style.GREY, "h"))
    return colour, marker, bool(start)


def is_method(row):
    return not row["method"].startswith("mask:")


def draw_scores(rows, stem):
    """Score against trainable parameters, a panel for each task."""
    rows = [row for row in rows if is_method(row) and number(row["mean"]) is not None]
    if len(unique(row["method"] for row in rows)) < 3:
        return
    tasks = tasks_of(rows)
    figure, grid, columns = panels(tasks)
    legend = {}
    for axes, task in zip(grid.flat, tasks):
        for row in [row for row in rows if row["task"] == task and row["trainable_parameters"]]:
            colour, marker, hollow = method_style(row["method"])
            legend[row["method"]] = axes.errorbar(
                float(row["trainable_parameters"]), percent_of(row), yerr=percent_of(row, "sd") or 0.0, fmt=marker,
                color=colour, markerfacecolor="white" if hollow else colour, markersize=7, capsize=3, linewidth=1.1)
        axes.set_xscale("log")
        axes.margins(x=0.12, y=0.12)
        style.draw_grid(axes)
        axes.set_title(task_title(task))
        axes.set_ylabel(score_label(rows, task))
    label_panels(grid, tasks, columns, "trainable parameters")
    finish(figure, legend, "Score and number of trained parameters (mean and standard deviation over seeds)", stem, 5)


def draw_differences(rows, stem):
    """A line for each pair: difference and its interval."""
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(8.2, 0.3 * len(rows) + 1.5))
    for place, row in enumerate(rows):
        difference, low, high = (100 * float(row[key]) for key in ("difference", "low", "high"))
        certain = float(row["corrected_p"]) <= 0.05
        axes.plot([low, high], [place, place], color=style.BLUE, linewidth=1.6, zorder=2)
        axes.plot(difference, place, "o", color=style.BLUE, markerfacecolor=style.BLUE if certain else "white", zorder=3)
    axes.axvline(0, color=style.BLACK, linewidth=0.9)
    axes.set_yticks(range(len(rows)), [f"{row['a']} − {row['b']}" for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("difference of scores in points (95 % bootstrap interval)")
    axes.set_title("Paired differences over tasks and seeds; filled: corrected p ≤ 0.05")
    style.draw_grid(axes, "x")
    figure.tight_layout()
    style.save(figure, stem)


def draw_subsets(rows, stem):
    """Score against the share of output.LayerNorm that is trained."""
    found = [(MASK.match(row["method"]), row) for row in rows]
    found = [(match, row) for match, row in found if match and match["kind"] in SUBSET_KINDS]
    if not found:
        return
    tasks = tasks_of(rows)
    figure, grid, columns = panels(tasks)
    legend = {}
    references = {"layernorm": "all of output.LayerNorm", "full": "full", "head": "head alone"}
    dashes = {"layernorm": (0, (1, 1)), "full": "-", "head": (0, (6, 3))}
    for axes, task in zip(grid.flat, tasks):
        for kind, (label, colour, marker, line) in SUBSET_KINDS.items():
            points = sorted((float(match["percent"]), percent_of(row), percent_of(row, "sd") or 0.0) for match, row in found
                            if match["kind"] == kind and row["task"] == task and number(row["mean"]) is not None)
            if points:
                legend[label] = axes.errorbar(*zip(*[(x, y) for x, y, _ in points]), yerr=[sd for _, _, sd in points],
                                              color=colour, marker=marker, linestyle=line, capsize=3, markersize=6)
        for method, label in references.items():
            row = next((row for row in rows if row["method"] == method and row["task"] == task), None)
            if row is not None and number(row["mean"]) is not None:
                legend[label] = axes.axhline(percent_of(row), color=style.GREY, linestyle=dashes[method], linewidth=1.2)
        axes.set_xscale("log")
        shares = sorted({float(match["percent"]) for match, _ in found})
        axes.set_xticks(shares, [f"{share:g}" for share in shares])
        axes.minorticks_off()
        style.draw_grid(axes)
        axes.set_title(task_title(task))
        axes.set_ylabel(score_label(rows, task))
    label_panels(grid, tasks, columns, "share of output.LayerNorm trained (%)")
    finish(figure, legend, "Score and share of output.LayerNorm that is trained (mean and standard deviation over seeds)",
           stem, 3)


def draw_cross_task(rows, stem):
    """Elements chosen on other tasks beside those of the task itself and random ones."""
    found = [(MASK.match(row["method"]), row) for row in rows]
    found = [(match, row) for match, row in found if match and match["kind"] in CROSS_KINDS]
    if not found:
        return
    tasks = tasks_of([row for _, row in found])
    figure, axes = plt.subplots(figsize=(1.35 * len(tasks) + 2.4, 3.9))
    legend = {}
    for place, (kind, (label, colour, marker)) in enumerate(CROSS_KINDS.items()):
        for x, task in enumerate(tasks):
            row = next((row for match, row in found if match["kind"] == kind and row["task"] == task), None)
            if row is not None and number(row["mean"]) is not None:
                legend[label] = axes.errorbar(x + 0.2 * (place - 1), percent_of(row), yerr=percent_of(row, "sd") or 0.0,
                                              fmt=marker, color=colour, capsize=3, markersize=7)
    for method, label, line in (("layernorm", "all of output.LayerNorm", (0, (1, 1))), ("head", "head alone", (0, (6, 3)))):
        for x, task in enumerate(tasks):
            row = next((row for row in rows if row["method"] == method and row["task"] == task), None)
            if row is not None and number(row["mean"]) is not None:
                legend[label] = axes.plot([x - 0.38, x + 0.38], [percent_of(row)] * 2, color=style.GREY, linestyle=line)[0]
    axes.set_xticks(range(len(tasks)), [task_title(task).replace(" over ", "\nover ") for task in tasks])
    axes.set_ylabel("score (%)")
    style.draw_grid(axes, "y")
    finish(figure, legend, "Elements of output.LayerNorm chosen on other tasks", stem, 3)


def draw_untrained(rows, stem):
    """Each method from the pre-trained and from an untrained model."""
    methods = unique(row["method"].split("@")[0] for row in rows if row["method"].endswith("@untrained"))
    if not methods:
        return
    by_key = {(row["method"], row["task"]): row for row in rows}
    tasks = tasks_of([row for row in rows if row["method"].split("@")[0] in methods])
    figure, grid, columns = panels(tasks, width=3.4, height=0.34 * len(methods) + 1.1, extra=0.9, sharex=False)
    legend = {}
    for axes, task in zip(grid.flat, tasks):
        for place, method in enumerate(methods):
            colour, marker, _ = method_style(method)
            ends = []
            for name, label in ((method, "pre-trained"), (method + "@untrained", "untrained")):
                row = by_key.get((name, task))
                if row is None or number(row["mean"]) is None:
                    continue
                ends.append(percent_of(row))
                handle = axes.errorbar(ends[-1], place, xerr=percent_of(row, "sd") or 0.0, fmt=marker, color=colour,
                                       markerfacecolor=colour if name == method else "white", capsize=3, zorder=3)
                legend.setdefault(label, handle)
            if len(ends) == 2:
                axes.plot(ends, [place, place], color=style.GREY, linewidth=1.2, zorder=1)
        axes.set_yticks(range(len(methods)), methods)
        axes.set_ylim(len(methods) - 0.5, -0.5)
        axes.set_title(task_title(task))
        axes.set_xlabel(score_label(rows, task))
        style.draw_grid(axes, "x")
    finish(figure, legend, "The same methods from a pre-trained and from an untrained model", stem, 2)


# ---- Components

QUANTITIES = {
    "drift": ("mean_abs", "D, mean absolute change of an element", "Change of each component in full fine-tuning"),
    "fisher": ("mean", "Fisher information, mean over elements", "Fisher information of each component"),
}


def component_rows(rows, list_name):
    return [row for row in rows if row["list"] == list_name and row["rounding_noise"] != "true"]


def mean_over_tasks(rows, key):
    """Mean over tasks of the means over seeds."""
    by_task = defaultdict(list)
    for row in rows:
        if row[key]:
            by_task[row["task"]].append(float(row[key]))
    means = [sum(values) / len(values) for values in by_task.values()]
    return sum(means) / len(means) if means else None


def draw_components(rows, quantity, stem):
    key, label, title = QUANTITIES[quantity]
    rows = component_rows(rows, "components")
    means = {name: mean_over_tasks([row for row in rows if row["component"] == name], key)
             for name in unique(row["component"] for row in rows)}
    names = sorted((name for name in means if means[name]), key=lambda name: -means[name])
    if not names:
        return
    figure, axes = plt.subplots(figsize=(8.2, 0.36 * len(names) + 1.9))
    legend = {}
    tasks = unique(row["task"] for row in rows)
    for place, name in enumerate(names):
        colour = style.component_colour(name)
        legend["mean over tasks"] = axes.plot([means[name]] * 2, [place - 0.34, place + 0.34], color=colour, linewidth=3)[0]
        for shift, task in enumerate(tasks):
            values = [float(row[key]) for row in rows if row["component"] == name and row["task"] == task and row[key]]
            offset = 0.5 * ((shift + 0.5) / len(tasks) - 0.5)
            legend[task] = axes.plot(values, [place + offset] * len(values), TASK_MARKERS.get(task, "*"), color=colour,
                                     markerfacecolor="none", markersize=5, linestyle="none")[0]
    axes.set_xscale("log")
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    for tick, name in zip(axes.get_yticklabels(), names):
        tick.set_fontweight("bold" if name == "output.LayerNorm" else "normal")
    axes.set_xlabel(label)
    style.draw_grid(axes, "x")
    legend = {name: line_of(handle) for name, handle in legend.items()}
    finish(figure, legend, title, stem, 6)


def line_of(handle):
    """The same marker in grey: in these figures colour tells components, not tasks."""
    return plt.Line2D([], [], color=style.GREY, marker=handle.get_marker(), markerfacecolor="none",
                      linestyle=handle.get_linestyle(), linewidth=handle.get_linewidth())


def draw_layers(rows, quantity, stem):
    key, label, title = QUANTITIES[quantity]
    rows = [row for row in component_rows(rows, "component_layers") if row["layer"]]
    names = unique(row["component"] for row in rows)
    layers = sorted({int(row["layer"]) for row in rows})
    if not names:
        return
    values = [[mean_over_tasks([row for row in rows if row["component"] == name and int(row["layer"]) == layer], key)
               for layer in layers] for name in names]
    shown = [[math.nan if not value else value for value in line] for line in values]
    largest = max(value for line in shown for value in line if not math.isnan(value))
    least = min(value for line in shown for value in line if not math.isnan(value))
    figure, axes = plt.subplots(figsize=(max(7.4, 0.5 * len(layers) + 4.4), 0.36 * len(names) + 1.9))
    image = axes.imshow(shown, aspect="auto", cmap=style.HEAT_MAP,
                        norm=style.matplotlib.colors.LogNorm(vmin=least, vmax=largest))
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(range(len(layers)), layers)
    axes.set_xlabel("layer (0: next to the embeddings)")
    if len(layers) <= 12:
        for y, line in enumerate(shown):
            for x, value in enumerate(line):
                if not math.isnan(value):
                    share = math.log(value / least) / max(math.log(largest / least), 1e-9)
                    axes.text(x, y, f"{value:.1e}".replace("e-0", "e-"), ha="center", va="center", fontsize=7,
                              color="white" if share < 0.55 else "black")
    figure.colorbar(image, ax=axes, label=label)
    figure.suptitle(title + ", layer by layer")
    figure.tight_layout()
    style.save(figure, stem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="an experiment's folder, with table.csv")
    folder = parser.parse_args().folder
    rows = read_rows(folder, "table.csv")
    if not rows:
        sys.exit(f"plot_experiment: error: {os.path.join(folder, 'table.csv')} is missing or has no rows")
    figures = os.path.join(folder, "figures")
    os.makedirs(figures, exist_ok=True)
    stem = lambda name: os.path.join(figures, name)
    draw_scores(rows, stem("scores"))
    draw_differences(read_rows(folder, "tests.csv"), stem("differences"))
    draw_subsets(rows, stem("subsets"))
    draw_cross_task(rows, stem("cross_task"))
    draw_untrained(rows, stem("untrained"))
    for quantity in QUANTITIES:
        measured = read_rows(folder, quantity + ".csv")
        draw_components(measured, quantity, stem(quantity + "_components"))
        draw_layers(measured, quantity, stem(quantity + "_layers"))


if __name__ == "__main__":
    main()
