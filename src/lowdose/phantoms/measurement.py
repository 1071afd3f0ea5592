"""What is measured in the scans of a test object: module by module, in repeats, beside a control."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lowdose.phantoms.layout import Layout, Module, Region
from lowdose.phantoms.module_measurement import ModuleMeasurement, measured_module
from lowdose.phantoms.pose import Pose
from lowdose.quality.controls import noise_matched_width
from lowdose.quality.uniformity import RepeatedCircle, circle
from lowdose.scan import Scan

Image = NDArray[np.float32]
Filter = Callable[[Image], Image]

_MARGIN_MM = 1.0
"""Of a module's ends, where slices may show its neighbour already."""
_MATCHED_IMAGES = 6
NOISES_AGREE = 1.25
"""Repeats of one scan have noises within this factor."""


@dataclass(frozen=True, eq=False)
class ArmMeasurement:
    """All modules that the scans of one arm reach."""

    name: str
    modules: tuple[ModuleMeasurement, ...]
    n_repeats: int
    blur: float | None = None
    """Pixels, of a control that is another arm blurred."""
    notes: tuple[str, ...] = ()

    @property
    def noise(self) -> float:
        """HU in the middle of the module that is best for it."""
        best = noise_module([one.module for one in self.modules])
        return float("nan") if best is None else _noise_regions_mean(self.of(best.name))

    def of(self, name: str) -> ModuleMeasurement:
        """The module of that name; KeyError if the scans do not reach it."""
        return {one.module.name: one for one in self.modules}[name]


def module_slices(
    scan: Scan, layout: Layout, pose: Pose, covered: tuple[int, int], by_hand: Mapping[str, tuple[int, int]]
) -> dict[str, tuple[int, ...]]:
    """The slices of every module that the scan reaches; `by_hand` gives first and last of some."""
    found: dict[str, tuple[int, ...]] = {}
    n, step = len(scan), scan.spacing[0]
    for module in layout.modules:
        if module.name in by_hand:
            first, last = by_hand[module.name]
            chosen = tuple(range(first, last + 1))
        elif len(layout.modules) == 1:
            # Cylinders are as long as they are; their ends are left out.
            edge = 0 if covered[1] - covered[0] < 4 else 1
            chosen = tuple(range(covered[0] + edge, covered[1] + 1 - edge))
        elif module.bars:
            chosen = _bar_slices(module, pose, n, step)
        else:
            chosen = pose.slices_of(module, n, step, _MARGIN_MM)
        if chosen:
            found[module.name] = chosen
    return found


def _bar_slices(module: Module, pose: Pose, n: int, step: float) -> tuple[int, ...]:
    """All slices wholly within the bars, or the one that shows most of them."""
    middle, depth = pose.height_of(module.z), module.bars[0].depth
    inside = tuple(z for z in range(n) if abs(z * step - middle) <= (depth - step) / 2 + 1e-6)
    nearest = round(middle / step)
    return inside or ((nearest,) if 0 <= nearest < n else ())


def measure(
    name: str,
    scans: Sequence[Scan],
    layout: Layout,
    pose: Pose,
    slices: Mapping[str, tuple[int, ...]],
    *,
    blur: float | None = None,
    transform: Filter | None = None,
    on_image: Callable[[], None] = lambda: None,
) -> ArmMeasurement:
    """Measure the `slices` of every module in `scans`, which are repeats of each other on one grid.

    `transform` is applied to every image first; `blur` says, for the record, that it is a Gaussian of so many
    pixels.
    """
    measured, notes = [], []
    for module in layout.modules:
        chosen = slices.get(module.name, ())
        if not chosen:
            notes.append(f"{module.name} lies outside the scan and is not measured")
            continue
        images = _images(scans, chosen, transform, on_image)
        measured.append(measured_module(module, layout, pose, chosen, scans[0], images))
    return ArmMeasurement(name, tuple(measured), len(scans), blur, tuple(notes))


def matching_blur(
    scans: Sequence[Scan],
    layout: Layout,
    pose: Pose,
    slices: Mapping[str, tuple[int, ...]],
    target: float,
) -> float:
    """Pixels of the Gaussian that brings the noise of `scans` down to `target` HU where it is measured best.

    ValueError if they have no more noise than that.
    """
    module = noise_module([module for module in layout.modules if module.name in slices])
    if module is None:
        raise ValueError("the scan reaches no module in which noise can be measured")
    chosen = slices[module.name]
    scan, spacing = scans[0], scans[0].spacing[1:]
    masks = []
    for region in _noise_regions(module):
        place = pose.place_of(region, chosen[len(chosen) // 2] * scan.spacing[0])
        masks.append(RepeatedCircle(scan.shape[1:], spacing, place, region.diameter / 2).mask)
    images = [
        image
        for _, image in zip(
            range(_MATCHED_IMAGES), (i for _, i in _images(scans, chosen, None)), strict=False
        )
    ]
    return noise_matched_width(images, masks, target)


def blurred_arm(
    first: ArmMeasurement,
    like: ArmMeasurement,
    scans: Sequence[Scan],
    layout: Layout,
    pose: Pose,
    slices: Mapping[str, tuple[int, ...]],
    on_image: Callable[[], None] = lambda: None,
) -> ArmMeasurement:
    """The control: `scans` of the arm `first`, blurred by a Gaussian to the noise of the arm `like`."""
    width = matching_blur(scans, layout, pose, slices, like.noise)
    return measure(
        f"{first.name}, blurred to the noise of {like.name}", scans, layout, pose, slices, blur=width,
        transform=lambda image: gaussian_filter(image, width), on_image=on_image,
    )  # fmt: skip


def check_repeats(
    scans: Sequence[Scan], layout: Layout, pose: Pose, slices: Mapping[str, tuple[int, ...]], arm: str
) -> None:
    """ValueError if the scans differ in noise so much that they cannot be repeats of each other."""
    module = noise_module([module for module in layout.modules if module.name in slices])
    if module is None or len(scans) < 2:
        return
    chosen = slices[module.name][len(slices[module.name]) // 2]
    noises = []
    for scan in scans:
        image, spacing = scan.read(chosen).without_padding(), scan.spacing[1:]
        height = chosen * scan.spacing[0]
        circles = [
            circle(image, spacing, pose.place_of(region, height), region.diameter / 2).noise
            for region in _noise_regions(module)
        ]
        noises.append(float(np.sqrt(np.mean(np.square(circles)))))
    check_noises(noises, arm)


def check_noises(noises: Sequence[float], arm: str) -> None:
    """ValueError if series of these noises in HU cannot be repeats of one scan."""
    if max(noises) > NOISES_AGREE * min(noises):
        raise ValueError(
            f"the {len(noises)} series of '{arm}' are no repeats of one scan: their noise is "
            f"{min(noises):.1f} to {max(noises):.1f} HU; give each dose or method as an arm of its own, as "
            "in full=dose-1/ low=dose-0.25/"
        )


def noise_module(modules: Sequence[Module]) -> Module | None:
    """The module in which noise is measured best: a uniform one, else the first with a plain background."""
    ranked = sorted(modules, key=lambda one: (not one.uniform, not one.backgrounds))
    return ranked[0] if ranked and _noise_regions(ranked[0]) else None


def _noise_regions(module: Module) -> tuple[Region, ...]:
    return module.uniform or module.backgrounds


def _noise_regions_mean(measured: ModuleMeasurement) -> float:
    found = [
        measured.circles[one.name].noise
        for one in _noise_regions(measured.module)
        if one.name in measured.circles
    ]
    return float(np.sqrt(np.mean(np.square(found)))) if found else float("nan")


def _images(
    scans: Sequence[Scan],
    chosen: tuple[int, ...],
    transform: Filter | None,
    on_image: Callable[[], None] = lambda: None,
) -> Iterator[tuple[int, Image]]:
    """Slice number and HU of every image, repeats of a slice one after the other."""
    for z in chosen:
        for scan in scans:
            image = scan.read(z).without_padding()
            yield z, image if transform is None else transform(image)
            on_image()
