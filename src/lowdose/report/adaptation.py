"""What a model was adapted to, and whether that helped or hurt."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lowdose.figures import INPUT_COLOUR, RESULT_COLOURS
from lowdose.models.card import ModelCard
from lowdose.quality.statistics import summarise
from lowdose.report.content import software_facts
from lowdose.report.noise_model import NoiseEvidence, likeness_figures, noise_figures, sources_table, verdict
from lowdose.report.page import Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import plain
from lowdose.training.evidence import AFTER, BEFORE, SCAN, Evidence

MATTERS = 0.01
"""Share of the error by which an adaptation must change it to be called better or worse."""
MOST_BIAS_HU = 1.0
_SHOWN = 6
_SPACE = "\N{NO-BREAK SPACE}"
_DASH = "–"


def adaptation_report(
    noise: NoiseEvidence, evidence: Sequence[Evidence], card: ModelCard, start: str, gain: float
) -> ReportContent:
    """A page about the model of `card`, adapted from the one called `start`."""
    first = evidence[0]
    step = max(1, len(first.places) // _SHOWN)
    chosen = list(range(0, len(first.places), step))[:_SHOWN]
    shown = {name: stored_hu(images[chosen]) for name, images in first.shown.items()}
    return ReportContent(
        title="Adapted to your scans",
        subtitle=f"{card.name}, from {start}; low-dose scans: {len(evidence)}",
        lead=outcome(evidence, start, gain),
        key_figures=(*_key_figures(evidence, start), *likeness_figures(noise)[2:]),
        arms=(
            Arm("the low-dose scan", "input", shown[SCAN], INPUT_COLOUR),
            Arm(start, "result", shown[BEFORE], RESULT_COLOURS[0]),
            Arm(card.name, "result", shown[AFTER], RESULT_COLOURS[1]),
        ),
        slice_labels=tuple(f"slice {first.places[k] + 1} of {first.name}" for k in chosen),
        figures=noise_figures(noise),
        figures_title="Noise that was learned, beside noise that was measured",
        tables=(
            _at_own_dose(evidence, start, card.name),
            _at_fraction(evidence, start, card.name, gain),
            _itself(evidence, start, card.name),
            sources_table(noise.found),
        ),
        facts=(
            Facts(
                "The model",
                (
                    ("Name", card.name),
                    ("Summary", card.summary),
                    ("Training", card.training),
                    ("Clean scans", _clean(card)),
                    *(("Known limit", limit) for limit in card.known_limits),
                ),
            ),
            Facts(
                "The noise",
                (("Kind", noise.kind), ("Training", noise.training), ("Likeness", verdict(noise.likeness))),
            ),
            software_facts(),
        ),
        footnotes=(
            "Tables are over a few evenly spaced slices of every scan. Scans of one patient are no "
            "independent observations.",
        ),
    )


def judgement(evidence: Sequence[Evidence]) -> str:
    """helped, hurt, makes no difference, or unknown: by the errors at the scans' own dose."""
    changes = [one.improvement for one in evidence if math.isfinite(one.improvement)]
    if not changes:
        return "unknown"
    change = float(np.mean(changes)) - 1.0
    shifted = max(_bias(one, AFTER) - _bias(one, BEFORE) for one in evidence)
    if change > MATTERS or shifted > MOST_BIAS_HU:
        return "hurt"
    return "helped" if change < -MATTERS else "makes no difference"


def _bias(one: Evidence, arm: str) -> float:
    """How far soft tissue is shifted at a fraction of the dose, in HU; 0 where there is none."""
    if one.at_fraction is None:
        return 0.0
    return abs(float(np.nan_to_num(one.at_fraction[arm].soft_tissue_bias)))


def outcome(evidence: Sequence[Evidence], start: str, gain: float) -> str:
    """One or two sentences: what came of it, and what to do."""
    found = judgement(evidence)
    if found == "unknown":
        return (
            "Whether the adaptation helped cannot be said: the scans show too little flat soft tissue to "
            f"simulate their noise. Compare the images below before you use it in place of {start}."
        )
    error = _mean_errors(evidence)
    left = {arm: float(np.nanmean([one.error_left(arm) for one in evidence])) for arm in (BEFORE, AFTER)}
    numbers = (
        f"near the dose of these scans, with {plain(error[SCAN], 1)} HU of noise, {start} is off by "
        f"{plain(error[BEFORE], 2)} HU and the adapted model by {plain(error[AFTER], 2)} HU; at 1/{gain:g} "
        f"of it they leave {100 * left[BEFORE]:.1f}{_SPACE}% and {100 * left[AFTER]:.1f}{_SPACE}% of the "
        "error"
    )
    advice = {
        "helped": f"The adaptation helped: {numbers}.",
        "hurt": f"The adaptation hurt: {numbers}, or it shifts HU. Keep {start}.",
        "makes no difference": f"The adaptation makes no difference: {numbers}. Keep {start}.",
    }
    return advice[found]


def _mean_errors(evidence: Sequence[Evidence]) -> dict[str, float]:
    """RMSE in HU at the scans' own dose by arm, the mean over scans; empty where none is known."""
    known = [one.at_own_dose for one in evidence if one.at_own_dose is not None]
    return {arm: float(np.mean([one[arm] for one in known])) for arm in (SCAN, BEFORE, AFTER) if known}


def _key_figures(evidence: Sequence[Evidence], start: str) -> tuple[KeyFigure, ...]:
    error = _mean_errors(evidence)
    names = {BEFORE: start, AFTER: "adapted"}
    return tuple(KeyFigure("Error", plain(error[arm], 2), "HU", names[arm]) for arm in names if error)


def _at_own_dose(evidence: Sequence[Evidence], start: str, name: str) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in evidence:
        error = one.at_own_dose
        numbers = [_DASH] * 4
        if error is not None:
            numbers = [plain(error[SCAN], 1), *(plain(error[arm], 2) for arm in (BEFORE, AFTER))]
            numbers.append(plain(one.improvement, 3))
        rows.append((one.name, *numbers))
    note = (
        "Root mean square error in HU from −160 to 240 HU against what nobody knows, the scan without noise: "
        "estimated without bias from the scan and simulated noise of its own kind (recorrupted to "
        "recorrupted, Pang et al. 2021), at four fifths of its dose. The difference of the models is more "
        "certain than either number"
    )
    return Table(
        "Near the scans' own dose",
        ("Scan", "Noise (HU)", f"Error, {start} (HU)", f"Error, {name} (HU)", "After over before"),
        tuple(rows),
        _with_interval(note + ". After over before: ", [one.improvement for one in evidence]),
    )


def _with_interval(note: str, changes: Sequence[float]) -> str:
    """The note with the mean of `changes` over scans and its interval; as it is where nothing is known."""
    summary = summarise(changes, np.random.default_rng(1))
    if not summary.n_cases:
        return note + "unknown."
    told = note + plain(summary.mean, 3)
    if summary.interval is not None:
        told += f" ({plain(summary.interval.low, 3)} to {plain(summary.interval.high, 3)})"
    return f"{told}; {summary.note}."


def _at_fraction(evidence: Sequence[Evidence], start: str, name: str, gain: float) -> Table:
    rows: list[tuple[str, ...]] = []
    for one in evidence:
        if one.at_fraction is None:
            rows.append((one.name, _DASH, _DASH, _DASH, _DASH))
            continue
        rows.append(
            (
                one.name,
                *(f"{100 * one.error_left(arm):.1f}" for arm in (BEFORE, AFTER)),
                *(plain(one.at_fraction[arm].soft_tissue_bias, 2) for arm in (BEFORE, AFTER)),
            )
        )
    note = (
        f"Every scan at 1/{gain:g} of its own dose, simulated through projections and not with the noise "
        "that was learned, against the scan itself; RMSE from −160 to 240 HU as a share of the input's. It "
        f"is noisy too: the best there can be leaves about {100 / gain**0.5:.0f}{_SPACE}%. These "
        f"inputs have {gain**0.5:g} times the noise of the scans that the model is meant for. Error after "
        "over error before: "
    )
    return Table(
        "At a fraction of the dose, where the scans are the truth",
        (
            "Scan",
            f"Error left, {start} (%)",
            f"Error left, {name} (%)",
            f"Soft-tissue bias, {start} (HU)",
            f"Soft-tissue bias, {name} (HU)",
        ),
        tuple(rows),
        _with_interval(note, [one.error_left(AFTER) / one.error_left(BEFORE) for one in evidence]),
    )


def _itself(evidence: Sequence[Evidence], start: str, name: str) -> Table:
    rows = [
        (
            one.name,
            plain(one.itself[BEFORE].reference_noise, 1),
            *(plain(one.itself[arm].noise, 1) for arm in (BEFORE, AFTER)),
            *(plain(one.mean_frequency[arm], 2) for arm in (BEFORE, AFTER)),
            *(plain(one.itself[arm].soft_tissue_bias, 2) for arm in (BEFORE, AFTER)),
        )
        for one in evidence
    ]
    return Table(
        "The scans as they are",
        (
            "Scan",
            "Noise (HU)",
            f"{start} (HU)",
            f"{name} (HU)",
            f"Mean frequency, {start}",
            f"Mean frequency, {name}",
            f"Shift, {start} (HU)",
            f"Shift, {name} (HU)",
        ),
        tuple(rows),
        "Noise in soft tissue, and the mean frequency of its power spectrum over that of the scan: below 1 "
        "it is blotchier. The shift is the mean of what was taken off in flat soft tissue. Nothing here says "
        "what is right: less noise is not a better image.",
    )


def _clean(card: ModelCard) -> str:
    return "; ".join(f"{one.use}: patients {one.patients}, slices {one.slices}" for one in card.data)
