#!/usr/bin/env python3
"""Draws what masks have in common, from the overlap.json of `normtune mask overlap`.

    python3 tools/plot_masks.py overlap/overlap.json [--title TEXT]

writes beside it, as SVG and PNG:
    mask_overlap       the Jaccard index of each pair, with what chance would give
    mask_composition   in which components and in which layers the elements of each mask lie
"""

import argparse
import json
import os

import figure_style as style
from figure_style import plt


def annotate(axes, values, text, largest):
    """Writes into each cell, dark on light and light on dark (cividis grows lighter with the value)."""
    for y, line in enumerate(values):
        for x, value in enumerate(line):
            axes.text(x, y, text(y, x, value), ha="center", va="center", fontsize=8,
                      color="black" if value > 0.55 * largest else "white")


def draw_overlap(overlap, title, stem):
    names = [mask["name"] for mask in overlap["masks"]]
    pairs = {(pair["a"], pair["b"]): pair for pair in overlap["pairs"]}
    pairs.update({(b, a): pair for (a, b), pair in pairs.items()})
    values = [[1.0 if a == b else pairs[a, b]["jaccard"] for b in names] for a in names]

    def text(y, x, value):
        if x == y:
            return "1"
        chance = pairs[names[y], names[x]]["jaccard_by_chance"]
        return f"{value:.3f}" + ("" if chance is None else f"\n({chance:.3f})")

    size = 0.72 * len(names)
    figure, axes = plt.subplots(figsize=(max(5.0, size + 3.4), max(3.6, size + 1.9)))
    image = axes.imshow(values, cmap=style.HEAT_MAP, vmin=0, vmax=1)
    annotate(axes, values, text, 1.0)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    figure.colorbar(image, ax=axes, label="Jaccard index (shared / in either)")
    chance_known = any(pair["jaccard_by_chance"] is not None for pair in overlap["pairs"])
    axes.set_title("in brackets: what chance would give" if chance_known else "", fontsize=9)
    figure.suptitle(title)
    figure.tight_layout()
    style.save(figure, stem)


def shares(overlap, list_name, key, order):
    """The rows that occur, and for each of them the share of every mask's elements in it, in per cent."""
    rows = sorted({key(row) for mask in overlap["masks"] for row in mask[list_name]}, key=order)
    table = [[0.0] * len(overlap["masks"]) for _ in rows]
    for column, mask in enumerate(overlap["masks"]):
        for row in mask[list_name]:
            table[rows.index(key(row))][column] += 100 * row["elements"] / mask["elements"]
    return rows, table


def part_key(row):
    return row["component"], row["part"]


def part_order(key):
    """As the data flows; gain before bias, what BERT does not have last."""
    components = list(style.COMPONENT_STYLES)
    known = components.index(key[0]) if key[0] in components else len(components)
    return known, key[0], key[1] == "bias"


def layer_order(layer):
    return -1 if layer is None else layer


def draw_shares(axes, names, rows, table, largest):
    image = axes.imshow(table, aspect="auto", cmap=style.HEAT_MAP, vmin=0, vmax=largest)
    annotate(axes, table, lambda y, x, value: "0" if value == 0 else f"{value:.0f}" if value >= 0.5 else "<1", largest)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    return image


def draw_composition(overlap, title, stem):
    names = [mask["name"] for mask in overlap["masks"]]
    parts, by_part = shares(overlap, "component_parts", part_key, part_order)
    layers, by_layer = shares(overlap, "component_layers", lambda row: row["layer"], layer_order)
    if not parts:
        return
    largest = max(max(line) for line in by_part + by_layer)
    figure, (left, right) = plt.subplots(
        1, 2, layout="constrained", figsize=(1.1 * len(names) + 5.0, 0.3 * max(len(parts), len(layers)) + 1.9))
    draw_shares(left, names, [".".join(part) for part in parts], by_part, largest)
    image = draw_shares(right, names, ["none" if layer is None else layer for layer in layers], by_layer, largest)
    right.set_ylabel("layer (0 is next to the embeddings)")
    figure.colorbar(image, ax=[left, right], label="elements of the mask, %")
    figure.suptitle(title)
    style.save(figure, stem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overlap", help="overlap.json of normtune mask overlap")
    parser.add_argument("--title")
    arguments = parser.parse_args()
    with open(arguments.overlap, encoding="utf-8") as file:
        overlap = json.load(file)
    folder = os.path.dirname(arguments.overlap)
    draw_overlap(overlap, arguments.title or "How much masks have in common", os.path.join(folder, "mask_overlap"))
    draw_composition(overlap, arguments.title or "Where the elements of masks lie",
                     os.path.join(folder, "mask_composition"))


if __name__ == "__main__":
    main()
