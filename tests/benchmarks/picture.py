"""README's picture: the first image of every class of a set, with its name and what its label gives that class.

python -m tests.benchmarks.picture runs/distilled/digits-convnet2w16-ipc1-… docs/images/demo-set.png
"""

import sys

from matplotlib.figure import Figure

import padray
from padray import DistilledSet

INK = "#6a737d"  # read on white and on black


def draw(made: DistilledSet) -> Figure:
    """A row of images, preprocessing undone."""
    classes, ipc = len(made.class_names), len(made) // len(made.class_names)
    figure = Figure(figsize=(classes, 1.5), dpi=100)
    figure.patch.set_alpha(0)
    pixels = made.preprocessing.invert(made.images[::ipc])
    for number, axes in enumerate(figure.subplots(1, classes, gridspec_kw={"wspace": 0.1})):
        axes.imshow(pixels[number].permute(1, 2, 0).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(made.class_names[number], color=INK, fontsize=12)
        label = made.labels[number * ipc]
        share = float(label[number]) if label.ndim else 1.0
        axes.text(0.5, -0.08, f"{100 * share:.0f} %", transform=axes.transAxes, ha="center", va="top", color=INK)
        axes.set_axis_off()
    return figure


if __name__ == "__main__":
    draw(padray.load(sys.argv[1])).savefig(sys.argv[2], bbox_inches="tight", pad_inches=0.05)
