"""The frame of every command that turns scans into scans: each case by itself, one sentence for each that
fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from lowdose.cli.terminal import SOME_FAILED, complain, give_up, print_json, progress, refuse, say, warn
from lowdose.denoising import DenoisingError, MethodError
from lowdose.io import Case, Derivation, InputError, OutputError, open_input, write_derived
from lowdose.io.output import check_output, explained
from lowdose.provenance import CaseRecord, Run
from lowdose.scan import Scan, read_ahead

Process = Callable[[Scan], tuple[Scan, Derivation]]
"""What a command does to one scan: the derived scan, and how its header says so."""

_FAILURES = (InputError, OutputError, DenoisingError, MemoryError)
_FILE_ENDINGS = (".nii", ".nii.gz", ".dcm")


@dataclass(frozen=True)
class Job:
    """One run of a command from an input to an output."""

    command: str
    source: Path
    output: Path
    options: Mapping[str, Any]
    json: bool = False


def run_cases(job: Job, process: Process) -> Run:
    """Process every CT series of the input; `run.json` beside the output; exit status 1 if a case failed."""
    started = datetime.now(UTC)
    check_places(job.output, [job.source])
    try:
        with open_input(job.source) as found, _no_empty_folder(job.output):
            for item in found.left_aside:
                say(f"left aside: {item.source}: {item.reason}")
            destinations = _destinations(found.cases, job.output)
            records = [
                _one_case(case, destination, process)
                for case, destination in zip(found.cases, destinations, strict=True)
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


def check_places(output: Path, sources: Iterable[Path]) -> None:
    """End with the status of wrong use if a source is missing or `output` would mix with one."""
    for source in sources:
        if not source.exists():
            refuse(f"{source}: not found; give a DICOM folder, a DICOM file, a zip or a NIfTI file")
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


def _one_case(case: Case, output: Path, process: Process) -> CaseRecord:
    record = CaseRecord(case.name, case.source)
    if case.scan is None:
        complain(str(case.error))
        return replace(record, error=str(case.error))
    for note in case.scan.notes:
        warn(f"{case.name}: {note}")
    try:
        derived, derivation = process(read_ahead(case.scan))
        for note in derived.notes[len(case.scan.notes) :]:
            warn(f"{case.name}: {note}")
        with progress(case.name, len(derived)) as advance:
            written = write_derived(read_ahead(derived), output, derivation, on_slice=lambda _z: advance())
    except MethodError as error:
        refuse(str(error))
    except _FAILURES as error:
        sentence = str(error) or f"{case.name}: not enough memory"
        complain(sentence)
        return replace(record, error=sentence, notes=case.scan.notes)
    for note in written.notes:
        warn(f"{case.name}: {note}")
    say(f"{case.name}: written to {written.path}")
    return replace(
        record,
        output=str(written.path),
        notes=(*derived.notes, *written.notes),
        history=derived.history,
        facts={
            "slices": written.n_slices,
            "clipped_pixels": written.n_clipped,
            "series_uid": written.series_uid,
        },
    )


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
