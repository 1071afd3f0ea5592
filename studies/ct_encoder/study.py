"""Train the encoder of CT that perceptual losses compare with, and put it where lowdose looks for it.

    python studies/ct_encoder/study.py DATA [--work FOLDER] [--max-minutes M]

DATA holds the public scans that benchmarks/denoisers/sources.yaml names; its test patients are never opened.
The run writes checkpoints and goes on where it stopped when it is called again; half an hour on one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import yaml
from lightning.fabric import Fabric
from safetensors.torch import save_file
from torch import nn

from lowdose.models.card import HuScaling
from lowdose.networks.features import CtAutoencoder, with_blocks_masked
from lowdose.provenance import sha256_of_file, written_whole
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.inpainting import Inpainting, inpainting_error
from lowdose.training.loop import Progress, Schedule, Validation, fit
from lowdose.training.perceptual import ENCODER_CARD, ENCODER_WEIGHTS, FOLDER, EncoderCard
from lowdose.training.plan import TrainingPlan
from lowdose.training.sampling import PairSampler, PatchShape
from lowdose.training.sources import PreparedData, Watcher, prepare_data

HERE = Path(__file__).parent
SOURCES = HERE.parents[1] / "benchmarks" / "denoisers" / "sources.yaml"
SIZES = {"width": 16, "n_stages": 4}
SCALING = HuScaling(0.0, 500.0)
PATCH = 64
SCHEDULE = Schedule(
    n_steps=3000, batch_size=16, learning_rate=1e-3, warmup=200, ema_decay=0.998, validate_every=500,
    checkpoint_every=250, seed=1,
)  # fmt: skip
GAIN = 4.0
"""Images are shown at the scan's own dose down to a quarter of 30 % of it."""


def prepared(data: Path, work: Path) -> PreparedData:
    """The scans of the benchmark's training and validation patients."""
    plan = TrainingPlan.model_validate(
        {
            "name": "ct-encoder", "version": "1", "summary": "", "network": {"name": "residual-unet"},
            "schedule": {"n_steps": 1}, "sources": yaml.safe_load(SOURCES.read_text(encoding="utf-8")),
        }
    )  # fmt: skip
    watcher = Watcher(
        on_scan=lambda name, index, n: print(f"reading {name} ({index + 1} of {n})", flush=True),
        on_left_out=lambda sentence: print(f"left out: {sentence}", flush=True),
    )
    return prepare_data(plan, data, work / "cache", watcher)


def held_back(data: PreparedData) -> list[Batch]:
    """The patches that the encoder is judged on, always the same."""
    sampler = PairSampler(data.validation, GAIN, PatchShape(PATCH, PATCH))
    return [batch_of_step(sampler, 7, step, range(16)) for step in range(16)]


def error_of(network: nn.Module, batches: list[Batch]) -> float:
    """The mean error of what it paints in, in HU."""
    found = []
    for step, batch in enumerate(batches):
        image = torch.from_numpy(SCALING.scaled(batch.noisy))
        masked, mask = with_blocks_masked(image, torch.Generator().manual_seed(step))
        with torch.no_grad():
            found.append(float(inpainting_error(network(masked), image, mask)))
    return SCALING.scale * float(np.mean(found))


def stage_weights(network: CtAutoencoder, batches: list[Batch]) -> tuple[float, ...]:
    """One over the variance of each stage's features, shared evenly between the stages."""
    images = torch.from_numpy(SCALING.scaled(np.concatenate([batch.noisy for batch in batches])))
    with torch.no_grad():
        variances = [float(features.var(dim=(0, 2, 3)).mean()) for features in network.encoder(images)]
    return tuple(1.0 / (len(variances) * variance) for variance in variances)


def export(network: CtAutoencoder, data: PreparedData, step: int, folder: Path) -> EncoderCard:
    """Write the encoder, without its decoder, and its card."""
    batches = held_back(data)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.contiguous() for name, value in network.encoder.state_dict().items()}
    with written_whole(folder / ENCODER_WEIGHTS) as temporary:
        save_file(weights, temporary)
    card = EncoderCard(
        summary="Features of CT patches for perceptual losses, learnt without labels by painting in what was "
        "masked.",
        sizes=SIZES,
        offset_hu=SCALING.offset,
        scale_hu=SCALING.scale,
        stage_weights=stage_weights(network, batches),
        training=f"{step} steps of {SCHEDULE.batch_size} patches of {PATCH} px of scans at their own dose "
        f"down to {0.3 / GAIN:g} of it; a quarter of the 8 px blocks was masked; "
        f"the error on held-out patients is {error_of(network, batches):.0f} HU",
        data=data.described,
        known_limits=(
            "Trained on chest, abdomen and limbs of adults; heads and animals were never seen.",
            "What it finds alike need not look alike to a reader: that was not tested.",
        ),
        weights_sha256=sha256_of_file(folder / ENCODER_WEIGHTS),
    )
    with written_whole(folder / ENCODER_CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("--work", type=Path, default=Path("runs/ct-encoder"))
    parser.add_argument("--max-minutes", type=float, default=float("inf"))
    chosen = parser.parse_args()
    chosen.work.mkdir(parents=True, exist_ok=True)
    data = prepared(chosen.data, chosen.work)
    torch.manual_seed(SCHEDULE.seed)
    network = CtAutoencoder(**SIZES)
    batches = held_back(data)

    def told(progress: Progress) -> None:
        if progress.step % 100 == 0:
            print(f"step {progress.step}: {progress.loss:.4f}, {progress.seconds_per_step:.2f} s", flush=True)

    outcome = fit(
        Fabric(accelerator="cpu", devices=1),
        Inpainting(network, SCALING),
        PairSampler(data.training, GAIN, PatchShape(PATCH, PATCH)),
        lambda trained: Validation(error_of(trained, batches), 0.0),
        SCHEDULE,
        chosen.work,
        architecture={"network": "ct-autoencoder", "sizes": SIZES},
        max_seconds=60 * chosen.max_minutes,
        on_progress=told,
    )
    if outcome.step == SCHEDULE.n_steps:
        print(export(outcome.network, data, outcome.selected_step, FOLDER).model_dump_json(indent=2))


if __name__ == "__main__":
    main()
