"""What a noise model learned, beside what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, Figure
from lowdose.figures.noise_model import noise_directions, noise_levels, noise_places, noise_spectra
from lowdose.physics.noise_patches import NoisePatches
from lowdose.quality.noise_likeness import NoiseLikeness
from lowdose.report.content import software_facts
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain

Floats = NDArray[np.float64]

SPECTRUM, LEVEL, MOMENT, TOLD_APART = 0.10, 0.03, 0.10, 0.60
"""Up to which differences noise is called the scans' own: of spectrum, level and moments, and how many of
two patches a classifier may tell apart."""
_ACROSS = 12
"""Patches along a side of a mosaic."""
_SPACE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, eq=False)
class NoiseEvidence:
    """Everything that a page tells of a noise model."""

    kind: str
    training: str
    found: Sequence[NoisePatches]
    made: Floats
    """Patches `[patch, y, x]` in HU, at the levels of the scans."""
    likeness: NoiseLikeness
    shown: NDArray[np.floating]
    """The richest slice `[y, x]` of the first scan, in HU."""

    @property
    def real(self) -> Floats:
        """Patches of all scans `[patch, y, x]` in HU."""
        return np.concatenate([one.noise for one in self.found]).astype(np.float64)


def noise_model_report(learned: NoiseEvidence) -> ReportContent:
    """A page about the noise that was found and the noise that was made."""
    real = mixed(learned.real)
    mosaics = [mosaic(real), mosaic(mixed(learned.made))]
    n_patches, n_scans = len(learned.real), len(learned.found)
    return ReportContent(
        title="Noise that was learned",
        subtitle=f"{n_patches} patches of {n_scans} {'scan' if n_scans == 1 else 'scans'}",
        lead=verdict(learned.likeness),
        key_figures=likeness_figures(learned),
        arms=(
            Arm("noise of the scans", "reference", stored_hu(mosaics[0])[None], REFERENCE_COLOUR),
            Arm("noise that was made", "result", stored_hu(mosaics[1])[None], INPUT_COLOUR),
        ),
        slice_labels=(f"{_ACROSS} x {_ACROSS} patches, drawn at random",),
        slices_note="Mosaics of patches in whole HU; a quadratic surface is taken off each.",
        figures=noise_figures(learned),
        figures_title="Learned beside measured",
        tables=(sources_table(learned.found),),
        facts=(
            Facts(
                "The model",
                (("Kind", learned.kind), ("Training", learned.training)),
                "Learned from these scans alone. What varies between scanners and kernels is not in it.",
            ),
            software_facts(),
        ),
        citations=(
            "Chen J, et al. Image blind denoising with generative adversarial network based noise modeling. "
            "CVPR 2018:3155 (noise from smooth patches).",
            "Whittle P. The analysis of multiple stationary time series. J R Stat Soc B 1953;15:125.",
        ),
    )


def noise_figures(learned: NoiseEvidence) -> tuple[Figure, ...]:
    """Spectra, directions, levels, and the places of one slice."""
    first = learned.found[0]
    return (
        noise_spectra(learned.real, learned.made, first.spacing),
        noise_directions(learned.real, learned.made),
        noise_levels([one.levels for one in learned.found], [one.source for one in learned.found]),
        noise_places(
            learned.shown,
            first.corners(first.richest),
            first.noise.shape[1],
            f"slice {first.richest + 1} of {first.source}",
        ),
    )


def verdict(likeness: NoiseLikeness) -> str:
    """Whether the noise is the scans' own, in one sentence."""
    off = [word for word, wrong in _doubts(likeness) if wrong]
    told = (
        f"spectrum within {100 * likeness.spectrum_mismatch:.1f}{_SPACE}% (RMS), level within "
        f"{100 * abs(likeness.level_ratio - 1):.1f}{_SPACE}%, and a classifier that sees spectra and moments "
        f"tells {100 * likeness.told_apart:.0f}{_SPACE}% of patches right, where 50{_SPACE}% is chance"
    )
    if not off:
        return f"The noise that was made is like that of the scans: {told}."
    return f"The noise that was made differs from that of the scans in {', '.join(off)}: {told}."


def _doubts(likeness: NoiseLikeness) -> tuple[tuple[str, bool], ...]:
    real, made = likeness.kurtosis
    return (
        ("level", abs(likeness.level_ratio - 1) > LEVEL),
        ("spectrum", likeness.spectrum_mismatch > SPECTRUM),
        ("moments", abs(made / real - 1) > MOMENT or abs(np.subtract(*likeness.skewness)) > MOMENT),
        ("correlation length", abs(likeness.correlation_length_ratio - 1) > MOMENT),
        ("what a classifier sees", likeness.told_apart > TOLD_APART),
    )


def likeness_figures(learned: NoiseEvidence) -> tuple[KeyFigure, ...]:
    """The numbers that are read first."""
    likeness = learned.likeness
    return (
        KeyFigure("Patches", str(len(learned.real)), "", "without anatomy"),
        KeyFigure("Level", f"{100 * likeness.level_ratio:.1f}", "%", "of the measured"),
        KeyFigure("Spectrum off by", f"{100 * likeness.spectrum_mismatch:.1f}", "%", "root mean square"),
        KeyFigure("Told apart", f"{100 * likeness.told_apart:.0f}", "%", "50 is chance"),
    )


def sources_table(found: Sequence[NoisePatches]) -> Table:
    """Where the noise is from, scan by scan."""
    rows = []
    for one in found:
        left_out = "; ".join(f"{n} {reason}" for reason, n in one.left_out.items()) or "none"
        level = plain(float(np.median(one.levels)), 1) if len(one) else "–"
        n_slices = len(np.unique(one.places[:, 0]))
        rows.append((one.source, str(len(one)), str(n_slices), level, left_out))
    return Table(
        "Where the noise is from",
        ("Scan", "Patches", "Slices", "Level (HU)", "Flat patches left out"),
        tuple(rows),
        "Patches lie where the smoothed slice is flat, in any tissue. Those that show more than noise are "
        "left out: power at low frequencies, unevenness, bright or dark pixels, skewness.",
        text_last=True,
    )


def mixed(patches: Floats) -> Floats:
    """As many patches as a mosaic takes, drawn at random, some more than once where there are few."""
    generator, n = np.random.default_rng(1), _ACROSS**2
    few = len(patches) < n
    drawn: Floats = patches[generator.choice(len(patches), n, replace=few)]
    return drawn


def mosaic(patches: Floats) -> Floats:
    """Patches `[patch, y, x]` side by side, `[y, x]`."""
    _, n_y, n_x = patches.shape
    rows = patches.reshape(_ACROSS, _ACROSS, n_y, n_x).swapaxes(1, 2)
    return rows.reshape(_ACROSS * n_y, _ACROSS * n_x)
