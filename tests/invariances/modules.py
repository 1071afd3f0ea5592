"""Linear methods as networks with gradients, and the same as methods of one slice."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lowdose.denoising import model_folder
from lowdose.invariances.gradients import DifferentiableMethod
from lowdose.models.denoiser import model_card
from tests.invariances.places import Slicewise


class Forgetful(nn.Module):
    """Passes everything on but what varies along x within some pixels."""

    def forward(self, scaled: Tensor) -> Tensor:
        kernel = torch.ones(1, 1, 1, 15) / 15
        return functional.conv2d(functional.pad(scaled, (7, 7, 0, 0), mode="replicate"), kernel)


def as_network(module: nn.Module) -> DifferentiableMethod:
    changes = {"multiple": 1, "trained_range_hu": (-5e3, 5e3)}
    return DifferentiableMethod(module, model_card(model_folder("ct-default")).model_copy(update=changes))


def as_method(network: DifferentiableMethod) -> Slicewise:
    def of_slice(hu):
        with torch.no_grad():
            return network(torch.from_numpy(hu)[None, None])[0, 0].numpy()

    return Slicewise("network", of_slice)
