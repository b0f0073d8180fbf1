"""The look of every figure: colours, names and file formats. Imported by the plotting scripts.

Colours are those of Okabe and Ito, which colour-blind readers tell apart; where lines or points differ in kind they
also differ in marker or dash, so that a figure survives a black-and-white printer. Heat maps use cividis, whose
lightness grows with the value. Needs matplotlib (Debian: python3-matplotlib).
"""

import os
import sys

try:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
except ImportError:
    sys.exit(f"{os.path.basename(sys.argv[0])}: error: matplotlib is missing; "
             "install the Debian package python3-matplotlib")

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE, GREY = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#888888")
# For series without a colour of their own. Yellow is left out: it is too pale for lines on white paper.
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HEAT_MAP = "cividis"

# Fine-tuning methods: colour and marker.
METHOD_STYLES = {
    "full": (BLACK, "o"),
    "layernorm": (VERMILION, "s"),
    "layernorm-attention": (VERMILION, "<"),
    "layernorm-all": (VERMILION, ">"),
    "layernorm-bias": (VERMILION, "v"),
    "layernorm-gain": (VERMILION, "^"),
    "bitfit": (BLUE, "D"),
    "lora": (GREEN, "^"),
    "houlsby": (PURPLE, "P"),
    "pfeiffer": (PURPLE, "X"),
    "random": (SKY, "v"),
    "mask": (SKY, "*"),
    "head": (ORANGE, "p"),
}
# Components of BERT: colour by family, marker inside it.
COMPONENT_STYLES = {
    "embeddings.word_embeddings": (PURPLE, "o"),
    "embeddings.position_embeddings": (PURPLE, "s"),
    "embeddings.token_type_embeddings": (PURPLE, "^"),
    "embeddings.LayerNorm": (VERMILION, "^"),
    "attention.self.query": (BLUE, "o"),
    "attention.self.key": (BLUE, "s"),
    "attention.self.value": (BLUE, "^"),
    "attention.output.dense": (SKY, "D"),
    "attention.output.LayerNorm": (VERMILION, "o"),
    "intermediate.dense": (GREEN, "o"),
    "output.dense": (GREEN, "s"),
    "output.LayerNorm": (VERMILION, "s"),
    "pooler.dense": (ORANGE, "P"),
    "classifier": (BLACK, "X"),
}
METRIC_NAMES = {
    "matthews_correlation": "Matthews correlation",
    "accuracy": "accuracy",
    "f1": "F1",
    "pearson": "Pearson correlation",
    "spearmanr": "Spearman correlation",
    "mean": "mean score",
}

plt.rcParams.update({
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "legend.fontsize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.axisbelow": True,
    "svg.hashsalt": "normtune",  # the same figure gives the same file
})


def component_style(component, index=0):
    """Colour and marker of a component; one that BERT does not have takes the next of the cycle."""
    return COMPONENT_STYLES.get(component, (CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)]))


def component_colour(component):
    """The family's colour: every LayerNorm is vermilion, an adapter grey."""
    return COMPONENT_STYLES.get(component, (GREY, "h"))[0]


def draw_grid(axes, axis="both"):
    axes.grid(True, axis=axis, color="#DDDDDD", linewidth=0.6)


def save(figure, stem):
    """Writes stem.svg and stem.png, and prints their names for the program that called."""
    for extension in ("svg", "png"):
        figure.savefig(f"{stem}.{extension}", dpi=150, metadata={"Date": None} if extension == "svg" else None)
        print(f"{stem}.{extension}")
    plt.close(figure)
