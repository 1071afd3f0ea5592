"""What is explained: five denoisers, and what they learn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SEED = 1
GAIN = 4.0
"""One over the dose of the low-dose images."""

TRAINING = {
    "LIDC-IDRI-0314": Path("lidc-idri-0314"),
    "NSCLC-Radiogenomics-R01-001": Path("nsclc-radiogenomics-r01-001"),
    "4D-Lung-113": Path("4d-lung-113/dicom"),
}
"""Patients that denoisers and representations learn from."""
VALIDATION = {"COVID-19-NY-SBU-A056642": Path("covid-19-ny-sbu/axial/A056642/19010107-111.dcm")}

TEST = {
    "LIDC-IDRI-0001": Path("lidc-idri-0001"),
    "COVID-19-NY-SBU-A002304": Path("covid-19-ny-sbu/axial/A002304/19001231-076.dcm"),
    "COVID-19-NY-SBU-A048383": Path("covid-19-ny-sbu/axial/A048383/19001231-30.dcm"),
}
"""Patients that methods are explained on."""

SHIPPED = "ct-default"


@dataclass(frozen=True)
class Network:
    """A well-known denoiser: how it starts, from the absolute error, and how it goes on as published."""

    label: str
    sizes: dict[str, Any]
    start: int
    """Steps"""
    published: int
    """Steps with the published losses."""
    rate: float
    """Of learning, with the published losses."""
    critic_sizes: dict[str, Any] = field(default_factory=dict)


NETWORKS = {
    "cnn-10": Network("CNN-10", {}, 1000, 1500, 5e-4),
    "red-cnn": Network("RED-CNN", {"width": 32}, 700, 1000, 5e-4),
    "wgan-vgg": Network("WGAN-VGG", {"width": 32}, 1000, 1200, 2e-4, {"width": 16, "n_hidden": 128}),
    "du-gan": Network("DU-GAN", {"width": 32, "n_layers": 11}, 600, 150, 2e-4, {"width": 16}),
}

GENERAL: dict[str, tuple[str, dict[str, float]]] = {
    "gaussian-0.8": ("gaussian", {"sigma_px": 0.8}),
    "gaussian-1.6": ("gaussian", {"sigma_px": 1.6}),
    "median-3": ("median", {"size_px": 3}),
    "median-5": ("median", {"size_px": 5}),
    "total-variation": ("total-variation", {}),
    "non-local-means": ("non-local-means", {}),
    "ct-default": ("ct-default", {}),
}
"""Methods that the shared representation learns from, besides doing nothing."""
GENERAL_ERASERS_MM = {"eraser-3.5mm": 3.5, "eraser-9mm": 9.0}
"""Erasers among them, so that things which vanish are known; those that are convicted are others."""
PLANTED_ERASERS_MM = {"eraser-5mm": 5.0, "eraser-7mm": 7.0}
"""Methods with an invariance that was built in: `ct-default`, then lesions below this size erased."""
FAITHFUL = ("identity", "gaussian-0.8", SHIPPED)
"""Methods that a verdict must acquit."""


@dataclass(frozen=True)
class Study:
    """Everything at full size, or a trial of it."""

    shorter: int = 1
    """How many times fewer steps, slices and lesions"""
    networks: tuple[str, ...] = tuple(NETWORKS)
    test: tuple[str, ...] = tuple(TEST)
    n_slices: int = 3
    """Of each test scan"""
    n_places: int = 4
    """In each slice"""

    @property
    def explained(self) -> tuple[str, ...]:
        """All methods that have a flow and are explained: the networks, and those whose verdict is known."""
        return (*self.networks, *FAITHFUL[1:], *PLANTED_ERASERS_MM)


FULL = Study()
SMOKE = Study(shorter=100, networks=("cnn-10",), test=("LIDC-IDRI-0001",), n_slices=1, n_places=2)
N_SLICES, N_FLOW_SLICES, N_HELD_BACK, N_LESIONS = 56, 20, 12, 40
"""Slices of each scan that the representation learns from, and each flow; of those held back; lesions of each
kind in each scan."""
