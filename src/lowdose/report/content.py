"""From measured results and scans to what a report says."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lowdose import __version__
from lowdose.figures import REFERENCE_COLOUR, arm_colours, comparison_figures
from lowdose.provenance import package_versions
from lowdose.quality.comparison import CaseResult, align, slice_positions
from lowdose.report.page import MOST_ARMS, Arm, Facts, KeyFigure, ReportContent, Table
from lowdose.report.pixels import stored_hu
from lowdose.report.tables import UNITS, plain, summaries_by_arm
from lowdose.scan import Scan

_READING = (
    "RMSE: typical size of the difference to the reference. PSNR: the same in decibels of the window's "
    "width. SSIM: likeness of local structure, 1 is equal. Bias: mean difference to the reference; in soft "
    "tissue it is taken over flat pixels chosen on the smoothed reference, so that the choice does not "
    "follow the noise. Noise: typical standard deviation in flat soft tissue. None of these shows that small "
    "lesions are kept."
)
_SPACE = "\N{NO-BREAK SPACE}"
_LABELS = {
    "rmse": "RMSE",
    "error_left": "Error left",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "bias": "Bias",
    "soft_tissue_bias": "Soft-tissue bias",
    "noise": "Noise",
    "reference_noise": "Reference noise",
}


def comparison_report(
    reference: Scan,
    arms: Mapping[str, Scan],
    results: Sequence[CaseResult],
    *,
    title: str,
    input_arm: str | None = None,
    reference_name: str = "reference",
    case: str | None = None,
    lead: str | None = None,
    n_shown: int = 12,
    facts: Sequence[Facts] = (),
    citations: Sequence[str] = (),
    footnotes: Sequence[str] = (),
    generator: np.random.Generator | None = None,
) -> ReportContent:
    """What there is to say and show about `results`, with the images of one case.

    `reference` and `arms` are the scans of `case` (the first of `results` if None), `results` those of every
    case. `n_shown` evenly spaced slices are shown; each takes about 0.7 MB for three arms of 512 x 512.
    `generator` draws the bootstrap over cases, a fixed one if None. Raises ValueError if `results` lacks the
    case or the input arm, or a scan is missing.
    """
    shown_case = results[0].case if case is None and results else case
    shown = [result for result in results if result.case == shown_case]
    if not shown:
        raise ValueError(f"there are no results of the case {shown_case!r} to report")
    if input_arm is not None and input_arm not in {result.arm for result in shown}:
        raise ValueError(f"there are no results of the input arm {input_arm!r}")
    unseen = {result.arm for result in shown} - set(arms)
    if unseen:
        raise ValueError(f"there is no scan of {', '.join(sorted(unseen))} to show")
    generator = np.random.default_rng(0) if generator is None else generator
    order = sorted(arms, key=lambda name: name != input_arm)
    colours = arm_colours(order, input_arm)
    shown.sort(key=lambda result: order.index(result.arm))
    in_view = order[: MOST_ARMS - 1]
    chosen = evenly_spaced(len(reference), n_shown)
    n_cases = len({result.case for result in results})
    outcome = over_cases(results, generator) if n_cases > 1 else shown
    if lead is None:
        lead = lead_sentence(outcome, input_arm, reference_name)
        lead = f"In {n_cases} cases on average: {lead[0].lower()}{lead[1:]}" if n_cases > 1 else lead
    notes = [note for scan in (reference, *arms.values()) for note in scan.notes]
    if len(in_view) < len(order):
        notes.append(f"The viewer shows the first {len(in_view)} images; the tables have all {len(order)}.")
    return ReportContent(
        title=title,
        subtitle=("Shown: " if n_cases > 1 else "")
        + f"{shown_case}, {len(reference)} slices of {reference.shape[1]} × {reference.shape[2]}",
        lead=lead,
        key_figures=key_figures(outcome, input_arm, reference_name),
        arms=(
            Arm(reference_name, "reference", _slices(reference, chosen), REFERENCE_COLOUR),
            *(
                _arm(reference, name, arms[name], chosen, name == input_arm, colours[name])
                for name in in_view
            ),
        ),
        slice_labels=_slice_labels(reference, chosen),
        figures=comparison_figures(shown, colours, reference_name),
        tables=_tables(results, generator),
        steps=tuple(
            (name, scan.history) for name, scan in {reference_name: reference, **arms}.items() if scan.history
        ),
        facts=(*facts, software_facts()),
        citations=tuple(citations),
        footnotes=(*dict.fromkeys(notes), *footnotes),
    )


def evenly_spaced(n_slices: int, n_shown: int) -> list[int]:
    """Indices of at most `n_shown` of `n_slices` slices, each in the middle of an equal share of the scan."""
    if n_shown < 1:
        raise ValueError(f"a report shows at least one slice, not {n_shown}")
    n_shown = min(n_shown, n_slices)
    return [int((k + 0.5) * n_slices / n_shown) for k in range(n_shown)]


def over_cases(results: Sequence[CaseResult], generator: np.random.Generator) -> list[CaseResult]:
    """One result per arm whose numbers are the means over its cases."""
    means = []
    for arm, summaries in summaries_by_arm(results, generator).items():
        mean = {name: summary.mean for name, summary in summaries.items()}
        first = next(result for result in results if result.arm == arm)
        means.append(
            replace(
                first,
                rmse=mean["rmse"],
                error_left=None if math.isnan(mean["error_left"]) else mean["error_left"],
                psnr=mean["psnr"],
                ssim=mean["ssim"],
                bias=mean["bias"],
                soft_tissue_bias=mean["soft_tissue_bias"],
                noise=mean["noise"],
                reference_noise=mean["reference_noise"],
            )
        )
    return means


def lead_sentence(results: Sequence[CaseResult], input_arm: str | None, reference_name: str) -> str:
    """The outcome, one result per arm, in a sentence that is also right when the outcome is bad."""
    outcomes = [result for result in results if result.arm != input_arm] or list(results)
    best = min(outcomes, key=lambda result: result.rmse)
    given = next((result for result in results if result.arm == input_arm), None)
    moved = _shift(best, given)
    shift = f"soft tissue shifts by {_signed(moved)}{_SPACE}HU"
    if math.isnan(moved):
        shift = "there is no soft tissue to check"
    elif abs(moved) < 0.05:
        shift = f"soft tissue stays within 0.1{_SPACE}HU"
    if given is None or best is given or best.error_left is None:
        return (
            f"Against {reference_name}, {best.arm} is off by {best.rmse:.1f}{_SPACE}HU (RMSE), and {shift}."
        )
    verb = "falls to" if best.error_left < 1.0 else "is" if best.error_left == 1.0 else "rises to"
    share = f"{100.0 * best.error_left:.0f}{_SPACE}%"
    return f"From {given.arm} to {best.arm}, the error {verb} {share} of what it was, and {shift}."


def _shift(outcome: CaseResult, given: CaseResult | None) -> float:
    """HU by which the method moved soft tissue: what its input had already is not its doing."""
    return outcome.soft_tissue_bias - (given.soft_tissue_bias if given is not None else 0.0)


def key_figures(
    results: Sequence[CaseResult], input_arm: str | None, reference_name: str
) -> tuple[KeyFigure, ...]:
    """The numbers at the head of the report, of the arm closest to the reference."""
    outcomes = [result for result in results if result.arm != input_arm] or list(results)
    best = min(outcomes, key=lambda result: result.rmse)
    given = next((result for result in results if result.arm == input_arm and result is not best), None)
    whose = f"{best.arm}, " if len(outcomes) > 1 else ""
    noise_note = f"{whose}{reference_name} {plain(best.reference_noise, 0)} HU"
    from_what = reference_name if given is None else given.arm
    moved = _signed(_shift(best, given))
    shift = KeyFigure("HU shift in soft tissue", moved, "HU", f"from {from_what}; 0 is faithful")
    if given is None or best.error_left is None:
        return (
            KeyFigure("Difference to the reference", plain(best.rmse), "HU", f"{whose}root mean square"),
            KeyFigure("Noise in soft tissue", plain(best.noise, 0), "HU", noise_note),
            shift,
            KeyFigure("Structural similarity", plain(best.ssim, 3), "", "1 is equal"),
        )
    change = f"{plain(given.rmse)} → {plain(best.rmse)} HU, root mean square"
    similarity = f"{plain(given.ssim, 2)} → {plain(best.ssim, 2)}"
    noise = f"{plain(given.noise, 0)} → {plain(best.noise, 0)}"
    return (
        KeyFigure("Error left", f"{100.0 * best.error_left:.0f}", "%", f"{whose}{change}"),
        KeyFigure("Noise in soft tissue", noise, "HU", noise_note),
        shift,
        KeyFigure("Structural similarity", similarity, "", "SSIM; 1 is equal"),
    )


def _tables(results: Sequence[CaseResult], generator: np.random.Generator) -> tuple[Table, ...]:
    """The numbers by case and, for several cases, over all of them."""
    header = ("Case", "Image", *(_headed(name) for name in UNITS), "Measured on")
    rows = tuple(
        (
            result.case,
            result.arm,
            plain(result.rmse, 2),
            "–" if result.error_left is None else f"{100.0 * result.error_left:.1f} %",
            plain(result.psnr, 2),
            plain(result.ssim, 4),
            _signed(result.bias, 2),
            _signed(result.soft_tissue_bias, 2),
            plain(result.noise),
            plain(result.reference_noise),
            str(result.protocol),
        )
        for result in results
    )
    by_case = Table("Measured, case by case", header, rows, _READING, n_text_columns=2, text_last=True)
    if len({result.case for result in results}) < 2:
        return (by_case,)
    protocols = "; ".join(sorted({str(result.protocol) for result in results}))
    means = tuple(
        (
            arm,
            _headed(name),
            plain(summary.mean, 3),
            "–"
            if summary.interval is None
            else f"{plain(summary.interval.low, 3)} to {plain(summary.interval.high, 3)}",
            summary.note,
        )
        for arm, summaries in summaries_by_arm(results, generator).items()
        for name, summary in summaries.items()
        if summary.n_cases
    )
    header = ("Image", "Measure", "Mean over cases", "Interval", "What it stands for")
    return (
        by_case,
        Table("Over all cases", header, means, f"Measured on: {protocols}.", 2, text_last=True),
    )


def _headed(name: str) -> str:
    unit = "" if name == "error_left" else UNITS[name]
    return f"{_LABELS[name]} ({unit})" if unit else _LABELS[name]


def _arm(reference: Scan, name: str, scan: Scan, chosen: Sequence[int], is_input: bool, colour: str) -> Arm:
    """The chosen slices of one scan, turned the way the reference lies."""
    return Arm(name, "input" if is_input else "result", _slices(align(reference, scan, name), chosen), colour)


def _slices(scan: Scan, chosen: Sequence[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.stack([stored_hu(scan.read(z).hu) for z in chosen])


def _slice_labels(scan: Scan, chosen: Sequence[int]) -> tuple[str, ...]:
    positions = slice_positions(scan)
    return tuple(f"slice {z + 1} of {len(scan)}, {plain(positions[z])} mm" for z in chosen)


def software_facts() -> Facts:
    """Versions of what made a report."""
    versions = {"lowdose": __version__, "Python": platform.python_version(), **package_versions()}
    return Facts("Software", tuple(versions.items()))


def _signed(value: float, digits: int = 1) -> str:
    """The same with a sign in front of positive numbers."""
    text = plain(value, digits)
    return f"+{text}" if value > 0 and float(f"{value:.{digits}f}") > 0 else text
