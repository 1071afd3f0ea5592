"""What is compared: three sets of scans with lesions, five denoisers, and what a detector adds to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lowdose.physics.lesion_sites import RECIPES

SEED = 1
LUNG, LUNG_WHITE, SARCOMA = "lung", "lung-white", "sarcoma"
SETS = {
    LUNG: "inserted lung nodules, noise of the scanner",
    LUNG_WHITE: "inserted lung nodules, white noise in the image",
    SARCOMA: "soft-tissue sarcomas, noise of the scanner",
}
GAINS = {LUNG: 40.0, LUNG_WHITE: 40.0, SARCOMA: 10.0}
"""One over the dose of the low-dose images."""
WHITE_HU = 220.0
"""Standard deviation of the white noise, about that of the scanners at the same dose."""
WINDOWS = {LUNG: (-1000.0, 400.0), LUNG_WHITE: (-1000.0, 400.0), SARCOMA: (-160.0, 240.0)}
"""HU that detectors see, and textures and SSIM are measured in."""
PATCH = {LUNG: 96, LUNG_WHITE: 96, SARCOMA: 128}
DETECTORS = {LUNG: LUNG, LUNG_WHITE: LUNG, SARCOMA: SARCOMA}
"""Sets whose detectors a set uses: those learn from normal-dose images, which the two of the lung share."""
ANCHORS = {LUNG: ((6, 9), (13, 19), (28, 42)), SARCOMA: ((14, 22), (34, 52), (76, 110))}

NETWORKS = {
    "wgan-vgg": "WGAN-VGG",
    "cpce-2d": "CPCE",
    "map-nn": "MAP-NN",
    "ssms": "SSMS",
    "res-hlf": "Res-HLF",
}
SIZES = {
    "wgan-vgg": {"width": 16},
    "cpce-2d": {"width": 16},
    "map-nn": {"width": 12, "depth": 5},
    "ssms": {"width": 6},
    "res-hlf": {"width": 16},
}
WITHOUT_PIXELS = ("wgan-vgg", "cpce-2d")
"""Published without a loss of pixels: LIDnet adds one to them, whose part of the gain is told apart."""

ABLATED = ("wgan-vgg", "cpce-2d")
"""Also trained without collaboration; the others take too long for it."""
HALVED = (("map-nn", SARCOMA), ("ssms", SARCOMA), ("res-hlf", SARCOMA))
"""Networks that learn for half as many steps in a set, in every arm: larger patches take longer."""

BASE, PIXELS, ALONE, LID = "base", "pixels", "alone", "lid"
ARMS = {
    BASE: "as published",
    PIXELS: "with LIDnet's reconstruction loss in place of the perceptual one",
    ALONE: "LIDnet without collaboration: the detector stays as it is",
    LID: "LIDnet",
}

NODULES = replace(RECIPES["nodule"], diameter=(5.0, 13.0), contrast=(150.0, 500.0))
SARCOMAS = Path("soft-tissue-sarcoma")


@dataclass(frozen=True)
class LungScan:
    """A scan that nodules are put into, so many times with so many."""

    patient: str
    path: Path
    copies: int
    nodules: int
    searched: tuple[int, int] | None = None
    """Slices from the first to before the last whose own lesions are known: none elsewhere."""
    known: str | None = None
    """The readers' nodules of this scan, by its name in lidc_annotations.json."""


def _covid(patient: str, *files: str, copies: int) -> tuple[LungScan, ...]:
    folder = Path("covid-19-ny-sbu") / "axial" / patient
    return tuple(LungScan(patient, folder / f"{name}.dcm", copies, 2) for name in files)


TRAINING = (
    LungScan("LIDC-IDRI-0314", Path("lidc-idri-0314"), 3, 40, known="LIDC-IDRI-0314"),
    LungScan("R01-001", Path("nsclc-radiogenomics-r01-001"), 3, 30, searched=(32, 76)),
    LungScan("4D-Lung-113", Path("4d-lung-113"), 3, 20, searched=(10, 28)),
)
VALIDATION = _covid("A056642", "19010107-111", copies=12)
TEST = (
    LungScan("LIDC-IDRI-0001", Path("lidc-idri-0001"), 1, 40, known="LIDC-IDRI-0001"),
    *_covid("A002304", "19001231-076", copies=16),
    *_covid("A048383", "19001231-30", "19010410-30", copies=8),
)


@dataclass(frozen=True)
class Cell:
    """One network trained in one way for one set."""

    set: str
    network: str
    arm: str

    @property
    def name(self) -> str:
        return f"{self.set}-{self.network}-{self.arm}"


@dataclass(frozen=True)
class Steps:
    """Of batches; turns of denoiser and detector as in Algorithm 1."""

    detector: int
    frozen: int
    """Of the detector that judges alone."""
    start: int
    """Of the pixel loss that all arms of a network start from."""
    denoiser: int
    """Of every arm's denoiser."""
    turn: int
    """T2"""
    turn_of_detector: int
    """T3"""
    pretraining: int = 0
    """T1, beside each denoiser: none where the detector has learned before."""


@dataclass(frozen=True)
class Study:
    """Everything at full size, or a trial of it."""

    steps: Steps
    training: tuple[LungScan, ...] = TRAINING
    validation: tuple[LungScan, ...] = VALIDATION
    test: tuple[LungScan, ...] = TEST
    sets: tuple[str, ...] = tuple(SETS)
    networks: tuple[str, ...] = tuple(NETWORKS)
    sarcoma_test: tuple[int, ...] = (3, 5, 9, 11, 16, 18, 20, 24, 29, 31, 33, 49)
    sarcoma_validation: tuple[int, ...] = (1, 6, 13, 46)
    sarcoma_training: tuple[int, ...] | None = None
    """None for all that are left."""
    crops: int = 180
    """Of the test with a lesion, as many of every patient; and as many without."""
    batch: int = 6

    def cells(self) -> Iterator[Cell]:
        """All trainings, in the order in which they are done."""
        for network in self.networks:
            for one in self.sets:
                for arm in ARMS:
                    if (arm != PIXELS or network in WITHOUT_PIXELS) and (arm != ALONE or network in ABLATED):
                        yield Cell(one, network, arm)


FULL = Study(Steps(detector=1500, frozen=2000, start=600, denoiser=240, turn=40, turn_of_detector=10))
SMOKE = Study(
    Steps(detector=30, frozen=30, start=6, denoiser=6, turn=3, turn_of_detector=2, pretraining=1),
    training=(replace(TRAINING[2], copies=1, nodules=6),),
    validation=(replace(VALIDATION[0], copies=1),),
    test=tuple(replace(scan, copies=1) for scan in TEST[1:]),
    networks=("cpce-2d", "ssms"),
    sarcoma_test=(3, 5, 24),
    sarcoma_validation=(1,),
    sarcoma_training=(4, 8),
    crops=9,
    batch=4,
)
