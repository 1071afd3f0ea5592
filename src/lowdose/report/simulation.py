"""What a simulation of lower doses found in the scan, and how well its noise matches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS, Figure
from lowdose.figures.simulation import direction_match, kernel_gain, slice_levels, spectrum_match
from lowdose.physics.dose import DoseSimulator
from lowdose.physics.geometry import ConeBeam, FanBeam
from lowdose.quality.comparison import slice_positions
from lowdose.quality.noise_level import flat_soft_tissue
from lowdose.report.content import evenly_spaced, software_facts
from lowdose.report.page import MOST_ARMS, Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain
from lowdose.scan import Slice

_SHOWN = 6
_SPACE = "\N{NO-BREAK SPACE}"
_GOOD = 0.1
"""Mismatch of level or spectrum up to which the noise is called the scan's own."""
_GOOD_DIRECTIONS = 0.3
"""The same for the curves by direction, which are noisier, and the more so in few regions."""
_MANY_REGIONS = 48


def simulation_report(simulator: DoseSimulator, doses: Sequence[float]) -> ReportContent:
    """A page about `simulator` and the scan at `doses`, of which the first three are shown."""
    scan = simulator.scan
    chosen = evenly_spaced(len(scan), _SHOWN)
    in_view = list(doses)[: MOST_ARMS - 1]
    lower = [simulator.at(dose) for dose in in_view]
    shown = [[one.read(z) for one in (scan, *lower)] for z in chosen]
    colours = (INPUT_COLOUR, *RESULT_COLOURS)
    arms = [
        Arm(name, "reference" if k == 0 else "result", _stacked(shown, k), colour)
        for k, (name, colour) in enumerate(
            zip(
                ("as scanned", *(_percent(dose) for dose in in_view)),
                (REFERENCE_COLOUR, *colours[: len(in_view)]),
                strict=True,
            )
        )
    ]
    positions = slice_positions(scan)
    notes = (*scan.notes, *simulator.notes)
    if len(in_view) < len(doses):
        notes = (*notes, f"The viewer shows the first {len(in_view)} doses; all {len(doses)} were written.")
    size = " × ".join(str(n) for n in scan.shape[1:])
    return ReportContent(
        title="Simulated lower dose",
        subtitle=f"{scan.name}, {len(scan)} {'slice' if len(scan) == 1 else 'slices'} of {size}",
        lead=_lead(simulator),
        key_figures=_key_figures(simulator),
        arms=tuple(arms),
        slice_labels=tuple(f"slice {z + 1} of {len(scan)}, {plain(positions[z])} mm" for z in chosen),
        figures=_figures(simulator),
        tables=(_noise_table(shown, in_view, simulator.calibration.noise),),
        steps=tuple((_percent(dose), one.history) for dose, one in zip(in_view, lower, strict=True)),
        facts=(_scanner_facts(simulator), _noise_facts(simulator), software_facts()),
        citations=(
            "Yu L, et al. Development and validation of a practical lower-dose-simulation tool for "
            "optimizing computed tomography scan protocols. J Comput Assist Tomogr 2012;36:477.",
            "Zabic S, et al. A low dose simulation tool for CT systems with energy integrating detectors. "
            "Med Phys 2013;40:031102.",
        ),
        footnotes=tuple(dict.fromkeys(notes)),
    )


def _stacked(shown: Sequence[Sequence[Slice]], arm: int) -> NDArray[np.int16]:
    return np.stack([stored_hu(slices[arm].hu) for slices in shown])


def _percent(dose: float) -> str:
    return f"{100 * dose:.3g}{_SPACE}% dose"


def _lead(simulator: DoseSimulator) -> str:
    evidence = simulator.calibration.evidence
    if evidence is None:
        return (
            "There was too little flat soft tissue with noise to calibrate to: photons and kernel are "
            "assumed, so read the level of this noise as an example, not as this scanner's."
        )
    level, shape = abs(evidence.level_ratio - 1), evidence.spectrum_mismatch
    measured = (
        f"level within {100 * level:.1f}{_SPACE}%, spectrum within {100 * shape:.1f}{_SPACE}% (RMS), in "
        f"{evidence.n_regions} flat regions"
    )
    doubts = []
    if evidence.direction_mismatch > _GOOD_DIRECTIONS * max(1.0, _MANY_REGIONS / evidence.n_regions) ** 0.5:
        doubts.append("not in its directions")
    if evidence.coarse_excess > 1 + _GOOD:
        doubts.append(f"coarse noise is {evidence.coarse_excess:.1f} times all that the scan has")
    if max(level, shape) <= _GOOD and not doubts:
        return f"Noise simulated at the scan's own dose matches its own noise: {measured}."
    but = f", but {' and '.join(doubts)}" if doubts else ""
    how = "in level and spectrum" if max(level, shape) <= _GOOD else "only roughly"
    return f"Noise simulated at the scan's own dose matches its own {how}: {measured}{but}."


def _key_figures(simulator: DoseSimulator) -> tuple[KeyFigure, ...]:
    calibration = simulator.calibration
    evidence = calibration.evidence
    photons = KeyFigure("Photons a ray", _power_of_ten(calibration.photons), "", "before the body, effective")
    if evidence is None or calibration.noise is None:
        return (photons,)
    return (
        KeyFigure("Noise of the scan", f"{calibration.noise:.1f}", "HU", "in flat soft tissue"),
        photons,
        KeyFigure(
            "Simulated level", f"{100 * evidence.level_ratio:.1f}", "%", "of the scan's own, at its own dose"
        ),
        KeyFigure("Spectrum off by", f"{100 * evidence.spectrum_mismatch:.1f}", "%", "root mean square"),
    )


def _figures(simulator: DoseSimulator) -> tuple[Figure, ...]:
    calibration = simulator.calibration
    evidence = calibration.evidence
    if evidence is None:
        return ()
    positions = slice_positions(simulator.scan)
    return (
        spectrum_match(
            evidence.frequencies, evidence.own_power, evidence.simulated_power, evidence.anatomy_below
        ),
        direction_match(evidence.own_directions, evidence.simulated_directions),
        kernel_gain(calibration.kernel.frequencies, calibration.kernel.gain, float(evidence.frequencies[-1])),
        slice_levels(
            [float(positions[level.z]) for level in calibration.levels],
            [level.measured for level in calibration.levels],
            [level.used for level in calibration.levels],
            "position along the scan (mm)",
        ),
    )


def _noise_table(shown: Sequence[Sequence[Slice]], doses: Sequence[float], own: float | None) -> Table:
    """Noise added in the shown slices, and what the scan's `own` noise in HU makes expect."""
    variances: list[list[float]] = [[] for _ in range(len(doses))]
    shifts: list[list[float]] = [[] for _ in range(len(doses))]
    for slices in shown:
        original = slices[0]
        flat = flat_soft_tissue(original.hu, original.padding)
        if flat.any():
            for found, moved, lower in zip(variances, shifts, slices[1:], strict=True):
                added = (lower.hu - original.hu)[flat]
                found.append(float(added.var()))
                moved.append(float(added.mean()))
    rows = tuple(
        (
            _percent(dose),
            "–" if not found else f"{np.sqrt(np.mean(found)):.1f}",
            "–" if own is None else f"{own * (1 / dose - 1) ** 0.5:.1f}",
            "–" if not moved else plain(float(np.mean(moved)), 2),
        )
        for dose, found, moved in zip(doses, variances, shifts, strict=True)
    )
    return Table(
        "Noise added",
        (
            "Dose",
            "Added in flat soft tissue (HU)",
            "Expected of the scan's own noise (HU)",
            "Mean moved by (HU)",
        ),
        rows,
        "Added noise is the difference to the scan itself: its standard deviation in flat soft tissue of the "
        "slices shown, which may be more or less noisy than the scan as a whole, whose noise gives the "
        "expected. It "
        "adds to the scan's own as squares do. The mean moves where rays are starved: the logarithm of few "
        "photons "
        "is biased.",
    )


def _scanner_facts(simulator: DoseSimulator) -> Facts:
    scanner, choice = simulator.scanner, simulator.choice
    rows = [("Scanner", f"{scanner.name}: {scanner.title}"), ("Geometry", _described(scanner.geometry))]
    rows += [("Read", sentence) for sentence in choice.read]
    rows += [("Assumed", sentence) for sentence in choice.assumed]
    rows += [("Source", sentence) for sentence in scanner.sources]
    return Facts("The scanner", tuple(rows))


def _noise_facts(simulator: DoseSimulator) -> Facts:
    calibration = simulator.calibration
    beam = calibration.beam
    currents = simulator.scan.acquisition.tube_current
    told = "not in the header" if not currents or None in currents else _span(currents)
    return Facts(
        "The noise",
        (
            ("Photons a central ray", _power_of_ten(beam.photons)),
            ("Electronic noise", f"{beam.electronic:.1f} photons"),
            ("Bow-tie", f"makes up for {100 * beam.bowtie.compensation:.0f} % of a water cylinder"),
            ("Current follows the body", f"by {beam.modulation:g} of its attenuation (0 none, 1 fully)"),
            ("Attenuation felt less", f"by {100 * beam.hardening:g} % (hardening, scatter, smoothing)"),
            ("Tube current along the scan", told),
        ),
        "Photons, current and attenuation are effective: what the noise of this scan looks like. They trade "
        "against each other, so a single one of them may be off by a third while the noise is right.",
    )


def _span(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    return f"{low:g} mA throughout" if low == high else f"{low:g} to {high:g} mA"


def _described(geometry: object) -> str:
    if isinstance(geometry, FanBeam):
        kind = "fan beam, curved detector" if geometry.detector == "arc" else "fan beam, flat detector"
    elif isinstance(geometry, ConeBeam):
        kind = "cone beam, mid-plane"
    else:
        return f"parallel beam, {getattr(geometry, 'n_views', '?')} views"
    return (
        f"{kind}, {geometry.n_channels} channels, {geometry.n_views} views, "
        f"{geometry.source_to_axis:g} mm to the axis, {geometry.source_to_detector:g} mm to the detector"
    )


def _power_of_ten(value: float) -> str:
    exponent = int(np.floor(np.log10(value)))
    superscript = str(exponent).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{value / 10**exponent:.1f} × 10{superscript}"
