"""`lowdose phantom measure`: the image quality that a scan of a phantom shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lowdose.io import Case
    from lowdose.phantoms.any_object import Truth
    from lowdose.phantoms.finding import Located
    from lowdose.phantoms.layout import Layout
    from lowdose.phantoms.measurement import ArmMeasurement
    from lowdose.provenance import CaseRecord, Run
    from lowdose.report import ReportContent
    from lowdose.scan import Scan

_NOISE_WORTH_A_CONTROL = 0.97
_SHOWN = 3
"""Slices of an object without a layout that the report shows."""
_TRUTH = "truth.json", "truth.nii.gz", "labels.nii.gz"
"""What `phantom make` leaves beside its scans."""


@dataclass(frozen=True)
class Measured:
    """What came of one group of scans."""

    name: str
    summary: dict[str, Any]
    page: ReportContent
    write_table: Callable[[Path], None]


@dataclass(frozen=True)
class ByHand:
    """What the user says about where the phantom is, where it is not to be found."""

    centre: tuple[float, float] | None
    """Column and row, in pixels."""
    angle: float | None
    slices: Mapping[str, tuple[int, int]]
    """First and last slice of modules, counted from 0."""


Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="catphan504, catphan600, acr464, mita, mita-uniform or water; any for others.",
    ),
]
Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="[ARM=]INPUT...",
        help="DICOM folder, zip or NIfTI: first the scan itself, then others of it, denoised ones say.",
    ),
]
Out = Annotated[
    Path, typer.Option(help="New folder for measures.csv, summary.json and report.html.", metavar="DIR")
]
Reference = Annotated[
    str | None, typer.Option(metavar="ARM", help="The arm at full dose, shown as the reference.")
]
Control = Annotated[
    bool,
    typer.Option(help="Beside every arm with less noise, the first one blurred until it has as little."),
]
Centre = Annotated[
    tuple[float, float] | None,
    typer.Option(metavar="COLUMN ROW", help="The phantom's axis in pixels, counted from 0."),
]
Angle = Annotated[float | None, typer.Option(metavar="DEGREES", help="By how much it is turned clockwise.")]
Slices = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[MODULE=]FIRST-LAST", help="Slices of a module, counted from 1; repeat for others."
    ),
]


def measure(
    name: Name,
    inputs: Inputs,
    out: Out,
    reference: Reference = None,
    control: Control = True,
    centre: Centre = None,
    angle: Angle = None,
    slices: Slices = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Measure noise, texture, resolution, HU and uniformity of a phantom, and write a report.

    The phantom is found by itself. Series on one grid in one input are taken for repeats of a scan.
    """
    from lowdose.cli.cases import check_places
    from lowdose.cli.terminal import SOME_FAILED, give_up, print_json, refuse
    from lowdose.io import InputError, open_input
    from lowdose.provenance import Run

    started = datetime.now(UTC)
    paths = _named_paths(inputs)
    if reference is not None and reference not in paths:
        refuse(f"--reference {reference}: is not one of the arms: {', '.join(paths)}")
    layout = _layout(name)
    if layout is None:
        _refuse_by_hand(centre, angle, slices)
    if not all(math.isfinite(value) for value in (*(centre or ()), angle or 0.0)):
        refuse("--centre and --angle are numbers: a column and a row in pixels, and degrees")
    by_hand = ByHand(centre, angle, _slices(slices or [], layout))
    check_places(out, paths.values())
    with ExitStack() as stack:
        try:
            found = {
                arm: stack.enter_context(open_input(path, own=True)).cases for arm, path in paths.items()
            }
        except InputError as error:
            give_up(str(error))
        done, records = _all(
            found, paths, lambda arms, path: _one(arms, path, layout, by_hand, reference, control)
        )
    if not done:
        give_up("nothing could be measured; nothing was written")
    options = {
        "name": name, "inputs": paths, "reference": reference, "control": control, "centre": centre,
        "angle": angle, "slices": slices, "out": out,
    }  # fmt: skip
    run = Run("phantom measure", options, records, started)
    _write(done, run, out)
    if as_json:
        print_json({"cases": [one.summary for one in done]})
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def _write(done: Sequence[Measured], run: Run, out: Path) -> None:
    """Table, summary and report of everything measured, all or nothing."""
    from lowdose.cli.terminal import give_up, say
    from lowdose.io import OutputError
    from lowdose.io.output import explained, whole_folder
    from lowdose.provenance import write_json
    from lowdose.report import write_report

    try:
        with whole_folder(out) as folder, explained(out):
            for number, one in enumerate(done, 1):
                place = folder if len(done) == 1 else folder / f"series-{number:02d}"
                place.mkdir(exist_ok=True)
                one.write_table(place / "measures.csv")
                write_json(place / "summary.json", one.summary)
                write_report(one.page, place / "report.html")
            run.write(folder / "run.json")
    except OutputError as error:
        give_up(str(error))
    for number, one in enumerate(done, 1):
        say(
            f"{one.name}: report in "
            f"{(out if len(done) == 1 else out / f'series-{number:02d}') / 'report.html'}"
        )


def _named_paths(inputs: Sequence[str]) -> dict[str, Path]:
    """The arms in order; one without a name is called `input`, or else after its folder."""
    from lowdose.cli.terminal import refuse

    paths: dict[str, Path] = {}
    for text in inputs:
        arm, separator, path = text.partition("=")
        if not separator or Path(text).exists():
            arm, path = ("input" if not paths else Path(text).name), text
        if not arm or not path:
            refuse(f"{text}: is not ARM=PATH, for instance denoised=out/")
        if arm in paths:
            refuse(
                f"{text}: the name {arm} is given twice; give each arm its own, as in low=scan/ denoised=out/"
            )
        paths[arm] = Path(path)
    return paths


def _layout(name: str) -> Layout | None:
    """The layout of a phantom by its name; None for anything."""
    from lowdose.cli.terminal import refuse
    from lowdose.phantoms.catalogue import LAYOUTS, PHANTOMS

    if name in LAYOUTS:
        return LAYOUTS[name]
    if name != "any" and name not in PHANTOMS:
        refuse(f"there is no phantom {name!r}; choose one of {', '.join(LAYOUTS)}, or any for another object")
    return None


def _refuse_by_hand(centre: object, angle: object, slices: object) -> None:
    from lowdose.cli.terminal import refuse

    for option, given in (("--centre", centre), ("--angle", angle), ("--slices", slices)):
        if given not in (None, []):
            refuse(f"{option}: places in any object are found by themselves; leave it out")


def _slices(given: Sequence[str], layout: Layout | None) -> dict[str, tuple[int, int]]:
    from lowdose.cli.terminal import refuse

    found: dict[str, tuple[int, int]] = {}
    modules = [module.name for module in layout.modules] if layout else []
    for text in given:
        module, separator, span = text.rpartition("=")
        if not separator and len(modules) == 1:
            module = modules[0]
        first, _, last = span.partition("-")
        try:
            found[module] = int(first) - 1, int(last or first) - 1
        except ValueError:
            refuse(f"--slices {text}: is not a number or two, as in 12-20")
        if module not in modules:
            refuse(f"--slices {text}: name the module, one of {', '.join(modules)}, as in {modules[0]}=12-20")
        if not 0 <= found[module][0] <= found[module][1]:
            refuse(f"--slices {text}: slices are counted from 1, the first one before the last")
    return found


def _groups(cases: Sequence[Case]) -> list[list[Scan]]:
    """The scans of an input, those on one grid together: they are repeats of each other."""
    groups: list[list[Scan]] = []
    for case in cases:
        if case.scan is None or Path(case.source).name in _TRUTH:
            continue
        group = next((one for one in groups if _on_one_grid(one[0], case.scan)), None)
        if group is None:
            groups.append([case.scan])
        else:
            group.append(case.scan)
    return groups


def _on_one_grid(one: Scan, other: Scan) -> bool:
    import numpy as np

    return one.shape == other.shape and bool(np.allclose(one.affine, other.affine, atol=0.05))


def _like(scan: Scan, cases: Sequence[Case], arm: str) -> list[Scan]:
    """The scans of an arm that lie on the grid of `scan`."""
    from lowdose.io import InputError

    found = [case.scan for case in cases if case.scan is not None and _on_one_grid(scan, case.scan)]
    if not found:
        raise InputError(
            f"{scan.name}: nothing in '{arm}' lies on its grid of {' x '.join(map(str, scan.shape))} voxels; "
            "arms are images of one scan of the phantom, or scans of it that was not moved"
        )
    return found


def _all(
    found: Mapping[str, Sequence[Case]],
    paths: Mapping[str, Path],
    measured: Callable[[Mapping[str, list[Scan]], Path], Measured],
) -> tuple[list[Measured], list[CaseRecord]]:
    """Every group of repeats in the first arm, with what the others have of it; what fails is recorded."""
    from lowdose.cli.terminal import complain
    from lowdose.io import InputError
    from lowdose.provenance import CaseRecord

    done: list[Measured] = []
    records: list[CaseRecord] = []
    first, *others = found
    for case in (one for cases in found.values() for one in cases if one.scan is None):
        complain(str(case.error))
        records.append(CaseRecord(case.name, case.source, error=str(case.error)))
    for scans in _groups(found[first]):
        name = scans[0].name
        try:
            arms = {first: scans} | {arm: _like(scans[0], found[arm], arm) for arm in others}
            done.append(measured(arms, paths[first]))
            records.append(CaseRecord(name, str(paths[first]), notes=scans[0].notes))
        except (InputError, ValueError, MemoryError) as error:
            sentence = str(error) or f"{name}: not enough memory"
            complain(sentence)
            records.append(CaseRecord(name, str(paths[first]), error=sentence))
    return done, records


def _one(
    arms: Mapping[str, list[Scan]],
    path: Path,
    layout: Layout | None,
    by_hand: ByHand,
    reference: str | None,
    control: bool,
) -> Measured:
    """Find and measure the phantom in all arms."""
    if layout is None:
        return _of_any_object(arms, path, reference, control)
    return _of_layout(arms, layout, by_hand, reference, control)


def _of_layout(
    arms: Mapping[str, list[Scan]], layout: Layout, by_hand: ByHand, reference: str | None, control: bool
) -> Measured:
    from lowdose.cli.terminal import progress, say
    from lowdose.phantoms.measurement import blurred_arm, check_repeats, measure, module_slices
    from lowdose.phantoms.readings import readings
    from lowdose.phantoms.water import water_layout
    from lowdose.report import phantom_report, phantom_summary, write_readings_csv

    scan = next(iter(arms.values()))[0]
    located = _located(scan, layout, by_hand)
    if layout.name == "water":
        layout = water_layout(2 * located.radius)
    for note in located.notes:
        say(note)
    slices = module_slices(scan, layout, located.pose, located.covered, by_hand.slices)
    n = sum(map(len, slices.values()))
    measured: list[ArmMeasurement] = []
    for arm, scans in arms.items():
        with progress(f"{arm}: measuring", n * len(scans), "image") as advance:
            measured.append(measure(arm, scans, layout, located.pose, slices, on_image=advance))
        check_repeats(scans, layout, located.pose, slices, arm)
    if control:
        first, scans = measured[0], next(iter(arms.values()))
        for one in measured[1:]:
            if one.name != reference and one.noise < _NOISE_WORTH_A_CONTROL * first.noise:
                with (
                    _or_no_control(one.name),
                    progress(f"{first.name} blurred like {one.name}", n * len(scans), "image") as advance,
                ):
                    measured.append(
                        blurred_arm(first, one, scans, layout, located.pose, slices, on_image=advance)
                    )
    return Measured(
        scan.name,
        phantom_summary(layout, located, measured),
        phantom_report(scan, layout, located, measured, reference),
        lambda path: write_readings_csv([one for arm in measured for one in readings(arm)], path),
    )


@contextmanager
def _or_no_control(arm: str) -> Iterator[None]:
    """Say that an arm has no control, and go on: one with hardly any noise cannot have one, say."""
    from lowdose.cli.terminal import warn

    try:
        yield
    except ValueError:
        warn(f"no control for {arm}: no blur of the first arm could be matched to its noise")


def _located(scan: Scan, layout: Layout, by_hand: ByHand) -> Located:
    from lowdose.cli.terminal import progress
    from lowdose.phantoms.finding import check_slices, locate, placed_by_hand

    check_slices(scan, by_hand.slices)
    centre = None
    if by_hand.centre is not None:
        centre = by_hand.centre[1] * scan.spacing[1], by_hand.centre[0] * scan.spacing[2]
        if by_hand.angle is not None and by_hand.slices:
            return placed_by_hand(scan, layout, centre, by_hand.angle, by_hand.slices)
    with progress(f"{scan.name}: finding the {layout.title}", len(scan)) as advance:
        return locate(scan, layout, advance, centre=centre, angle=by_hand.angle)


def _of_any_object(
    arms: Mapping[str, list[Scan]], path: Path, reference: str | None, control: bool
) -> Measured:
    from lowdose.cli.terminal import progress, say
    from lowdose.phantoms.any_object import (
        ObjectMeasurement,
        blurred_object,
        check_object_repeats,
        measure_object,
        object_slices,
    )
    from lowdose.phantoms.object_readings import object_readings
    from lowdose.phantoms.places import find_places, looked_at
    from lowdose.report import object_report, object_summary, write_readings_csv

    first, scans = next(iter(arms.items()))
    scan = scans[0]
    with progress(f"{scan.name}: looking for places to measure", len(looked_at(len(scan)))) as advance:
        places = find_places(scan, advance)
    ranked = sorted(
        places.slices, key=lambda z: -len(places.squares[z].corners) if z in places.squares else 0
    )
    shown = sorted({*ranked[:_SHOWN], *[rod.z for rod in places.rods][:1]})
    n = len(object_slices(places, shown))
    measured: list[ObjectMeasurement] = []
    with _truth_beside(scan, path) as truth:
        if truth is not None:
            say(f"{scan.name}: its truth is known")
        for arm, found in arms.items():
            with progress(f"{arm}: measuring", n * len(found), "image") as advance:
                measured.append(measure_object(arm, found, places, shown, truth=truth, on_image=advance))
            check_object_repeats(found, places, arm)
        for one in measured[1:] if control else []:
            if one.name != reference and one.noise < _NOISE_WORTH_A_CONTROL * measured[0].noise:
                with (
                    _or_no_control(one.name),
                    progress(f"{first} blurred like {one.name}", n * len(scans), "image") as advance,
                ):
                    measured.append(
                        blurred_object(measured[0], one, scans, places, shown, truth=truth, on_image=advance)
                    )
        return Measured(
            scan.name,
            object_summary(places, measured),
            object_report(scan, places, measured, reference),
            lambda path: write_readings_csv([one for arm in measured for one in object_readings(arm)], path),
        )


@contextmanager
def _truth_beside(scan: Scan, path: Path) -> Iterator[Truth | None]:
    """The truth that `phantom make` left in or above the folder of `path`, if it is that of `scan`."""
    import json

    from lowdose.io import InputError, open_input
    from lowdose.phantoms.any_object import Truth

    folders = [path, *path.resolve().parents[:2]] if path.is_dir() else list(path.resolve().parents[:2])
    folder = next((one for one in folders if all((one / name).is_file() for name in _TRUTH)), None)
    if folder is None:
        yield None
        return
    facts, hu, labels = (folder / name for name in _TRUTH)
    with ExitStack() as stack:
        truth = None
        # Only reading is guarded: what fails in the measurement is not for here to catch.
        try:
            told = json.loads(facts.read_text(encoding="utf-8"))["labels"]
            names = {int(number): str(name) for number, name in told.items()}
            true, numbered = (stack.enter_context(open_input(path)).cases[0].scan for path in (hu, labels))
            known = [one for one in (true, numbered) if one is not None and _on_one_grid(scan, one)]
            if len(known) == 2:
                truth = Truth(known[0], known[1], names)
        except (InputError, ValueError, KeyError, AttributeError):
            truth = None
        yield truth
