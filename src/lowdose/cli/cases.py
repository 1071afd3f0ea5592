"""The frame of every command that turns scans into scans: each case by itself, one sentence for each that
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from lowdose.cli.terminal import SOME_FAILED, complain, give_up, print_json, refuse, say, warn
from lowdose.cli.together import written_together
from lowdose.denoising import MethodError
from lowdose.io import Case, Derivation, InputError, OutputError, open_input, write_derived
from lowdose.io.output import check_output, explained, whole_folder
from lowdose.models.denoiser import DenoisingError
from lowdose.physics.scanner import ScannerError
from lowdose.provenance import CaseRecord, Run
from lowdose.scan import Scan, read_ahead


@dataclass(frozen=True)
class Product:
    """A derived scan, how its header says so, and its folder among several products of one scan."""

    scan: Scan
    derivation: Derivation
    folder: str = ""


Process = Callable[[Scan], Product | Sequence[Product]]
"""What a command does to one scan. Several products are written slice by slice together."""

Report = Callable[[Scan, Path], None]
"""Writes a page about what was done to one scan, in or beside its output."""

_FAILURES = (InputError, OutputError, DenoisingError, ScannerError, MemoryError)
_FILE_ENDINGS = (".nii", ".nii.gz", ".dcm", ".tif", ".tiff")


@dataclass(frozen=True)
class Job:
    """One run of a command from an input to an output."""

    command: str
    source: Path
    output: Path
    options: Mapping[str, Any]
    json: bool = False


def run_cases(job: Job, process: Process, report: Report | None = None) -> Run:
    """Process every CT series of the input; `run.json` beside the output; exit status 1 if a case failed."""
    started = datetime.now(UTC)
    check_places(job.output, [job.source])
    try:
        with open_input(job.source) as found, _no_empty_folder(job.output):
            for item in found.left_aside:
                say(f"left aside: {item.source}: {item.reason}")
            destinations = _destinations(found.cases, job.output)
            records = [
                record
                for case, destination in zip(found.cases, destinations, strict=True)
                for record in _one_case(case, destination, process, report)
            ]
            left_aside = [{"source": item.source, "reason": item.reason} for item in found.left_aside]
    except InputError as error:
        give_up(str(error))
    run = Run(job.command, job.options, records, started, left_aside)
    if any(record.error is None for record in records):
        try:
            with explained(_run_file(job.output)):
                run.write(_run_file(job.output))
        except OutputError as error:
            if job.json:
                print_json(run.as_json())
            give_up(f"the series are kept, but their record is not: {error}")
    if job.json:
        print_json(run.as_json())
    return run


def tell_cases(job: Job, tell: Callable[[Case, Path], CaseRecord]) -> Run:
    """Have `tell` write about every CT series of the input, into the output or numbered folders in it.

    All of it is there at once, with `run.json`, or nothing if every case failed: exit status 1.
    """
    started = datetime.now(UTC)
    check_places(job.output, [job.source])
    try:
        with (
            open_input(job.source, own=True) as found,
            explained(job.output),
            whole_folder(job.output) as folder,
        ):
            places = _destinations(found.cases, folder)
            records = [tell(case, place) for case, place in zip(found.cases, places, strict=True)]
            if all(record.error for record in records):
                raise typer.Exit(SOME_FAILED)  # and leave nothing
            left_aside = [{"source": item.source, "reason": item.reason} for item in found.left_aside]
            run = Run(job.command, job.options, records, started, left_aside)
            run.write(folder / "run.json")
    except (InputError, OutputError) as error:
        give_up(str(error))
    if job.json:
        print_json(run.as_json())
    return run


def check_places(output: Path, sources: Iterable[Path]) -> None:
    """End with the status of wrong use if a source is missing or `output` would mix with one."""
    for source in sources:
        if not source.exists():
            refuse(
                f"{source}: not found; give a DICOM folder, a DICOM file, a zip, a NIfTI file or a TIFF stack"
            )
        if source.is_dir() and source.resolve() in output.resolve().parents:
            refuse(f"{output}: lies inside the input folder; name a place outside of it")
        try:
            check_output(output, [source])
        except OutputError as error:
            refuse(str(error))


def finish(run: Run) -> None:
    """End with status 1 if a case of `run` failed."""
    if run.failed:
        raise typer.Exit(SOME_FAILED)


def _one_case(case: Case, output: Path, process: Process, report: Report | None) -> list[CaseRecord]:
    """A record of every product of one case, or of what kept it from having any."""
    record = CaseRecord(case.name, case.source)
    if case.scan is None:
        complain(str(case.error))
        return [replace(record, error=str(case.error))]
    for note in case.scan.notes:
        warn(f"{case.name}: {note}")
    try:
        made = process(read_ahead(case.scan))
    except MethodError as error:
        refuse(str(error))
    except _FAILURES as error:
        return [_failed(record, case.scan, error)]
    products = [made] if isinstance(made, Product) else list(made)
    for note in dict.fromkeys(n for one in products for n in one.scan.notes[len(case.scan.notes) :]):
        warn(f"{case.name}: {note}")
    records = _written(record, case.scan, products, output)
    if report is not None and all(one.error is None for one in records):
        try:
            report(case.scan, output)
        except _FAILURES as error:
            complain(f"{case.name}: the series are kept, but there is no report: {error}")
    return records


def _written(record: CaseRecord, scan: Scan, products: list[Product], output: Path) -> list[CaseRecord]:
    """Write all products slice by slice together, with a thread for each where there are several."""

    def write(number: int, taken: Scan, on_slice: Callable[[int], None]) -> CaseRecord:
        product = products[number]
        place = output / product.folder if product.folder else output
        try:
            written = write_derived(taken, place, product.derivation, on_slice=on_slice)
        except _FAILURES as error:
            return _failed(record, scan, error)
        facts = {
            "slices": written.n_slices,
            "clipped_pixels": written.n_clipped,
            "series_uid": written.series_uid,
        }
        notes = (*product.scan.notes, *written.notes)
        return replace(
            record, output=str(written.path), notes=notes, history=product.scan.history, facts=facts
        )

    records = written_together([product.scan for product in products], write, record.case)
    for product, done in zip(products, records, strict=True):
        if done.error is None:
            for note in done.notes[len(product.scan.notes) :]:
                warn(f"{record.case}: {note}")
            say(f"{record.case}: written to {done.output}")
    return records


def _failed(record: CaseRecord, scan: Scan, error: BaseException) -> CaseRecord:
    sentence = str(error) or f"{record.case}: not enough memory"
    complain(sentence)
    return replace(record, error=sentence, notes=scan.notes)


def _destinations(cases: tuple[Case, ...], output: Path) -> list[Path]:
    """The output itself for one case; numbered folders or files in it for several. Never a name from the
    input.
    """
    if len(cases) == 1:
        return [output]
    if output.name.lower().endswith(_FILE_ENDINGS):
        refuse(f"{output}: is named as one file for {len(cases)} CT series; name a folder instead")
    return [output / f"series-{number:02d}" for number in range(1, len(cases) + 1)]


@contextmanager
def _no_empty_folder(output: Path) -> Iterator[None]:
    """Remove the folder of several results again if none of them came about."""
    stood_there = output.exists()
    try:
        yield
    finally:
        if not stood_there and output.is_dir() and not any(output.iterdir()):
            output.rmdir()


def _run_file(output: Path) -> Path:
    """`run.json` in a folder of results, or beside a single file."""
    return output / "run.json" if output.is_dir() else output.with_name(f"{output.name}.run.json")
