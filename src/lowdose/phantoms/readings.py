"""The numbers of a measurement, one by one, each with its unit, what it should be, and how it was taken."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from lowdose.phantoms.layout import Insert
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import FAINTEST_CNR, INNER_SHARE, ModuleMeasurement
from lowdose.quality.bars import resolved
from lowdose.quality.uniformity import (
    Linearity,
    acr_uniformity,
    hu_linearity,
    integral_non_uniformity,
    noise_non_uniformity,
    uniformity_index,
)


@dataclass(frozen=True)
class Reading:
    """One number."""

    arm: str
    module: str
    measure: str
    item: str
    """Which insert, region or group; empty for the module as a whole."""
    value: float
    unit: str
    expected: float | None = None
    """Nominal value."""
    low: float | None = None
    high: float | None = None
    """From and to where it passes."""

    @property
    def passes(self) -> bool | None:
        """Whether it lies where it should; None where nobody says where."""
        if self.low is None and self.high is None:
            return None
        above = self.low is None or self.value >= self.low
        return bool(above and (self.high is None or self.value <= self.high))


PROTOCOL = (
    f"mean and noise: of {100 * INNER_SHARE:.0f} % of an insert's diameter; noise is the standard deviation "
    "within "
    "an image, or between repeats where there are some",
    "contrast: over the plane that fits the 5 mm around an insert best; contrast to noise: over the noise of "
    "the background (ACR)",
    "noise power spectrum: half-overlapping squares, quadratic trend removed (repeats: their mean); mean "
    "frequency "
    "of the radial curve (TG-233), peak of the curve smoothed over three rings",
    "task transfer: a blurred disc fitted to the average of all images, from a contrast of "
    f"{FAINTEST_CNR:g} times its noise on",
    "bars: Fourier coefficient at the line frequency over that of the nominal bars at their measured "
    "contrast",
    "uniformity: mean of the edges against the centre; up to 5 HU passes (ACR)",
)
ACR_UNIFORMITY_HU = 5.0


def readings(arm: ArmMeasurement) -> list[Reading]:
    """All numbers of an arm, module by module."""
    return [one for measured in arm.modules for one in _of_module(arm.name, measured)]


def linearity(measured: ModuleMeasurement) -> Linearity | None:
    """The line of measured on nominal HU of a sensitometry module; None with too few inserts."""
    known = [one for one in measured.module.inserts if one.name in measured.circles]
    if measured.module.role != "sensitometry" or len({one.hu for one in known}) < 3:
        return None
    return hu_linearity([one.hu for one in known], [measured.circles[one.name].mean for one in known])


def _of_module(arm: str, measured: ModuleMeasurement) -> Iterator[Reading]:
    module, background = measured.module, measured.background
    name = module.name

    def reading(measure: str, item: str, value: float, unit: str, **rest: float | None) -> Reading:
        return Reading(arm, name, measure, item, value, unit, **rest)

    for insert in module.inserts:
        circle = measured.circles.get(insert.name)
        if circle is None:
            continue
        if module.role == "sensitometry":
            low, high = insert.band or (None, None)
            yield reading("mean", insert.name, circle.mean, "HU", expected=insert.hu, low=low, high=high)
        yield reading("noise", insert.name, circle.noise, "HU")
    for insert in module.inserts:
        contrast = measured.contrasts.get(insert.name)
        if contrast is not None:
            yield reading("contrast", insert.name, contrast, "HU", expected=insert.hu - module.hu)
            if background.noise > 0:
                yield reading("contrast to noise", insert.name, abs(contrast) / background.noise, "")
    if module.backgrounds and not math.isnan(background.mean):
        yield reading("mean", "background", background.mean, "HU", expected=module.hu)
        yield reading("noise", "background", background.noise, "HU")
    yield from _linearity_readings(arm, measured)
    yield from _transfer_readings(arm, measured)
    yield from _uniformity_readings(arm, measured)
    for part, spectrum in measured.spectra.items():
        radial = spectrum.radial
        yield reading("noise power, mean frequency", part, radial.mean_frequency, "1/mm")
        yield reading("noise power, peak frequency", part, radial.peak_frequency, "1/mm")
        yield reading("noise power, square root of the integral", part, math.sqrt(radial.variance), "HU")


def _linearity_readings(arm: str, measured: ModuleMeasurement) -> Iterator[Reading]:
    line = linearity(measured)
    if line is None:
        return
    name = measured.module.name
    yield Reading(arm, name, "HU linearity, slope", "", line.slope, "", 1.0)
    yield Reading(arm, name, "HU linearity, intercept", "", line.intercept, "HU", 0.0)
    yield Reading(arm, name, "HU linearity, R squared", "", line.r_squared, "", 1.0)
    yield Reading(arm, name, "HU linearity, largest residual", "", line.largest_residual, "HU", 0.0)


def _transfer_readings(arm: str, measured: ModuleMeasurement) -> Iterator[Reading]:
    name = measured.module.name
    for item, transfer in measured.transfers.items():
        for measure, value in (("f50", transfer.f50), ("f10", transfer.f10)):
            yield Reading(arm, name, f"task transfer, {measure}", item, value, "1/mm")
        yield Reading(arm, name, "task transfer, contrast to noise", item, transfer.cnr, "")
    for item, group in measured.bars.items():
        yield Reading(arm, name, "bars, modulation transfer", item, group.transfer, "")
    if measured.bars:
        finest = resolved(list(measured.bars.values()))
        yield Reading(arm, name, "bars, finest resolved", "", 10 * finest, "lp/cm")


def _uniformity_readings(arm: str, measured: ModuleMeasurement) -> Iterator[Reading]:
    module = measured.module
    found = [(one, measured.circles[one.name]) for one in module.uniform if one.name in measured.circles]
    for region, circle in found:
        yield Reading(arm, module.name, "mean", region.name, circle.mean, "HU", module.hu)
        yield Reading(arm, module.name, "noise", region.name, circle.noise, "HU")
    if len(found) < 2 or found[0][0].distance != 0:
        return
    centre, *edges = [circle.mean for _, circle in found]
    worst = acr_uniformity(centre, edges)
    yield Reading(
        arm, module.name, "uniformity, largest difference", "", worst, "HU", 0.0, None, ACR_UNIFORMITY_HU
    )
    yield Reading(
        arm, module.name, "integral non-uniformity", "", integral_non_uniformity([centre, *edges]), "", 0.0
    )
    yield Reading(arm, module.name, "uniformity index", "", uniformity_index(centre, edges), "%", 0.0)
    noises = [circle.noise for _, circle in found]
    yield Reading(arm, module.name, "noise non-uniformity", "", noise_non_uniformity(noises), "", 0.0)


def insert_of(measured: ModuleMeasurement, name: str) -> Insert:
    """The insert of that name."""
    return next(one for one in measured.module.inserts if one.name == name)
