"""Noise models and networks; what is there is not made again, what was stopped goes on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from experiments import EXPERIMENTS, GENERATED, IMAGE_SPACE, LEARNED, SEED, Run
from image_noise import ImageSpacePoisson
from plans import plan_of
from scans import Scans

from lowdose.physics.noise_patches import NoisePatches, find_noise
from lowdose.provenance import write_json, written_whole
from lowdose.training.checkpoint import CHECKPOINT
from lowdose.training.experiment import train
from lowdose.training.noise_experiment import learn_noise
from lowdose.training.noise_model import Kind, load_noise_model, read_noise_card
from lowdose.training.sampling import NoiseSource

KINDS: dict[str, Kind] = {LEARNED: "vae", GENERATED: "gan"}
FACTS, PATCHES = "facts.json", "patches.npz"


def noise_folder(work: Path, experiment: str, noise: str) -> Path:
    return work / "noise" / f"{experiment}-{KINDS[noise]}"


def learn(scans: Scans) -> None:
    """Both kinds of noise model from the low-dose scans of both experiments."""
    for experiment in EXPERIMENTS:
        missing = [n for n in KINDS if not (noise_folder(scans.work, experiment, n) / FACTS).exists()]
        if missing:
            found = [one for one in map(find_noise, scans.at_hand(experiment)) if len(one)]
            for noise in missing:
                learn_one(scans, experiment, noise, found)


def learn_one(scans: Scans, experiment: str, noise: str, found: Sequence[NoisePatches]) -> None:
    """One noise model from the patches `found`, with some of them and of its own beside it."""
    kind, folder = KINDS[noise], noise_folder(scans.work, experiment, noise)
    print(f"{experiment}: {kind} of {sum(map(len, found))} patches of {len(found)} scans", flush=True)
    learned = learn_noise(
        found, folder, kind=kind, n_steps=scans.study.noise_steps, seed=SEED,
        resume=(folder / CHECKPOINT).exists(),
    )  # fmt: skip
    assert learned is not None  # it had all the time it takes
    real = np.concatenate([one.noise for one in found])
    chosen = np.random.default_rng(SEED).permutation(min(len(real), len(learned.made)))
    with written_whole(folder / PATCHES) as temporary, temporary.open("wb") as file:
        np.savez(file, real=real[chosen], made=learned.made[chosen])
    facts = {
        "patches": sum(map(len, found)),
        "scans": len(found),
        "likeness": asdict(learned.likeness),
        "training": learned.card.training,
    }
    write_json(folder / FACTS, facts)
    print(f"  told apart {learned.likeness.told_apart:.2f}", flush=True)


def model_folder(work: Path, run: Run) -> Path:
    return work / "models" / run.name / run.network


def train_all(scans: Scans, runs: list[Run]) -> None:
    """Every network on its kind of noise, whole."""
    for index, run in enumerate(runs):
        if model_folder(scans.work, run).is_dir():
            continue
        print(f"training {run.name} ({index + 1} of {len(runs)})", flush=True)
        folder = model_folder(scans.work, run).parent
        plan = plan_of(run, scans.study, scans.root, scans.manifest.resolve())
        train(
            plan, scans.root, folder, resume=(folder / CHECKPOINT).exists(), max_seconds=math.inf,
            cache=scans.work / "cache", noise=noise_source(scans.work, run),
        )  # fmt: skip


def noise_source(work: Path, run: Run) -> NoiseSource | None:
    """What is put on clean scans; None where noise like their own is, or pairs are there."""
    if run.noise in KINDS:
        return load_noise_model(noise_folder(work, run.experiment, run.noise))
    if run.noise == IMAGE_SPACE:
        card = read_noise_card(noise_folder(work, run.experiment, LEARNED))
        return ImageSpacePoisson(tuple(source.level_hu for source in card.sources))
    return None
