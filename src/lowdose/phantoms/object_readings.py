"""The numbers of an object without a layout, one by one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lowdose.phantoms.any_object import ObjectMeasurement
from lowdose.phantoms.module_measurement import FAINTEST_CNR
from lowdose.phantoms.readings import Reading

OBJECT_PROTOCOL = (
    "noise: standard deviation in uniform squares after a quadratic trend (repeats: their mean) is removed",
    "noise power spectrum: the same squares; mean frequency of the radial curve (TG-233)",
    f"rods: a blurred disc fitted to one slice, from a contrast of {FAINTEST_CNR:g} times its noise on; the "
    "median "
    "of all rods of a size and contrast",
    "structures: against the truth, two pixels and more from their edges; noise is about the truth",
)


def object_readings(arm: ObjectMeasurement) -> list[Reading]:
    """All numbers of an arm."""
    return [*_of_materials(arm), *_of_rods(arm), *_of_structures(arm)]


def _of_materials(arm: ObjectMeasurement) -> Iterator[Reading]:
    for name, material in arm.materials.items():
        yield Reading(arm.name, "squares", "mean", name, material.hu, "HU")
        yield Reading(arm.name, "squares", "noise", name, material.noise, "HU")
        for part, spectrum in material.spectra.items():
            radial = spectrum.radial
            where = f"{name}, {part}"
            yield Reading(
                arm.name, "squares", "noise power, mean frequency", where, radial.mean_frequency, "1/mm"
            )
            yield Reading(
                arm.name, "squares", "noise power, peak frequency", where, radial.peak_frequency, "1/mm"
            )


def _of_rods(arm: ObjectMeasurement) -> Iterator[Reading]:
    for kind, found in arm.rods.items():
        for level in (0.5, 0.1):
            value = float(np.median([one.falls_to(level) for one in found]))
            yield Reading(arm.name, "rods", f"task transfer, f{100 * level:.0f}", kind, value, "1/mm")
        contrast = float(np.median([one.contrast for one in found]))
        yield Reading(arm.name, "rods", "contrast", kind, contrast, "HU")


def _of_structures(arm: ObjectMeasurement) -> Iterator[Reading]:
    for one in arm.structures:
        yield Reading(arm.name, "truth", "mean", one.name, one.hu, "HU", one.true_hu)
        yield Reading(arm.name, "truth", "noise", one.name, one.noise, "HU")
    if arm.transfer is not None:
        for level in (0.5, 0.1):
            value = arm.transfer.falls_to(level)
            yield Reading(arm.name, "truth", f"transfer, f{100 * level:.0f}", "", value, "1/mm")
