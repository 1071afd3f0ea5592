from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from lowdose import __version__
from lowdose.cli.derivations import denoising_derivation, simulation_derivation
from lowdose.denoising import Identity, make_denoiser
from lowdose.filters import FILTERS
from lowdose.io import SIMULATED
from lowdose.models.card import bundled_models
from lowdose.models.denoiser import ModelDenoiser
from lowdose.provenance import Step
from lowdose.scan import Scan


@dataclass
class Named:
    """A denoiser of any name."""

    name: str
    context: int = 0

    def __call__(self, hu: np.ndarray) -> np.ndarray:
        return hu

    def describe(self) -> Step:
        return Step(self.name, {"noise_hu": 12.5})


def test_identity_says_that_nothing_was_changed():
    derivation = denoising_derivation(Identity(), 1.0)
    assert derivation.code == ("ID001", "Identity: pixel values unchanged")
    assert derivation.image_type == "IDENTITY"
    assert derivation.marker == "[lowdose identity s1]"


def test_a_filter_says_its_settings():
    derivation = denoising_derivation(Named("median"), 0.5)
    assert derivation.code[0] == "DN002"
    assert derivation.marker == "[lowdose median s0.5]"
    assert derivation.description == f"lowdose {__version__}: median (noise_hu 12.5), strength 0.5."


def test_a_model_says_version_and_digest():
    denoiser = ModelDenoiser(bundled_models()["ct-default"])
    derivation = denoising_derivation(denoiser, 1.0)
    assert derivation.code == ("DN001", "Noise reduction by neural network")
    assert derivation.image_type == "DENOISED"
    for fact in (f"version {denoiser.card.version}", denoiser.card.digest, "dose_gain 4.0"):
        assert fact in derivation.description


@pytest.mark.parametrize("strength", [0.0, 1.0, 0.25, 0.0125, 0.00125, 1e-7])
@pytest.mark.parametrize("name", ["m", "a" * 15, "a" * 20, "a-name-of-forty-one-characters-in-all-abc"])
def test_any_legal_name_and_strength_fits(name, strength):
    """`Derivation` refuses markers of more than 32 characters; the strength is never what is cut."""
    marker = denoising_derivation(Named(name), strength).marker
    assert len(marker) <= 32
    assert marker.startswith("[lowdose " + name[:10])
    assert marker.endswith(f" s{strength:.2g}]")


@pytest.mark.parametrize("method", FILTERS)
def test_every_filter_fits(method):
    scan = Scan.from_array(np.zeros((1, 32, 32)))
    assert denoising_derivation(make_denoiser(method, scan, {"noise": 12.345}), 0.00125).marker


@pytest.mark.parametrize(("fraction", "marker"), [(0.25, "0.25"), (1 / 3, "0.333"), (1.5e-7, "1.5e-07")])
def test_a_simulated_dose_says_that_it_is_simulated(fraction, marker):
    derivation = simulation_derivation(fraction, 2**31)
    assert derivation.marker == f"[lowdose dose {marker} sim]"
    assert derivation.code == ("LD001", SIMULATED)
    assert "seed 2147483648" in derivation.description
    assert derivation.description.endswith("SIMULATED.")


def test_what_was_done_decides_the_number_of_the_series():
    """Two derivations of one source are told apart in a viewer's list."""
    model = ModelDenoiser(bundled_models()["ct-default"])
    derivations = [denoising_derivation(denoiser, 1.0) for denoiser in (Identity(), Named("median"), model)]
    derivations.append(simulation_derivation(0.5, 0))
    assert len({derivation.series_offset for derivation in derivations}) == 4
    assert len({derivation.code for derivation in derivations}) == 4
