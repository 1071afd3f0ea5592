"""The scans of the study: examples to learn from, and low doses of the test scans with lesions planted."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from experiments import (
    GENERAL,
    GENERAL_ERASERS_MM,
    N_HELD_BACK,
    N_LESIONS,
    PLANTED_ERASERS_MM,
    SEED,
    SHIPPED,
    TRAINING,
    VALIDATION,
    Study,
)
from networks import model_folder
from planted import eraser

from lowdose.denoising import make_denoiser
from lowdose.invariances.examples import Examples, MakeMethod, make_examples
from lowdose.io import only_scan


def methods_of(work: Path, study: Study) -> dict[str, MakeMethod]:
    """All methods of the study, made ready for a scan: general ones, networks, and planted erasers."""
    made = general_methods()
    for name in study.networks:
        made[name] = partial(make_denoiser, str(model_folder(work, name)))
    for name, size in PLANTED_ERASERS_MM.items():
        made[name] = partial(eraser, diameter_mm=size, base=SHIPPED)
    made["identity"] = partial(make_denoiser, "identity")
    return made


def general_methods() -> dict[str, MakeMethod]:
    """Those that the shared representation learns from."""
    made: dict[str, MakeMethod] = {
        name: partial(make_denoiser, method, settings=settings)
        for name, (method, settings) in GENERAL.items()
    }
    for name, size in GENERAL_ERASERS_MM.items():
        made[name] = partial(eraser, diameter_mm=size, base="gaussian")
    return made


def examples(
    data: Path, folder: Path, methods: dict[str, MakeMethod], n_slices: int, shorter: int = 1
) -> tuple[list[Examples], list[Examples]]:
    """Of the patients to learn from and of those held back, with what `methods` make of them, in `folder`."""
    found: tuple[list[Examples], list[Examples]] = ([], [])
    for kept, (patients, n) in zip(found, ((TRAINING, n_slices), (VALIDATION, N_HELD_BACK)), strict=True):
        for patient, path in patients.items():
            print(f"examples of {patient}: {', '.join(methods)}", flush=True)
            with only_scan(data / path) as scan:
                kept.append(
                    make_examples(
                        replace(scan, name=patient), methods, folder / patient, n_slices=max(4, n // shorter),
                        n_lesions=max(4, N_LESIONS // shorter), seed=SEED,
                    )
                )  # fmt: skip
    return found
