"""What every model leaves of the error, on scans whose partners no training has seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from experiments import EXPERIMENTS, L143, REAL, SHIPPED, TWIN
from scans import Pair, Scans, in_memory, some_slices
from training import model_folder

from lowdose.denoising import denoise, make_denoiser
from lowdose.provenance import write_json, written_whole
from lowdose.quality.comparison import CaseResult, evaluate
from lowdose.scan import Scan

INPUT, DENOISED, FULL = "input", "denoised", "full"
NEW = "new slices"
SHOWN = {TWIN: "STS_033", REAL: L143}
"""Whose middle slice is in the figure."""


def measure(scans: Scans) -> None:
    """Every model, and the shipped one, on every pair of its experiment; what is measured already is kept."""
    for experiment in EXPERIMENTS:
        pairs = list(scans.pairs(experiment))
        shown = next((pair for pair in pairs if pair.name == SHOWN[experiment]), pairs[0])
        for name, where in ((FULL, shown.full), (INPUT, shown.low)):
            _keep(scans, experiment, name, where)
        methods = {run.name: str(model_folder(scans.work, run)) for run in scans.study.tested(experiment)}
        for name, method in {SHIPPED: SHIPPED, **methods}.items():
            path = scans.work / "measures" / experiment / f"{name}.json"
            if path.exists():
                continue
            print(f"measuring {name} on {experiment}", flush=True)
            measured: dict[str, Any] = {}
            for pair in pairs:
                denoised = in_memory(denoise(pair.low, make_denoiser(method, pair.low)))
                measured[pair.name] = _of_pair(pair, denoised)
                if pair is shown:
                    _keep(scans, experiment, name, denoised)
            write_json(path, measured)


def _of_pair(pair: Pair, denoised: Scan) -> dict[str, Any]:
    arms = {INPUT: pair.low, DENOISED: denoised}
    told = _numbers(pair.name, pair.full, arms)
    if pair.new is not None:
        few = {name: some_slices(arm, pair.new) for name, arm in arms.items()}
        told[NEW] = _numbers(pair.name, some_slices(pair.full, pair.new), few)
    return told


def _numbers(name: str, full: Scan, arms: dict[str, Scan]) -> dict[str, Any]:
    found = {result.arm: result for result in evaluate(full, arms, case=name, input_arm=INPUT)}
    mine: CaseResult = found[DENOISED]
    return {
        "error_left": mine.error_left,
        "rmse": mine.rmse,
        "input_rmse": found[INPUT].rmse,
        "ssim": mine.ssim,
        "bias": mine.soft_tissue_bias,
        "input_bias": found[INPUT].soft_tissue_bias,
        "bias_by_tissue": dict(mine.tissue_bias),
        "noise": mine.noise,
        "input_noise": found[INPUT].noise,
        "full_noise": mine.reference_noise,
    }


def _keep(scans: Scans, experiment: str, name: str, scan: Scan) -> None:
    """The slice that is shown."""
    path = image_of(scans, experiment, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.save(file, scan.read(len(scan) // 2).hu)


def image_of(scans: Scans, experiment: str, name: str) -> Path:
    return scans.work / "images" / experiment / f"{name}.npy"
