"""What detectors find in denoised crops of the test patients, and how the crops and their regions look."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from experiments import DETECTORS, GAINS, LID, PATCH, SEED, SIZES, WINDOWS, Cell
from numpy.typing import NDArray
from scans import Scans

from lowdose.lesions import Box
from lowdose.networks import NETWORKS
from lowdose.networks.lesion_detector import LesionDetector
from lowdose.provenance import write_json
from lowdose.quality.fidelity import bias, psnr, rmse, ssim
from lowdose.quality.roi_texture import pixels_of, texture_difference
from lowdose.training.detector_model import load_detector
from lowdose.training.initial_weights import start_from
from lowdose.training.lesion_detection import findings
from lowdose.training.lesion_feedback import TRAINING_DETECTOR
from lowdose.training.lesion_sampling import LesionSampler
from lowdose.training.lesion_sources import prepare_lesions
from lowdose.training.sampling import PairSampler, PatchShape
from lowdose.training.sources import Watcher

Images = NDArray[np.float32]

NORMAL, LOW = "normal dose", "low dose"
_TRIES = 40
"""Crops looked at for one without a lesion."""
_ALL = (-1024.0, 3071.0)
"""HU window of RMSE and PSNR: all that 12 bits hold."""
_REGION = 3
"""Pixels added around a box for its region: the paper's are larger than lesions, too."""


@dataclass(frozen=True)
class Crop:
    """One of the test."""

    patient: str
    noisy: Images
    """`[z, y, x]`"""
    target: Images
    """`[y, x]`"""
    lesions: Images
    """`(n, 5)`"""


def crops(scans: Scans, which: str, n_z: int) -> list[Crop]:
    """The same places for every network, with and without lesions, as many of every patient."""
    from training import noise_of

    kind = DETECTORS[which]
    data = prepare_lesions(
        scans.annotations(kind, "test"), scans.work / "cache", with_noise=True, seed=SEED, watcher=Watcher(),
        validation_patients=[],
    )  # fmt: skip
    everything = (*data.training, *data.validation)
    shape = PatchShape(PATCH[which], PATCH[which], n_z=n_z, volume=True)
    found: list[Crop] = []
    patients = sorted({scan.prepared.patient for scan in everything})
    for patient in patients:
        own = [scan for scan in everything if scan.prepared.patient == patient]
        for lesions in (True, False):
            pairs = PairSampler((), GAINS[which], shape, 1.0, 0.0, 0.0, noise_of(which))
            sampler = LesionSampler(own, pairs, 1.0 if lesions else 0.0)
            found += _drawn(sampler, scans.study.crops // len(patients), patient, lesions=lesions)
    return found


def _drawn(sampler: LesionSampler, n: int, patient: str, *, lesions: bool) -> Iterator[Crop]:
    for number in range(n):
        for attempt in range(_TRIES):
            generator = np.random.default_rng([SEED, number, attempt])
            noisy, target, known = sampler(generator)
            if bool(len(known)) == lesions:
                yield Crop(patient, noisy[0], target[0, target.shape[1] // 2], known)
                break


def measures_file(scans: Scans, name: str) -> Path:
    return scans.work / "measures" / f"{name}.json"


def measure_undenoised(scans: Scans, which: str) -> None:
    """The crops at the normal and at the low dose."""
    wanted = [arm for arm in (NORMAL, LOW) if not measures_file(scans, f"{which}-{arm}").exists()]
    if not wanted:
        return
    print(f"measuring {which} without denoising", flush=True)
    tested = crops(scans, which, 1)
    for arm in wanted:
        images = [crop.target if arm == NORMAL else crop.noisy[0] for crop in tested]
        _measure(scans, which, arm, tested, images, _detectors(scans, which, None))


def measure_cell(scans: Scans, cell: Cell, model: Path) -> None:
    """The crops as one denoiser makes them."""
    if measures_file(scans, cell.name).exists():
        return
    print(f"measuring {cell.name}", flush=True)
    tested = crops(scans, cell.set, 3 if NETWORKS[cell.network].dimensions == 3 else 1)
    images = denoised(cell, model, tested)
    own = model.parent / TRAINING_DETECTOR if cell.arm == LID else None
    _measure(scans, cell.set, cell.arm, tested, images, _detectors(scans, cell.set, own), cell)


def denoised(cell: Cell, model: Path, tested: Sequence[Crop]) -> list[Images]:
    """The crops as the model of a cell makes them, `[y, x]` in HU; of volumes the middle slice."""
    network = NETWORKS[cell.network](**SIZES[cell.network])
    start_from(network, model)
    network.eval()
    volume = network.dimensions == 3
    images = []
    for crop in tested:
        shown = torch.from_numpy(crop.noisy[None, None] if volume else crop.noisy[None]) / 500.0
        with torch.no_grad():
            made = network(shown)[:, -1] * 500.0
        images.append(made[0, len(crop.noisy) // 2].numpy() if volume else made[0].numpy())
    return images


def _detectors(scans: Scans, which: str, own: Path | None) -> dict[str, LesionDetector]:
    """`own`: the one that took part; `pretrained`: as it was before; `frozen`: the one that judges alone."""
    from training import detector_folder

    pretrained = detector_folder(scans, which, "training")
    folders = {"own": own or pretrained, "pretrained": pretrained}
    folders["frozen"] = detector_folder(scans, which, "frozen")
    loaded = {folder: load_detector(folder)[0] for folder in set(folders.values())}
    return {name: loaded[folder] for name, folder in folders.items()}


def _measure(
    scans: Scans,
    which: str,
    arm: str,
    tested: Sequence[Crop],
    images: Sequence[Images],
    detectors: dict[str, LesionDetector],
    cell: Cell | None = None,
) -> None:
    window = WINDOWS[which]
    found: dict[str, Any] = {"set": which, "arm": arm, "network": cell.network if cell else None}
    found["patients"] = [crop.patient for crop in tested]
    found["lesions"] = [crop.lesions[:, :4].round(2).tolist() for crop in tested]
    found["images"] = [
        {
            "rmse": rmse(crop.target, image, _ALL), "psnr": psnr(crop.target, image, window),
            "ssim": ssim(crop.target, image, window), "bias": bias(crop.target, image, _ALL),
        }
        for crop, image in zip(tested, images, strict=True)
    ]  # fmt: skip
    found["regions"] = [
        _regions(crop, image, window) if len(crop.lesions) else None
        for crop, image in zip(tested, images, strict=True)
    ]
    told_by: dict[int, Any] = {}
    for name, detector in detectors.items():
        if id(detector) in told_by:
            found[name] = told_by[id(detector)]
            continue
        told: list[Any] = []
        for crop, image in zip(tested, images, strict=True):
            (one,) = findings(detector, torch.from_numpy(image)[None, None], [crop.lesions], [crop.patient])
            told.append([[*box, score] for box, score in zip(
                one.found.round(2).tolist(), one.scores.round(5).tolist(), strict=True)])  # fmt: skip
        found[name] = told_by[id(detector)] = told
    measures_file(scans, "").parent.mkdir(parents=True, exist_ok=True)
    write_json(measures_file(scans, cell.name if cell else f"{which}-{arm}"), found)


def _regions(crop: Crop, image: Images, window: tuple[float, float]) -> dict[str, float]:
    side = image.shape[0]
    boxes = [
        Box(*(float(np.clip(edge + step, 0, side)) for edge, step in zip(
            lesion[:4], (-_REGION, -_REGION, _REGION, _REGION), strict=True)))
        for lesion in crop.lesions
    ]  # fmt: skip
    names = ("correlation", "homogeneity", "energy")
    told = dict(zip(names, astuple(texture_difference(crop.target, image, boxes, window)), strict=True))
    differences = [image[place] - crop.target[place] for place in map(pixels_of, boxes)]
    told["rmse"] = float(np.mean([np.sqrt(np.mean(one**2)) for one in differences]))
    told["bias"] = float(np.mean([one.mean() for one in differences]))
    return told
