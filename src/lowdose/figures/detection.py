"""Plots of how well lesions are found: precision against recall, and free-response ROC."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lowdose.figures.drawing import Figure, drawing, svg_text
from lowdose.quality.lesion_detection import Matching, froc, precision_recall

_LEAST, _MOST = 0.01, 10.0
"""False positives an image that are drawn."""
_TICKS = [0.01, 0.1, 1.0, 10.0]


def detection_figures(arms: Mapping[str, Matching], colours: Mapping[str, str]) -> tuple[Figure, Figure]:
    """Both curves of every arm."""
    legend = tuple((arm, colours[arm]) for arm in arms)
    with drawing("precision", "recall") as (page, axes):
        for arm, matching in arms.items():
            recall, precision = precision_recall(matching)
            axes.plot(recall, precision, color=colours[arm])
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(0.0, 1.02)
        first = svg_text(page)
    with drawing("sensitivity", "false positives an image") as (page, axes):
        for arm, matching in arms.items():
            rate, sensitivity = froc(matching)
            # Rates of zero stand at the left edge; after the last finding nothing changes.
            rate, sensitivity = (
                np.append(np.maximum(rate, _LEAST), _MOST),
                np.append(sensitivity, sensitivity[-1]),
            )
            axes.plot(rate, sensitivity, color=colours[arm], drawstyle="steps-post")
        axes.set_xscale("log")
        axes.set_xlim(_LEAST, _MOST)
        axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS])
        axes.minorticks_off()
        axes.set_ylim(0.0, 1.02)
        second = svg_text(page)
    return (
        Figure(
            "Precision and recall", first,
            "How many findings are lesions, against how many lesions are found, at every threshold. A "
            "finding that overlaps a lesion by at least half has found it.",
            "Line plot of precision against recall, a line for each arm.", legend,
        ),
        Figure(
            "Free-response ROC", second,
            "How many lesions are found, against how many false positives an image that costs.",
            "Line plot of sensitivity against false positives an image, a line for each arm.", legend,
        ),
    )  # fmt: skip
