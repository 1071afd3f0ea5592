import re
import subprocess
import sys

import numpy as np

from lowdose.figures import INPUT_COLOUR, RESULT_COLOURS, arm_colours
from lowdose.figures.drawing import curve, drawing, svg_text


def test_colours_tell_the_input_from_results():
    colours = arm_colours(["one", "low", "two"], "low")
    assert colours == {"one": RESULT_COLOURS[0], "low": INPUT_COLOUR, "two": RESULT_COLOURS[1]}
    many = arm_colours([str(k) for k in range(7)])
    assert set(many.values()) == set(RESULT_COLOURS)


def test_pyplot_is_never_loaded():
    script = "import lowdose.figures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_drawing_has_neither_date_nor_fixed_size_and_gaps_where_there_are_no_numbers():
    with drawing("HU", "mm") as (page, axes):
        curve(axes, "line", np.arange(4.0), np.array([1.0, np.nan, 2.0, 3.0]), INPUT_COLOUR)
        svg = svg_text(page)
    assert svg.startswith("<svg")
    assert "<metadata" not in svg
    assert re.search(r'^<svg[^>]* width="', svg) is None
    path = re.search(r'id="line".*? d="([^"]*)"', svg, re.DOTALL).group(1)
    assert len(re.findall("[ML] ", path)) == 3
