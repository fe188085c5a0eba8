"""The report's pictures: calibration, risk against coverage, confusion. SVG, so that they stay small and sharp."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from numpy.typing import NDArray

from fankui.decisions import Flags, Floats

mpl.use("svg")
_BLUE, _ORANGE, _GREY = "#2f6db3", "#d9822b", "#9aa3ad"
_BINS = 10


def _axes(width: float, height: float) -> Axes:
    # Text stays text and ids do not change from run to run, so that a picture differs only where its data do.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "fankui", "font.size": 9}
    _, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def _save(axes: Axes, path: Path) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def reliability(series: dict[str, tuple[Floats, Flags]], path: Path) -> None:
    """Share correct against stated confidence, one line per series: name → (confidence, whether correct)."""
    axes = _axes(4.2, 3.6)
    axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--", label="perfectly calibrated")
    for (name, (confidence, correct)), colour in zip(series.items(), (_BLUE, _ORANGE), strict=False):
        index = np.clip(np.ceil(confidence * _BINS).astype(int) - 1, 0, _BINS - 1)
        used = [b for b in range(_BINS) if (index == b).sum() >= 5]
        x = [float(confidence[index == b].mean()) for b in used]
        y = [float(correct[index == b].mean()) for b in used]
        axes.plot(x, y, "o-", color=colour, label=name, markersize=4)
    axes.set(xlabel="stated confidence", ylabel="share correct", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False)
    _save(axes, path)


def risk_coverage(series: dict[str, tuple[Floats, Flags]], path: Path) -> None:
    """Share wrong among the most confident answers against how many are kept (El-Yaniv and Wiener 2010)."""
    axes = _axes(4.2, 3.6)
    for (name, (confidence, correct)), colour in zip(series.items(), (_BLUE, _ORANGE), strict=False):
        order = np.argsort(-confidence, kind="stable")
        kept = np.arange(1, len(order) + 1)
        risk = np.cumsum(~correct[order]) / kept
        least = max(1, len(order) // 50)
        axes.plot(kept[least:] / len(order), risk[least:], color=colour, label=name)
    axes.set(xlabel="coverage: share of texts answered without review", ylabel="risk: share of them wrong", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    _save(axes, path)


def confusion(counts: NDArray[np.int_], rows: Sequence[str], columns: Sequence[str], path: Path) -> None:
    """A matrix of counts, gold in rows, predicted in columns; the colour is the share of the row."""
    axes = _axes(1.6 + 0.62 * len(columns), 1.2 + 0.42 * len(rows))
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(counts.shape):
        colour = "white" if share[row, column] > 0.55 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel="predicted", ylabel="annotated")
    axes.spines[:].set_visible(False)
    _save(axes, path)
