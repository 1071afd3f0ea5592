"""A two-stage detector of lesions (Faster R-CNN, Ren et al. 2015) whose backbone trains on a CPU.

Torchvision's region proposals and heads over a small residual backbone with a feature pyramid. Group
normalisation keeps no statistics, so that a frozen detector is frozen to the bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

STRIDES = (4, 8, 16)
_GROUPS = 8
_POOLED = 5
"""Places along a side of what the head sees of a region."""
_REGIONS = 64
"""Of an image, that the head learns from."""
_MOST_FOUND = 20
_LEAST_SCORE = 0.01

Features = dict[str, Tensor]


class Found(NamedTuple):
    """What was found in one image, surest first."""

    boxes: Tensor
    """`(n, 4)` of y0, x0, y1, x1 in pixels."""
    kinds: Tensor
    """`(n,)`, places in the detector's kinds."""
    scores: Tensor
    """`(n,)`"""


class LesionDetector(nn.Module):
    """Finds boxes of lesions in HU `(b, 1 + 2 context, y, x)`.

    `window` in HU is all that it sees; `anchors` are two sides of boxes in pixels for each of the strides 4,
    8 and 16, `n_kinds` classes of lesions and `context` neighbouring slices on either side.
    """

    def __init__(
        self,
        *,
        window: tuple[float, float],
        width: int = 24,
        anchors: Sequence[Sequence[float]] = ((8, 12), (18, 28), (44, 80)),
        n_kinds: int = 1,
        context: int = 0,
    ) -> None:
        super().__init__()
        if len(anchors) != len(STRIDES) or len({len(sides) for sides in anchors}) != 1:
            raise ValueError(f"anchors are {len(STRIDES)} lists of as many sides each")
        low, high = window
        if not low < high:
            raise ValueError(f"the window {low:g} to {high:g} HU is empty")
        if width % _GROUPS:
            raise ValueError(f"width is {width}; it must be a multiple of {_GROUPS}")
        self.level, self.reach = (low + high) / 2, (high - low) / 2
        self.context, self.n_kinds = context, n_kinds
        backbone = _Backbone(1 + 2 * context, width)
        levels = [str(level) for level in range(len(STRIDES))]
        self.rcnn = FasterRCNN(
            backbone,
            num_classes=None,
            rpn_anchor_generator=AnchorGenerator(
                tuple(tuple(sides) for sides in anchors), ((0.7, 1.4),) * len(STRIDES)
            ),
            rpn_pre_nms_top_n_train=300, rpn_pre_nms_top_n_test=200,
            rpn_post_nms_top_n_train=100, rpn_post_nms_top_n_test=60,
            rpn_fg_iou_thresh=0.6, rpn_batch_size_per_image=_REGIONS,
            box_roi_pool=MultiScaleRoIAlign(levels, _POOLED, sampling_ratio=2),
            box_head=_Head(backbone.out_channels, 4 * width),
            box_predictor=_Predictor(4 * width, n_kinds + 1),
            box_score_thresh=_LEAST_SCORE, box_nms_thresh=0.3, box_detections_per_img=_MOST_FOUND,
            box_batch_size_per_image=_REGIONS,
        )  # fmt: skip

    def features(self, hu: Tensor) -> Features:
        """What the shared backbone makes of images, `(b, channels, y, x)` by level, finest first."""
        return dict(self.rcnn.backbone(self._shown(hu).tensors))

    def losses(
        self, hu: Tensor, boxes: Sequence[Tensor], kinds: Sequence[Tensor], features: Features | None = None
    ) -> dict[str, Tensor]:
        """The four losses of Faster R-CNN, by name; boxes as in `Found`, a tensor an image.

        `features` of the same images need not be computed again. Regions are drawn at random from torch's
        global generator.
        """
        targets = [
            {"boxes": one[:, [1, 0, 3, 2]], "labels": kind + 1}
            for one, kind in zip(boxes, kinds, strict=True)
        ]
        images, features = self._shown(hu), features or self.features(hu)
        with _mode(self.rcnn, training=True):
            proposals, of_proposals = self.rcnn.rpn(images, features, targets)
            _, of_boxes = self.rcnn.roi_heads(features, proposals, images.image_sizes, targets)
        losses: dict[str, Tensor] = of_boxes | of_proposals
        return losses

    @torch.no_grad()
    def find(self, hu: Tensor) -> list[Found]:
        """What it finds in each image."""
        images, features = self._shown(hu), self.features(hu)
        with _mode(self.rcnn, training=False):
            proposals, _ = self.rcnn.rpn(images, features)
            found, _ = self.rcnn.roi_heads(features, proposals, images.image_sizes)
        return [Found(one["boxes"][:, [1, 0, 3, 2]], one["labels"] - 1, one["scores"]) for one in found]

    @torch.no_grad()
    def proposals(self, hu: Tensor, n_most: int, features: Features | None = None) -> list[Tensor]:
        """The likeliest regions of each image, `(n, 4)` as in `Found`; `features` as in `losses`."""
        with _mode(self.rcnn, training=False):
            regions, _ = self.rcnn.rpn(self._shown(hu), features or self.features(hu))
        return [one[:n_most, [1, 0, 3, 2]] for one in regions]

    def of_regions(self, features: Features, regions: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """RoIAlign: what features of images of `size` show in regions, `(n of all, channels, 5, 5)`."""
        flipped = [one[:, [1, 0, 3, 2]] for one in regions]
        aligned: Tensor = self.rcnn.roi_heads.box_roi_pool(features, flipped, [size] * len(regions))
        return aligned

    def _shown(self, hu: Tensor) -> ImageList:
        """The window as -1 to 1, and a little of what lies beyond it, so that its edges have a gradient.

        The size is made a multiple of the coarsest stride with copies of the last row and column.
        """
        scaled = (hu - self.level) / self.reach
        inside = scaled.clamp(-1, 1)
        seen = inside + 0.05 * (scaled - inside).clamp(-4, 4)
        n_y, n_x = hu.shape[-2:]
        padded = functional.pad(seen, (0, -n_x % STRIDES[-1], 0, -n_y % STRIDES[-1]), mode="replicate")
        return ImageList(padded, [(n_y, n_x)] * len(hu))


@contextmanager
def _mode(module: nn.Module, *, training: bool) -> Iterator[None]:
    """A module that learns or finds, and afterwards does what it did before."""
    before = module.training
    module.train(training)
    try:
        yield
    finally:
        module.train(before)


def _normalised(n_in: int, n_out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False), nn.GroupNorm(_GROUPS, n_out), nn.ReLU(inplace=True)
    )


class _Residual(nn.Module):
    """Two convolutions and a shortcut, at half the resolution."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            _normalised(n_in, n_out, stride=2),
            nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False), nn.GroupNorm(_GROUPS, n_out),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(n_in, n_out, 1))

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(self.way(features) + self.shortcut(features))


class _Backbone(nn.Module):
    """Four residual blocks; the pyramid makes the last three as wide and as knowing as the last."""

    def __init__(self, n_in: int, width: int) -> None:
        super().__init__()
        widths = [width, width, 2 * width, 3 * width, 4 * width]
        self.stem = _normalised(n_in, width)
        self.blocks = nn.ModuleList(_Residual(a, b) for a, b in pairwise(widths))
        self.out_channels = 2 * width
        self.pyramid = FeaturePyramidNetwork(widths[2:], self.out_channels)

    def forward(self, images: Tensor) -> Features:
        features = self.stem(images)
        levels = []
        for block in self.blocks:
            features = block(features)
            levels.append(features)
        named = {str(level): one for level, one in enumerate(levels[1:])}
        pyramid: Features = self.pyramid(named)
        return pyramid


class _Head(nn.Module):
    """From what a region shows to `n_out` numbers."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(n_in * _POOLED**2, n_out), nn.ReLU(inplace=True),
            nn.Linear(n_out, n_out), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, regions: Tensor) -> Tensor:
        judged: Tensor = self.layers(regions)
        return judged


class _Predictor(nn.Module):
    """The logits of every class, background first, and a better box for each."""

    def __init__(self, n_in: int, n_classes: int) -> None:
        super().__init__()
        self.kind, self.box = nn.Linear(n_in, n_classes), nn.Linear(n_in, 4 * n_classes)

    def forward(self, judged: Tensor) -> tuple[Tensor, Tensor]:
        return self.kind(judged), self.box(judged)
