import re

import numpy as np
import pytest

from lowdose.figures.any_object import (
    object_spectra,
    places_figure,
    rod_transfers,
    structures_figure,
    truth_transfer_figure,
)
from lowdose.phantoms.any_object import Material, ObjectMeasurement, Structure
from lowdose.phantoms.module_measurement import Spectrum
from lowdose.phantoms.places import Places, Rod, Squares
from lowdose.quality.resolution import TaskTransfer
from lowdose.quality.spectra import RadialSpectrum
from lowdose.quality.truth_transfer import TruthTransfer
from tests.figures.test_phantom import points

FREQUENCIES = np.linspace(0.0, 1.0, 21)
COLOURS = {"the <scan>": "#111111", "quiet & sharp": "#222222"}
PLACES = Places(
    8,
    (50.0, 900.0),
    {3: Squares(np.array([[4, 4], [20, 30], [40, 10]]), np.array([0, 0, 1]), np.array([False, True, True]))},
    (Rod(3, (30.0, 30.0), 6.0, 10.0, 100.0, -1000.0), Rod(5, (20.0, 20.0), 6.0, 10.0, 100.0, -1000.0)),
)


def arm(name, scale):
    radial = RadialSpectrum(FREQUENCIES[1:], scale * np.linspace(1, 2, 20))
    spectra = {part: Spectrum(np.ones((8, 8)), radial, 8, 5) for part in ("centre", "edge")}
    curve = np.exp(-scale * FREQUENCIES**2)
    rod = TaskTransfer(FREQUENCIES, curve, (0.0, 0.0), 6.0, 1100.0, 5.0)
    truth = TruthTransfer((64, 64), (0.5, 0.5))
    image = np.random.default_rng(0).standard_normal((64, 64))
    truth.add(image, image)
    return ObjectMeasurement(
        name,
        {"50 HU": Material(50.0, 10.0, 10, spectra)},
        {"12 mm, +1100 HU": (rod, rod)},
        (Structure("liver", 60.0, 60.0 + scale, 5.0, 900), Structure("bone", 900.0, 900.0 - scale, 5.0, 400)),
        truth,
        {3: np.zeros((64, 64), np.float32)},
        1,
    )


ARMS = [arm(name, scale) for name, scale in zip(COLOURS, (1.0, 2.0), strict=True)]
FIGURES = {
    "places": places_figure(ARMS[0], 3, PLACES, (1.0, 1.0)),
    "spectra": object_spectra(ARMS, "50 HU", COLOURS),
    "rods": rod_transfers(ARMS, "12 mm, +1100 HU", COLOURS),
    "truth": truth_transfer_figure(ARMS, COLOURS),
    "structures": structures_figure(ARMS, COLOURS),
}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_a_drawing_is_one_element_without_the_names_of_arms(figure):
    assert figure.svg.count("<svg") == figure.svg.count("</svg>") == 1
    assert not any(word in figure.svg for word in ("scan&gt;", "<scan>", "quiet"))
    assert figure.caption
    assert figure.alt


def test_only_what_is_measured_in_a_slice_is_drawn_on_it():
    figure = FIGURES["places"]
    assert dict(figure.legend).keys() == {"50 HU", "900 HU", "rods"}
    outlines = re.findall(r'<path d="M [^"]*"[^>]*style="[^"]*fill: none; stroke: (#\w+)', figure.svg)
    assert len(outlines) == 3 + 1
    assert len(set(outlines)) == 3  # two materials and the rod


def test_twice_the_power_is_drawn_twice_as_high():
    first, second = (points(FIGURES["spectra"], f"object-spectrum-centre-{k}")[:, 1] for k in (0, 1))
    # The second runs from 2 to 4, the first from 1 to 2: equal where the one ends and the other begins.
    assert second[0] == pytest.approx(first[-1], abs=0.01)
    assert (second[0] - second[-1]) == pytest.approx(2 * (first[0] - first[-1]), rel=1e-3)


def test_structures_stand_above_and_below_the_truth_by_their_error():
    first, second = (points(FIGURES["structures"], f"structures-{k}")[:, 1] for k in (0, 1))
    assert (second[1] - second[0]) == pytest.approx(2 * (first[1] - first[0]), rel=1e-3)
    assert FIGURES["structures"].legend == tuple(COLOURS.items())
