"""How a network does on patches that training does not see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from lowdose.losses import share_of_noise_left, ssim_loss
from lowdose.models.card import HuScaling
from lowdose.networks.network import DenoisingNetwork
from lowdose.training.batches import Batch, batch_of_step
from lowdose.training.dataset import Prepared
from lowdose.training.loop import Validate, Validation
from lowdose.training.plan import TrainingPlan
from lowdose.training.sampling import NoiseSource, PairSampler, PatchShape
from lowdose.training.supervised import Scaled, last_level

VALIDATION_BATCHES = 12
SSIM_RANGE_HU = 400.0
"""The data range of the SSIM by which weights can be selected: that of a soft-tissue window."""


def validation_batches(
    plan: TrainingPlan, shape: PatchShape, scans: Sequence[Prepared], noise: NoiseSource | None = None
) -> list[Batch]:
    """The same few batches at every validation, of the scans as they are and a fixed dose step, or with
    `noise` put on them. Scans of fewer slices than a patch are left out.
    """
    scans = [scan for scan in scans if scan.shape[0] >= shape.n_z]
    if not scans:
        return []
    sampler = PairSampler(
        scans, plan.dose_gain, shape, lowest_target_dose=1.0, averaged=0.0, kernels=0.0, noise=noise
    )
    samples = range(plan.schedule.batch_size)
    first = 2**40  # far from the steps of training, so that no generator is used twice
    return [
        batch_of_step(sampler, plan.schedule.seed, first + step, samples)
        for step in range(VALIDATION_BATCHES)
    ]


def validation_of(
    batches: Sequence[Batch], network: DenoisingNetwork, scaling: HuScaling, device: torch.device
) -> Validate:
    """How an averaged network is judged: the error left of `batches` and the SSIM; None without any."""
    context, data_range = network.context, SSIM_RANGE_HU / scaling.scale

    def validate(trained: nn.Module) -> Validation | None:
        if not batches:
            return None
        found = []
        for batch in batches:
            scaled = Scaled(batch, scaling, context, device)
            with torch.no_grad():
                output = last_level(trained(scaled.shown))
            left = share_of_noise_left(output, scaled.noisy, scaled.target)
            found.append((float(left), 1.0 - float(ssim_loss(output, scaled.target, data_range=data_range))))
        left, ssim = np.mean(found, axis=0)
        return Validation(float(np.sqrt(left)), float(ssim))

    return validate
