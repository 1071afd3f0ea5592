import io

import numpy as np
from PIL import Image

from lowdose.figures.findings import Shown, finding_figure, findings_sheet
from lowdose.lesions import Box


def shown(number: int = 1) -> Shown:
    hu = np.full((120, 160), -800.0)
    hu[40:52, 60:70] = 30.0
    return Shown(f"{number}  nodule, score 0.93", "slice 3 of 9", hu, Box(40, 60, 52, 70), (0.7, 0.7))


def test_a_finding_is_one_svg_that_stands_alone():
    figure = finding_figure(shown(), (-1000.0, 400.0))
    assert figure.svg.startswith("<svg")
    assert "http://" not in figure.svg.replace("http://www.w3.org", "")
    assert figure.title == "1  nodule, score 0.93"
    assert "slice 3 of 9" in figure.caption
    assert "Window −1000 to 400 HU" in figure.caption


def test_the_sheet_shows_every_finding_and_marks_without_covering_it():
    image = np.asarray(Image.open(io.BytesIO(findings_sheet([shown()] * 4, (-1000.0, 400.0)))).convert("RGB"))
    yellow = (image[..., 0] > 180) & (image[..., 1] > 140) & (image[..., 2] < 140)
    assert yellow.sum() > 200
    columns = np.flatnonzero(yellow.any(axis=0))
    assert columns.max() > 0.6 * image.shape[1]
    one = np.asarray(Image.open(io.BytesIO(findings_sheet([shown()], (-1000.0, 400.0)))).convert("L"))
    assert one.shape[0] < image.shape[0]


def test_the_lesion_itself_is_free_of_marks():
    """Twice the same sheet, of a lesion and of its absence: inside the marks only the lesion differs."""
    empty = Shown(**{**vars(shown()), "hu": np.full((120, 160), -800.0)})
    with_lesion, without = (
        np.asarray(Image.open(io.BytesIO(findings_sheet([one], (-1000.0, 400.0)))).convert("RGB")).astype(int)
        for one in (shown(), empty)
    )
    inside = np.abs(with_lesion - without).sum(axis=2) > 250
    assert inside.sum() > 500
    assert np.ptp(with_lesion[inside], axis=1).max() < 12  # grey, no yellow


def test_a_sheet_without_findings_says_so():
    image = np.asarray(Image.open(io.BytesIO(findings_sheet([], (-1000.0, 400.0)))).convert("L"))
    assert image.max() > 150
