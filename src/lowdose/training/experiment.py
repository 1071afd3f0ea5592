"""One training run from plan to model folder: prepare the scans, train, export."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from lightning.fabric import Fabric

from lowdose.io import InputError, open_input
from lowdose.models.card import HuScaling, TrainingData
from lowdose.networks import NETWORKS
from lowdose.training.dataset import PairSampler, PreparedScan, cache_folder, prepare
from lowdose.training.export import export_model
from lowdose.training.loop import CHECKPOINT, Progress, fit
from lowdose.training.plan import PlanError, Source, TrainingPlan
from lowdose.training.supervised import Batch, Supervised

VALIDATION_BATCHES = 12


@dataclass
class Watcher:
    """Whom a run tells what it does; every field may be left as it is."""

    on_scan: Callable[[str, int, int], None] = field(default=lambda _name, _index, _n: None)
    on_left_out: Callable[[str], None] = field(default=lambda _sentence: None)
    on_progress: Callable[[Progress], None] = field(default=lambda _progress: None)


@dataclass(frozen=True)
class PreparedData:
    """All scans of a plan, split by patient."""

    training: tuple[PreparedScan, ...]
    validation: tuple[PreparedScan, ...]
    described: tuple[TrainingData, ...]


def train(
    plan: TrainingPlan,
    root: Path,
    folder: Path,
    *,
    resume: bool,
    max_seconds: float,
    cache: Path | None = None,
    watcher: Watcher | None = None,
) -> Path | None:
    """Train the model of `plan` on scans below `root` and export it to `folder/NAME`; return that folder.

    None if `max_seconds` ran out first: the same call with `resume` goes on from the checkpoint in `folder`.
    PlanError if the plan does not fit the data, or if `folder` holds a run and `resume` is not given.
    """
    watcher = watcher or Watcher()
    if plan.network.name not in NETWORKS:
        raise PlanError(f"unknown network '{plan.network.name}'; known are {', '.join(NETWORKS)}")
    if (folder / CHECKPOINT).exists() and not resume:
        raise PlanError(f"{folder}: holds a training run; give --resume to go on with it, or another --out")
    if resume and not (folder / CHECKPOINT).exists():
        raise PlanError(f"{folder}: holds no checkpoint to resume; leave out --resume to start anew")
    folder.mkdir(parents=True, exist_ok=True)
    data = prepare_sources(plan, root, cache or folder / "cache", watcher)
    fabric = Fabric(accelerator="auto", devices="auto")
    fabric.launch()
    torch.manual_seed(plan.schedule.seed)
    try:
        network = NETWORKS[plan.network.name](**plan.network.sizes)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise PlanError(f"network.sizes do not fit {plan.network.name}: {reason}; mend them") from None
    try:
        sampler = PairSampler(data.training, plan.dose_gain, plan.patch)
        validation = validation_batches(plan, data.validation)
    except ValueError as error:
        raise PlanError(f"{error}; choose a smaller patch, or leave those scans out") from None
    trained, step = fit(
        fabric,
        Supervised(HuScaling(plan.offset_hu, plan.scale_hu)),
        network,
        sampler.batch,
        validation,
        plan.schedule.schedule(),
        folder,
        max_seconds=max_seconds,
        on_progress=watcher.on_progress,
    )
    if step < plan.schedule.n_steps or not fabric.is_global_zero:
        return None
    pixels = [size for scan in data.training for size in scan.spacing[1:]]
    return export_model(
        trained.cpu(),
        plan,
        data.described,
        step,
        folder / plan.name,
        pixel_size_mm=(min(pixels), max(pixels)),
    )


def prepare_sources(plan: TrainingPlan, root: Path, cache: Path, watcher: Watcher) -> PreparedData:
    """Read and prepare every scan of the plan; scans that cannot be used are left out, each with a
    sentence.
    """
    training: list[PreparedScan] = []
    validation: list[PreparedScan] = []
    described: list[TrainingData] = []
    for source in plan.sources:
        patients = _patients(source, root)
        kept: dict[str, list[PreparedScan]] = {"training": [], "validation": []}
        for index, (patient, path) in enumerate(patients):
            watcher.on_scan(f"{source.name} {patient}", index, len(patients))
            held_back = source.split == "validation" or patient in source.validation_patients
            kept["validation" if held_back else "training"] += _prepared(
                path, cache, patient, source.weight / len(patients), plan.schedule.seed, watcher
            )
        training += kept["training"]
        validation += kept["validation"]
        described += [_described(source, use, scans) for use, scans in kept.items() if scans]
    shared = {scan.patient for scan in training} & {scan.patient for scan in validation}
    if shared:
        raise PlanError(f"patients in both splits: {', '.join(sorted(shared))}; give each one split")
    if not training:
        raise PlanError(f"no scan below {root} can be trained on; see the reasons above")
    return PreparedData(tuple(training), tuple(validation), tuple(described))


def validation_batches(plan: TrainingPlan, scans: tuple[PreparedScan, ...]) -> list[Batch]:
    """The same few batches at every validation, of the scans as they are and a fixed dose step."""
    if not scans:
        return []
    sampler = PairSampler(
        scans, plan.dose_gain, plan.patch, lowest_target_dose=1.0, averaged=0.0, kernels=0.0
    )
    generator = np.random.default_rng([plan.schedule.seed, len(scans)])
    return [sampler.batch(plan.schedule.batch_size, generator) for _ in range(VALIDATION_BATCHES)]


def _patients(source: Source, root: Path) -> list[tuple[str, Path]]:
    path = root / source.path
    if not path.exists():
        raise PlanError(f"{path}: the source '{source.name}' is not there; mend its path or --data")
    if source.patients == "one":
        return [(source.name, path)]
    if not path.is_dir():
        raise PlanError(f"{path}: is no folder of patients; mend the source '{source.name}'")
    found = [(folder.name, folder) for folder in sorted(path.iterdir()) if folder.is_dir()]
    missing = set(source.validation_patients) - {patient for patient, _ in found}
    if missing:
        raise PlanError(f"{path}: holds no patient {', '.join(sorted(missing))}; mend validation_patients")
    return found


def _prepared(
    path: Path, cache: Path, patient: str, weight: float, seed: int, watcher: Watcher
) -> list[PreparedScan]:
    prepared = []
    try:
        with open_input(path) as found:
            for case in found.cases:
                if case.scan is None:
                    watcher.on_left_out(str(case.error))
                    continue
                where = cache_folder(cache, str(path), case.scan)
                try:
                    prepared.append(prepare(case.scan, where, patient=patient, weight=weight, seed=seed))
                except (ValueError, InputError) as error:
                    watcher.on_left_out(str(error))
    except InputError as error:
        watcher.on_left_out(str(error))
    return prepared


def _described(source: Source, use: str, scans: list[PreparedScan]) -> TrainingData:
    return TrainingData(
        name=source.name,
        use=use,
        patients=len({scan.patient for scan in scans}),
        slices=sum(len(scan.hu) for scan in scans),
        licence=source.licence,
        citation=source.citation,
    )
