"""Plots as SVG text, ready to stand inside a page. The only package that imports matplotlib."""

from lowdose.figures.comparison import comparison_figures
from lowdose.figures.drawing import (
    INPUT_COLOUR,
    REFERENCE_COLOUR,
    RESULT_COLOURS,
    Figure,
    arm_colours,
)

__all__ = [
    "INPUT_COLOUR",
    "REFERENCE_COLOUR",
    "RESULT_COLOURS",
    "Figure",
    "arm_colours",
    "comparison_figures",
]
