"""What is compared: two experiments, four networks, and five ways to come by low-dose images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
GAIN = 4.0
SEED = 1

TWIN, REAL = "twin", "real"
EXPERIMENTS = (TWIN, REAL)

LEARNED, GENERATED = "learned", "generated"
IMAGE_SPACE, OWN, PAIRS = "image-space", "own", "pairs"
NOISES = {
    LEARNED: "learned, VAE",
    GENERATED: "learned, WGAN-GP",
    IMAGE_SPACE: "Poisson in the image",
    OWN: "simulated, the clean scan's own",
    PAIRS: "true pairs",
}
"""Where the noise of the low-dose images comes from, in words."""

NETWORKS = {
    "graph-convolution": "graph convolution",
    "red-cnn": "RED-CNN",
    "cpce-2d": "CPCE",
    "unet-2d": "U-Net",
}
COMPLETE = "unet-2d"
"""The network that every noise is tried with."""
SHIPPED = "ct-default"

SARCOMA = Path("soft-tissue-sarcoma")
MAYO = Path("mayo-l143") / "B30f_3mm"
L143 = "Mayo L143"
LEARNED_FROM = slice(1, -1)
"""The slices of the quarter dose that noise is learned from; the first and the last are new at the test."""


@dataclass(frozen=True)
class Patients:
    """Of the twin: who has low-dose scans at hand, and who is tested on."""

    low_dose: tuple[str, ...]
    validation: tuple[str, ...]
    """Of those with low-dose scans: the ones that the networks with true pairs are chosen by."""
    test: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One network trained on one kind of noise."""

    experiment: str
    network: str
    noise: str

    @property
    def name(self) -> str:
        return f"{self.experiment}-{self.network}-{self.noise}"


@dataclass(frozen=True)
class Study:
    """Everything at full size, or a trial of it."""

    patients: Patients
    clean_patients: tuple[str, ...] | None = None
    """Those of the folder of patients that are used; None for all."""
    networks: tuple[str, ...] = tuple(NETWORKS)
    most_steps: int | None = None
    noise_steps: int | None = None

    def runs(self) -> Iterator[Run]:
        """All trainings, in the order in which they are done."""
        for network in (COMPLETE, *(name for name in self.networks if name != COMPLETE)):
            for experiment in EXPERIMENTS:
                noises = [LEARNED, IMAGE_SPACE]
                if network == COMPLETE:
                    noises += [GENERATED, OWN]
                if experiment == TWIN:
                    noises.append(PAIRS)
                for noise in noises:
                    if noise != OWN or experiment == TWIN:  # it knows of no low-dose scans
                        yield Run(experiment, network, noise)

    def tested(self, experiment: str) -> Iterator[Run]:
        """The runs whose models an experiment tests."""
        for run in self.runs():
            if run.experiment == experiment or run.noise == OWN:
                yield run

    def clean(self, root: Path) -> list[dict[str, Any]]:
        """The sources of the clean scans, as a plan takes them."""
        told: list[dict[str, Any]] = yaml.safe_load((FOLDER / "clean.yaml").read_text(encoding="utf-8"))
        (folders,) = (source for source in told if source.get("patients") == "folders")
        there = {one.name for one in (root / folders["path"]).iterdir() if one.is_dir()}
        held_back = {*self.patients.low_dose, *self.patients.test} & there
        if self.clean_patients is not None:
            used = {*self.clean_patients, folders["validation_patients"][0]}
            told, held_back = [folders], there - used
            folders["validation_patients"] = folders["validation_patients"][:1]
        folders["test_patients"] = sorted(held_back)
        return told


def _named(*numbers: int) -> tuple[str, ...]:
    return tuple(f"STS_{number:03d}" for number in numbers)


# The low-dose scans and those of the test are of the kernel STANDARD, the clean ones of that folder of SOFT:
# as in a clinic, the clean scans have noise of another texture.
FULL = Study(
    Patients(
        low_dose=_named(10, 14, 15, 21, 23, 28, 30, 34, 35, 38, 39, 41, 50),
        validation=_named(28, 41),
        test=_named(3, 5, 9, 11, 16, 18, 20, 24, 29, 31, 33, 49),
    )
)
SMOKE = Study(
    Patients(low_dose=_named(10, 14, 21), validation=_named(21), test=_named(3, 5)),
    clean_patients=_named(1, 6),
    networks=(COMPLETE, "graph-convolution"),
    most_steps=8,
    noise_steps=20,
)
