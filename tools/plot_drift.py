#!/usr/bin/env python3
"""Draws what moved from the drift.json of `normtune drift`.

    python3 tools/plot_drift.py DIR

writes beside DIR/drift.json, each as .svg and .png:

    drift_ranking        components by mean absolute change D, and by relative change
    drift_layers         heat map: layer by component
    drift_distribution   how |change| is spread inside each component
    drift_trajectory     D over the run's checkpoints, if there are some

Needs matplotlib (Debian: python3-matplotlib).
"""

import argparse
import json
import os
import sys

import figure_style  # first: it says what to do where matplotlib is missing
from figure_style import plt
from matplotlib.colors import LogNorm
from matplotlib.ticker import FuncFormatter, MaxNLocator

D_LABEL = "mean absolute change D"
PLAIN_NUMBERS = FuncFormatter(lambda value, _: f"{value:g}")  # no power of ten beside the axis


def read_drift(folder):
    path = os.path.join(folder, "drift.json")
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"plot_drift: error: {path}: {error}")


def ranked(rows, key="mean_abs"):
    """Rows that moved, the largest first; those of rounding noise and without a value are left out."""
    rows = [row for row in rows if not row["rounding_noise"] and row[key]]
    return sorted(rows, key=lambda row: -row[key])


def title_of(drift):
    names = [os.path.basename(os.path.normpath(drift[key])) for key in ("before", "after")]
    return f"from {names[0]} to {names[1]}"


def draw_bars(axes, rows, key, label):
    names = [row["component"] for row in rows]
    places = range(len(rows))
    axes.barh(places, [row[key] for row in rows],
              color=[figure_style.component_colour(name) for name in names], edgecolor="black", linewidth=0.5)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PLAIN_NUMBERS)
    figure_style.draw_grid(axes, axis="x")


def draw_walks(axes, drift, largest):
    """Where the walks of the learning rate alone would have led."""
    steps = drift["step_sizes"]
    if not steps or steps["no_walk_because"]:
        return
    for key, style in (("random_walk", ":"), ("sign_walk", "--")):
        if steps[key] <= 2.5 * largest:
            axes.axvline(steps[key], linestyle=style, color="black", linewidth=1.2,
                         label=f"{key.replace('_', ' ')} of the learning rate: {steps[key]:.2g}")
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="lower center", ncol=2, frameon=False)


def draw_ranking(drift):
    by_change, by_ratio = ranked(drift["components"]), ranked(drift["components"], "rel_l2")
    if not by_change:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 0.28 * len(by_change) + 2.1))
    draw_bars(left, by_change, "mean_abs", D_LABEL)
    draw_walks(left, drift, by_change[0]["mean_abs"])
    left.set_title("by absolute change")
    draw_bars(right, by_ratio, "rel_l2", "L2 norm of the change / of the weights")
    right.set_title("by relative change")
    figure.suptitle("What moved most, " + title_of(drift))
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    return figure


def layer_matrix(rows):
    """Components, layers, and D as rows of a matrix; None where there is no such tensor or nothing moved."""
    rows = [row for row in rows if row["layer"] is not None]
    components = list(dict.fromkeys(row["component"] for row in rows))
    layers = sorted({row["layer"] for row in rows})
    values = {(row["component"], row["layer"]): row["mean_abs"] for row in rows}
    matrix = [[values.get((component, layer)) or float("nan") for layer in layers] for component in components]
    return components, layers, matrix


def draw_layers(drift):
    components, layers, matrix = layer_matrix(drift["component_layers"])
    moved = [value for line in matrix for value in line if value == value]
    if not moved:
        return None
    figure, axes = plt.subplots(figsize=(max(5.5, 0.42 * len(layers) + 3.6), 0.36 * len(components) + 1.7))
    scale = LogNorm(min(moved), max(moved)) if 20 * min(moved) < max(moved) else None
    image = axes.imshow(matrix, cmap=figure_style.HEAT_MAP, norm=scale, aspect="auto")
    axes.set_facecolor("#DDDDDD")  # what did not move
    axes.set_yticks(range(len(components)), components)
    axes.set_xticks(range(len(layers)), layers)
    axes.set_xlabel("layer (grey: did not move)" if len(moved) < len(components) * len(layers) else "layer")
    figure.colorbar(image, ax=axes, label=D_LABEL, format=None if scale else PLAIN_NUMBERS)
    axes.set_title("Change by layer and component,\n" + title_of(drift))
    figure.tight_layout()
    return figure


def draw_distribution(drift):
    rows = [row for row in ranked(drift["components"]) if row["quantiles"]["q95"] > 0]
    if not rows:
        return None
    figure, axes = plt.subplots(figsize=(7.5, 0.3 * len(rows) + 1.9))
    floor = min(q for row in rows for q in row["quantiles"].values() if q > 0)
    for place, row in enumerate(rows):
        low, quarter, middle, three_quarters, high = (max(q, floor) for q in row["quantiles"].values())
        colour = figure_style.component_colour(row["component"])
        axes.plot((low, high), (place, place), color=colour, linewidth=1.5)
        axes.plot((quarter, three_quarters), (place, place), color=colour, linewidth=6, solid_capstyle="butt")
        axes.plot(middle, place, "o", color="white", markeredgecolor="black", markersize=6)
        axes.plot(row["max_abs"], place, "|", color="black", markersize=8)
    axes.set_xscale("log")
    axes.set_yticks(range(len(rows)), [row["component"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("|change| of an element\nmedian (dot), middle half (bar), 5 to 95 % (line), largest (tick);\n"
                    "elements that did not move are drawn at the smallest value")
    axes.set_title("How the change is spread, " + title_of(drift))
    figure_style.draw_grid(axes, axis="x")
    figure.tight_layout()
    return figure


def draw_trajectory(drift):
    checkpoints = drift["checkpoints"]
    names = [row["component"] for row in ranked(checkpoints[-1]["components"])] if checkpoints else []
    if not names:
        return None
    figure, axes = plt.subplots(figsize=(9, 4.6))
    steps = [0, *(checkpoint["step"] for checkpoint in checkpoints)]
    for index, name in enumerate(names):
        colour, marker = figure_style.component_style(name, index)
        values = [next(row["mean_abs"] for row in checkpoint["components"] if row["component"] == name)
                  for checkpoint in checkpoints]
        axes.plot(steps, [0, *values], color=colour, marker=marker, markersize=5, linewidth=1.4, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel(D_LABEL)
    axes.set_ylim(bottom=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PLAIN_NUMBERS)
    figure_style.draw_grid(axes)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    axes.set_title("Change over the run, " + title_of(drift))
    figure.tight_layout()
    return figure


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder with the drift.json of normtune drift")
    folder = parser.parse_args().folder
    drift = read_drift(folder)
    for name, draw in (("ranking", draw_ranking), ("layers", draw_layers), ("distribution", draw_distribution),
                       ("trajectory", draw_trajectory)):
        figure = draw(drift)
        if figure is not None:
            figure_style.save(figure, os.path.join(folder, f"drift_{name}"))


if __name__ == "__main__":
    main()
