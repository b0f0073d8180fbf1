#!/usr/bin/env python3
"""Draws the Fisher information of a model from the fisher.json of `normtune fisher`.

    python3 tools/plot_fisher.py fisher/fisher.json [--title TEXT]

writes beside it, as SVG and PNG:
    fisher_components   mean per element of each component, and of its weights and biases apart
    fisher_layers       the same for each component of each layer, as a heat map
    fisher_layernorm    the LayerNorms of the blocks, layer by layer, gain and bias apart

Rounding noise (attention.self.key.bias, whose gradient is zero in mathematics) is not drawn by itself.
"""

import argparse
import json
import os

import figure_style as style
from figure_style import plt
from matplotlib.colors import LogNorm
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

LAYER_NORMS = ("attention.output.LayerNorm", "output.LayerNorm")
MEAN = "Fisher information, mean per element"


def describe(report):
    rows = f"{report['samples']:,} rows of {report['split']}, {report['task']}"
    kind = "Expected" if report["kind"] == "expected" else "Empirical"
    return f"{kind} Fisher information ({rows})"


def positive(rows):
    """What a logarithmic axis can show."""
    return [row for row in rows if row["mean"] > 0 and not row["rounding_noise"]]


def draw_components(report, title, stem):
    components = sorted(positive(report["components"]), key=lambda row: row["mean"])
    if not components:
        return
    place = {row["component"]: y for y, row in enumerate(components)}
    figure, axes = plt.subplots(figsize=(7.2, 0.34 * len(components) + 1.9))
    for row in positive(report["component_parts"]):
        marker = "v" if row["part"] == "bias" else "o"
        axes.plot(row["mean"], place[row["component"]], marker, color="#444444", markerfacecolor="none", markersize=7,
                  zorder=3)
    for row in components:
        axes.plot(row["mean"], place[row["component"]], "D", color=style.component_colour(row["component"]),
                  markersize=6)
    axes.set_xscale("log")
    axes.set_yticks(range(len(components)), [row["component"] for row in components])
    axes.set_xlabel(MEAN + " (log scale)")
    style.draw_grid(axes)
    axes.legend(handles=[
        Line2D([], [], linestyle="", marker="D", color=style.BLACK, label="weight and bias together"),
        Line2D([], [], linestyle="", marker="o", color="#444444", markerfacecolor="none", label="weight (gain)"),
        Line2D([], [], linestyle="", marker="v", color="#444444", markerfacecolor="none", label="bias")],
        loc="lower center", bbox_to_anchor=(0.4, 1.0), ncol=3, frameon=False)
    figure.suptitle(title)
    figure.tight_layout()
    style.save(figure, stem)


def draw_layers(report, title, stem):
    rows = [row for row in positive(report["component_layers"]) if row["layer"] is not None]
    if not rows:
        return
    components = list(dict.fromkeys(row["component"] for row in rows))
    layers = sorted({row["layer"] for row in rows})
    values = [[float("nan")] * len(layers) for _ in components]
    for row in rows:
        values[components.index(row["component"])][layers.index(row["layer"])] = row["mean"]
    figure, axes = plt.subplots(figsize=(max(5.5, 0.42 * len(layers) + 3.9), 0.36 * len(components) + 1.8))
    image = axes.imshow(values, aspect="auto", cmap=style.HEAT_MAP, norm=LogNorm())
    axes.set_yticks(range(len(components)), components)
    step = 1 + len(layers) // 25
    axes.set_xticks(range(0, len(layers), step), layers[::step])
    axes.set_xlabel("layer (0 is next to the embeddings)")
    figure.colorbar(image, ax=axes, label="mean per element (log)")
    figure.suptitle(title)
    figure.tight_layout()
    style.save(figure, stem)


def draw_layer_norms(report, title, stem):
    rows = [row for row in positive(report["tensors"]) if row["component"] in LAYER_NORMS]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(6.6, 4.0))
    for component, dash in zip(LAYER_NORMS, ("--", "-")):
        for part, marker, colour in (("weight", "o", style.BLUE), ("bias", "v", style.VERMILION)):
            line = [(row["layer"], row["mean"]) for row in rows if row["component"] == component and row["part"] == part]
            if line:
                axes.plot(*zip(*sorted(line)), dash, marker=marker, color=colour,
                          markerfacecolor=colour if dash == "-" else "white",
                          label=f"{component}, {'gain' if part == 'weight' else 'bias'}")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("layer (0 is next to the embeddings)")
    axes.set_ylabel("mean per element (log scale)")
    style.draw_grid(axes)
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncol=2, frameon=False)
    figure.suptitle(title)
    figure.tight_layout()
    style.save(figure, stem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report", help="fisher.json of normtune fisher")
    parser.add_argument("--title")
    arguments = parser.parse_args()
    with open(arguments.report, encoding="utf-8") as file:
        report = json.load(file)
    title = arguments.title or describe(report)
    folder = os.path.dirname(arguments.report)
    draw_components(report, title, os.path.join(folder, "fisher_components"))
    draw_layers(report, title, os.path.join(folder, "fisher_layers"))
    draw_layer_norms(report, title, os.path.join(folder, "fisher_layernorm"))


if __name__ == "__main__":
    main()
