"""Architectures: one a file, keyword sizes, no files and no devices."""

from __future__ import annotations

from torch import nn

from lowdose.networks.residual_unet import ResidualUnet

NETWORKS: dict[str, type[nn.Module]] = {
    "residual-unet": ResidualUnet,
}
"""Every network by its name: the one place where names become classes."""
