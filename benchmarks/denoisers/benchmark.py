"""Denoisers trained alike: the same data, dose gain and wall-clock time, each with its own learning rate.

    python benchmarks/denoisers/benchmark.py DATA [--work FOLDER] [--stage NAME] [--only NAME,...] [--smoke]

DATA holds the public scans that sources.yaml names. Every network of lowdose learns for five minutes on two
cores, after two or three to choose its learning rate; then it is measured on held-out patients, on real pairs
and on a phantom, beside filters, iterative total variation and the shipped model. What is done is kept in the
work folder and not done again, so that a run which was stopped goes on; remove a result to have it made
anew. Learning rates are kept in learning_rates.json as well, where a run on another machine finds them. The
stages `pace` and `speed` want the machine for themselves.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from cases import SHOWN, Case, Patient, cases, held_out, real_pair, rods_scanned
from entrants import HERE, IDENTITY, OTHERS, Budget, digest, few_sources, networks, seen_by_shipped, sources
from learning import Course, pace_of
from picture import REFERENCE, draw
from rates import keep_tuning, known_tuning
from readme import write_readme
from scores import Tally, of_pair, of_rods
from speed import measured as speed_of

from lowdose.denoising import Denoiser, MethodError, SlabDenoiser, denoise, make_denoiser
from lowdose.models.card import CARD
from lowdose.models.denoiser import ModelDenoiser
from lowdose.provenance import package_versions, write_json, written_whole
from lowdose.scan import Scan
from lowdose.training.loop import TrainingError
from lowdose.training.plan import PlanError
from lowdose.training.sources import PreparedData, Watcher, prepare_data

STAGES = ("prepare", "pace", "tune", "train", "test", "speed", "report")
SMOKE = ("residual-unet", "res-hlf", "gaussian")
CROP = 240
"""Pixels along the square in the figure."""


class Missing(Exception):
    """One sentence: what must be done before."""


class Bench:
    """A run of the benchmark: its data and its folder."""

    def __init__(self, root: Path, work: Path, *, smoke: bool) -> None:
        self.root, self.work, self.smoke = root, work, smoke
        self.budget = Budget(most_steps=20) if smoke else Budget()
        self.sources = few_sources(root) if smoke else sources()
        self.most_slices = 2 if smoke else None
        self.cache = work / "cache"
        self.runs = work / ("smoke" if smoke else "runs")

    @property
    def patients(self) -> list[Patient]:
        """The held-out patients."""
        found = held_out(sources(), self.root)
        return found[:2] if self.smoke else found

    @cached_property
    def data(self) -> PreparedData:
        """The scans that networks learn from and are chosen by."""
        plan = next(iter(networks().values())).plan(self.sources, 1, 1e-3)
        watcher = Watcher(
            on_scan=lambda name, index, n: print(f"  {name} ({index + 1} of {n})", flush=True),
            on_left_out=lambda sentence: print(f"  left out: {sentence}", flush=True),
        )
        return prepare_data(plan, self.root, self.cache, watcher)

    @cached_property
    def cases(self) -> list[Case]:
        """The held-out patients with their inputs."""
        return list(cases(self.patients, self.cache, self.most_slices))

    @cached_property
    def pair(self) -> tuple[Scan, Scan]:
        return real_pair(self.root, self.most_slices)

    @cached_property
    def rods(self) -> Scan:
        return rods_scanned(self.work)

    def folder(self, name: str) -> Path:
        """Where everything of a method is; another one when what it is, or learns from, has changed."""
        told: list[Any] = [name, self.sources, [patient.name for patient in self.patients], self.most_slices]
        if name in networks():
            told += [asdict(networks()[name]), asdict(self.budget)]
        return self.runs / f"{name}-{digest(told)}"

    def kept(self, name: str, what: str) -> dict[str, Any] | None:
        """A result that is there."""
        path = self.folder(name) / f"{what}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def needed(self, name: str, what: str) -> dict[str, Any]:
        """The same; Missing where it is not there."""
        found = self.kept(name, what)
        if found is None:
            raise Missing(f"{name} has no {what}: run that stage first")
        return found

    def once(self, name: str, what: str, make: Callable[[], Mapping[str, Any]]) -> None:
        """Make a result and keep it, unless it is there."""
        if self.kept(name, what) is not None:
            return
        print(f"{what}: {name}", flush=True)
        write_json(self.folder(name) / f"{what}.json", make())

    def prepare(self, _name: str) -> None:
        """Have all data ready."""
        print(f"training on {len(self.data.training)} scans, validating on {len(self.data.validation)}")
        print(f"testing on {len(self.cases)} patients, {len(self.pair[0])} real pairs, {self.rods.name}")

    def pace(self, name: str) -> None:
        if name in networks():
            self.once(name, "pace", lambda: pace_of(networks()[name], self.sources, self.data, self.budget))

    def tune(self, name: str) -> None:
        if name in networks():
            self.once(name, "tuned", lambda: self._tuned(name))

    def _tuned(self, name: str) -> dict[str, Any]:
        """What is known of before, or found now and kept for other runs, unless this is a trial."""
        network, steps = networks()[name], self._steps(name, tuning=True)
        if self.smoke:
            return self._course(name).tuned(steps)
        conditions = digest(asdict(network), self.sources, self.budget.tuning_seconds)
        tuned = known_tuning(name, conditions)
        if tuned is None:
            tuned = self._course(name).tuned(steps)
            keep_tuning(name, conditions, tuned)
        return tuned

    def train(self, name: str) -> None:
        if name in networks():
            steps = self._steps(name, tuning=False)
            self.once(name, "trained", lambda: self._course(name).trained(steps, self.needed(name, "tuned")))

    def _steps(self, name: str, *, tuning: bool) -> int:
        budget = self.budget
        pace = self.needed(name, "pace")["seconds_per_step"]
        return budget.steps(budget.tuning_seconds if tuning else budget.training_seconds, pace)

    def _course(self, name: str) -> Course:
        return Course(networks()[name], self.sources, self.root, self.folder(name), self.cache)

    def method(self, name: str) -> str:
        """What `make_denoiser` knows it by: a name, or the folder of the model that was trained."""
        if name not in networks():
            return name
        return str(self.folder(name) / self.needed(name, "trained")["model"])

    def test(self, name: str) -> None:
        self.once(name, "test", lambda: self._tested(name))

    def _tested(self, name: str) -> dict[str, Any]:
        method = self.method(name)
        patients: dict[str, dict[str, float]] = {}
        for case in self.cases:
            try:
                patients[case.patient.name] = self._on_patient(name, method, case)
            except MethodError as error:
                print(f"  {case.patient.name}: {error}", flush=True)
        return {"patients": patients, "pair": self._on_pair(method), "rods": self._on_rods(method)}

    def _on_pair(self, method: str) -> dict[str, float]:
        full, low = self.pair
        try:
            denoised = denoise(low, denoiser_for(method, low)).hu
        except MethodError as error:
            print(f"  real pairs: {error}", flush=True)
            return {}
        return of_pair(full, low, Scan.from_array(denoised, spacing=low.spacing, name=method))

    def _on_rods(self, method: str) -> dict[str, float]:
        try:
            denoised = denoise(self.rods, denoiser_for(method, self.rods)).hu
        except MethodError as error:
            print(f"  rods: {error}", flush=True)
            return {}
        return of_rods(denoised, self.rods.spacing[1:])

    def _on_patient(self, name: str, method: str, case: Case) -> dict[str, float]:
        denoiser = denoiser_for(method, case.inputs[0])
        arms = [denoise(scan, denoiser) for scan in case.inputs]
        tally = Tally(case.spacing)
        # One after the other, because what looks along z keeps the slab that it made last.
        images = [[arm.read(z).hu for z in case.slices] for arm in arms]
        for k, z in enumerate(case.slices):
            given = [scan.read(z).hu for scan in case.inputs]
            tally.add(case.reference[z], [arm[k] for arm in images], given)
        if case is self.shown:
            self._keep_image(name, images[0][len(case.slices) // 2])
        return tally.result()

    @property
    def shown(self) -> Case:
        """The patient in the figure: the one meant for it, or the first."""
        return next((case for case in self.cases if case.patient.name == SHOWN), self.cases[0])

    def _keep_image(self, name: str, hu: Any) -> None:
        folder = self.folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        with written_whole(folder / "shown.npy") as temporary, temporary.open("wb") as file:
            np.save(file, hu.astype(np.float32))

    def speed(self, name: str) -> None:
        self.once(name, "speed", lambda: speed_of(self.method(name)))

    def results(self, names: Sequence[str]) -> dict[str, Any]:
        """Everything that is known of the methods that were tested."""
        found: dict[str, Any] = {}
        for name in names:
            tested = self.kept(name, "test")
            if tested is None:
                print(f"not tested, so not in the report: {name}", flush=True)
                continue
            found[name] = {**tested, "speed": self.kept(name, "speed")}
            if name in networks():
                trained = {
                    key: value for key, value in self.needed(name, "trained").items() if key != "model"
                }
                tuning = self.needed(name, "tuned")
                found[name]["training"] = {
                    **self.needed(name, "pace"),
                    "tuning": {"steps": tuning["steps"], "errors": tuning["errors"]},
                    **trained,
                }
        return found

    def report(self, names: Sequence[str], out: Path) -> None:
        """results.json, figure.png and the tables of README.md in `out`."""
        results = self.results(names)
        if not results:
            raise Missing("nothing was tested yet")
        out.mkdir(parents=True, exist_ok=True)
        seen = {one.name: seen_by_shipped(one.name, one.source) for one in self.patients}
        record = {
            "benchmark": "denoisers",
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": _machine(),
            "versions": package_versions(),
            "budget": asdict(self.budget),
            "seen_by_the_shipped_model": seen,
            "methods": results,
        }
        write_json(out / "results.json", record)
        case = self.shown
        middle = case.slices[len(case.slices) // 2]
        images = {REFERENCE: cropped(case.reference[middle].astype(np.float32))}
        for name in results:
            path = self.folder(name) / "shown.npy"
            if path.exists():
                images[name] = cropped(np.load(path))
        draw(results, images, case.patient.name, out / "figure.png")
        write_readme(HERE / "README.md", out / "README.md", record)
        print(f"written to {out}", flush=True)


def denoiser_for(method: str, scan: Scan) -> Denoiser | SlabDenoiser:
    """Ready for `scan`. A network works on one slice at a time, with all cores."""
    folder = Path(method)
    if (folder / CARD).is_file():
        return ModelDenoiser(folder, n_streams=1)
    return make_denoiser(method, scan)


def cropped(hu: Any) -> Any:
    """The middle of an image."""
    places = [slice(max(0, (n - CROP) // 2), max(0, (n - CROP) // 2) + CROP) for n in hu.shape]
    return hu[tuple(places)]


def _machine() -> dict[str, Any]:
    """What `benchmarks/record.py` says of the machine."""
    sys.path.append(str(HERE.parent))
    from record import machine

    return dict(machine())


def chosen_methods(only: str | None, *, smoke: bool) -> list[str]:
    """The names to work on; ends with a sentence where there is no such one."""
    known = [*networks(), *OTHERS]
    names = only.split(",") if only else [*SMOKE, IDENTITY] if smoke else known
    unknown = [name for name in names if name not in known]
    if unknown:
        sys.exit(f"there is no {', '.join(unknown)}; there are {', '.join(known)}")
    return names


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, metavar="DATA", help="the public scans, a folder each")
    parser.add_argument("--work", type=Path, default=Path("runs/denoisers"), help="default runs/denoisers")
    parser.add_argument("--stage", choices=STAGES, help="do this alone; all of them, unless given")
    parser.add_argument(
        "--only", metavar="NAME,...", help="these methods; the report then goes to the work folder"
    )
    parser.add_argument("--smoke", action="store_true", help="a trial of everything that takes minutes")
    arguments = parser.parse_args()
    names = chosen_methods(arguments.only, smoke=arguments.smoke)
    bench = Bench(arguments.data, arguments.work, smoke=arguments.smoke)
    out = HERE if arguments.only is None and not arguments.smoke else bench.runs / "report"
    failed = False
    for stage in STAGES if arguments.stage is None else (arguments.stage,):
        for name in names if stage not in ("prepare", "report") else (stage,):
            try:
                bench.report(names, out) if stage == "report" else getattr(bench, stage)(name)
            except (Missing, PlanError, TrainingError) as error:
                print(f"{stage}: {name}: {error}", flush=True)
                failed = True
            except Exception:  # one method that fails must not cost the night
                traceback.print_exc()
                failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
