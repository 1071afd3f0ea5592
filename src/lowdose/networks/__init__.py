"""Architectures: one a file, keyword sizes, no files and no devices."""

from __future__ import annotations

from lowdose.networks.bilateral import Bilateral
from lowdose.networks.cnn10 import Cnn10
from lowdose.networks.cpce_2d import Cpce2d
from lowdose.networks.cpce_3d import Cpce3d
from lowdose.networks.du_gan import DuGan
from lowdose.networks.graph_convolution import GraphConvolution
from lowdose.networks.map_nn import MapNn
from lowdose.networks.network import DenoisingNetwork
from lowdose.networks.quadratic_autoencoder import QuadraticAutoencoder
from lowdose.networks.red_cnn import RedCnn
from lowdose.networks.res_hlf import ResHlf
from lowdose.networks.residual_unet import ResidualUnet
from lowdose.networks.resnet import ResNet
from lowdose.networks.ssms import Ssms
from lowdose.networks.transct import TransCt
from lowdose.networks.unet_2d import Unet2d
from lowdose.networks.unet_3d import Unet3d
from lowdose.networks.wgan_vgg import WganVgg

NETWORKS: dict[str, type[DenoisingNetwork]] = {
    "residual-unet": ResidualUnet,
    "unet-2d": Unet2d,
    "unet-3d": Unet3d,
    "cpce-2d": Cpce2d,
    "cpce-3d": Cpce3d,
    "map-nn": MapNn,
    "res-hlf": ResHlf,
    "ssms": Ssms,
    "cnn-10": Cnn10,
    "red-cnn": RedCnn,
    "wgan-vgg": WganVgg,
    "resnet": ResNet,
    "q-ae": QuadraticAutoencoder,
    "du-gan": DuGan,
    "transct": TransCt,
    "bilateral": Bilateral,
    "graph-convolution": GraphConvolution,
}
"""Every network by its name: the one place where names become classes."""
