#!/usr/bin/env python3
"""Draws score against trainable parameters from the table.csv of `normtune compare`.

    python3 tools/plot_comparison.py comparison/table.csv [--baselines bag_of_words.csv] [--title TEXT]

writes score_by_parameters.svg and .png beside table.csv: a panel for the average over tasks, one for each task.
Needs matplotlib (Debian: python3-matplotlib).
"""

import argparse
import csv
import math
import os
import sys

import figure_style  # first: it says what to do where matplotlib is missing
from figure_style import plt
from matplotlib.ticker import EngFormatter, NullFormatter

AVERAGE = "average"


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(text):
    """The number in a field of the table; None for an undefined score."""
    return float(text) if text else None


def ordered_tasks(rows):
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    return [AVERAGE] * (AVERAGE in tasks) + [task for task in tasks if task != AVERAGE]


def draw_point(axes, row):
    """One method on one task: the mean over seeds, with its standard deviation as a bar."""
    mean = number(row["mean"])
    if mean is None:
        return None
    method, _, start = row["method"].partition("@")
    colour, marker = figure_style.METHOD_STYLES.get(method, (figure_style.GREY, "h"))
    return axes.errorbar(
        float(row["trainable_parameters"]), mean, yerr=number(row["sd"]) or 0.0, fmt=marker, color=colour,
        markerfacecolor="white" if start else colour, markersize=8, capsize=3, linewidth=1.2)


def draw_panel(axes, rows, baselines, metric):
    handles = {}
    for row in rows:
        handle = draw_point(axes, row)
        if handle is not None:
            handles[row["method"]] = handle
    for style, row in zip(("--", ":", "-."), baselines):
        handles[row["method"]] = axes.axhline(float(row["score"]), linestyle=style, color=figure_style.GREY,
                                                linewidth=1.2)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))  # 1k, 10k, 1M
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.12)
    figure_style.draw_grid(axes)
    axes.set_ylabel(figure_style.METRIC_NAMES.get(metric, metric))
    return handles


def draw(rows, baselines, title):
    tasks = ordered_tasks(rows)
    columns = min(3, len(tasks))
    lines = math.ceil(len(tasks) / columns)
    figure, grid = plt.subplots(lines, columns, figsize=(3.6 * columns, 2.8 * lines + 1.1), squeeze=False,
                                sharex=True)
    legend = {}
    for axes, task in zip(grid.flat, tasks):
        task_rows = [row for row in rows if row["task"] == task]
        metric = "mean" if task == AVERAGE else task_rows[0]["metric"]
        legend.update(draw_panel(axes, task_rows, [row for row in baselines if row["task"] == task], metric))
        axes.set_title("average over tasks" if task == AVERAGE else task)
    for axes in grid.flat[len(tasks):]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("trainable parameters")
    figure.suptitle(title)
    figure.legend(legend.values(), legend.keys(), loc="lower center", ncol=5, frameon=False)
    figure.tight_layout(rect=(0, 0.035 * math.ceil(len(legend) / 5), 1, 1))
    return figure


def caption(rows):
    counts = sorted({row["n"] for row in rows}, key=int)
    return f"Score and number of trained parameters (mean and standard deviation of {' to '.join(counts)} seeds)"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="table.csv of a comparison")
    parser.add_argument("--baselines", help="CSV of method,task,score,source, drawn as horizontal lines")
    parser.add_argument("--title")
    arguments = parser.parse_args()
    rows = read_rows(arguments.table)
    if not rows:
        sys.exit(f"plot_comparison: error: {arguments.table} has no rows")
    baselines = read_rows(arguments.baselines) if arguments.baselines else []
    figure = draw(rows, baselines, arguments.title or caption(rows))
    figure_style.save(figure, os.path.join(os.path.dirname(arguments.table), "score_by_parameters"))


if __name__ == "__main__":
    main()
