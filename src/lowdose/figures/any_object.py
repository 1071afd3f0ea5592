"""Plots of what was measured in an object without a layout."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Circle as Ring
from matplotlib.patches import Rectangle

from lowdose.figures.drawing import MUTED, Figure, curve, drawing, image_drawing, svg_text
from lowdose.phantoms.any_object import ObjectMeasurement
from lowdose.phantoms.places import Places

Colours = Mapping[str, str]

_MATERIAL_COLOURS = ("#5bd0e6", "#b5d96a", "#f58fb4", "#c3a5f5", "#f0d264", "#cfd8e3")
_ROD_COLOUR = "#f5a860"
_SHOWN_PX = 640


def places_figure(
    measured: ObjectMeasurement, z: int, places: Places, spacing: tuple[float, float]
) -> Figure:
    """One slice with the squares and rods that were measured in it."""
    image = measured.examples[z]
    (d_y, d_x), (n_y, n_x) = spacing, image.shape
    step = max(1, math.ceil(max(image.shape) / _SHOWN_PX))
    n_y, n_x = n_y // step * step, n_x // step * step
    part = image[:n_y, :n_x].reshape(n_y // step, step, n_x // step, step).mean(axis=(1, 3))
    low, high = (
        (-160.0, 240.0) if not places.materials else (places.materials[0] - 300, places.materials[0] + 300)
    )
    with image_drawing() as (page, axes):
        axes.imshow(
            part, cmap="gray", vmin=low, vmax=high, interpolation="nearest",
            extent=(-0.5 * d_x, (n_x - 0.5) * d_x, (n_y - 0.5) * d_y, -0.5 * d_y),
        )  # fmt: skip
        squares = places.squares.get(z)
        if squares is not None:
            for (y, x), material in zip(squares.corners, squares.material, strict=True):
                colour = _MATERIAL_COLOURS[int(material) % len(_MATERIAL_COLOURS)]
                size = places.side * d_x, places.side * d_y
                corner = (x - 0.5) * d_x, (y - 0.5) * d_y
                axes.add_patch(Rectangle(corner, *size, fill=False, lw=0.9, ec=colour))
        for rod in places.rods:
            if rod.z == z:
                axes.add_patch(Ring(rod.centre[::-1], rod.radius, fill=False, lw=1.1, ec=_ROD_COLOUR))
        svg = svg_text(page)
    legend = [
        (f"{round(hu)} HU".replace("-", "−"), _MATERIAL_COLOURS[k % len(_MATERIAL_COLOURS)])
        for k, hu in enumerate(places.materials)
        if squares is not None and (squares.material == k).any()
    ]
    if any(rod.z == z for rod in places.rods):
        legend.append(("rods", _ROD_COLOUR))
    return Figure(
        f"Slice {z + 1}",
        svg,
        "Squares of uniform matter, in which noise is measured, and round rods, whose edges tell the "
        "resolution. "
        f"Shown from {low:.0f} to {high:.0f} HU.".replace("-", "−"),
        "CT image with the squares and circles that were measured.",
        tuple(legend),
    )


def object_spectra(arms: Sequence[ObjectMeasurement], material: str, colours: Colours) -> Figure:
    """Radial noise power of one material, at the centre and near the rim."""
    reach = 0.0
    with drawing("noise power (HU² mm²)", "spatial frequency (1/mm)") as (page, axes):
        for k, arm in enumerate(arms):
            for part, style in (("centre", "-"), ("edge", (0, (4, 2)))):
                spectrum = arm.materials[material].spectra.get(part) if material in arm.materials else None
                if spectrum is None:
                    continue
                radial = spectrum.radial
                (line,) = axes.plot(radial.frequencies, radial.power, color=colours[arm.name], ls=style)
                line.set_gid(f"object-spectrum-{part}-{k}")
                reach = max(reach, float(radial.frequencies[-1]))
        axes.set_xlim(0.0, reach or 1.0)
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        f"Noise by frequency at {material}",
        svg,
        "Noise power spectrum of the squares of this material: solid in the inner half of the object, "
        "dashed in the "
        "outer. A peak that moves to the left is coarser, blotchier noise.",
        "Line plot of radial noise power against spatial frequency, at centre and edge, for every image.",
        _legend(arms, colours),
    )


def rod_transfers(arms: Sequence[ObjectMeasurement], kind: str, colours: Colours) -> Figure:
    """Task transfer of the rods of one kind, every rod a line."""
    reach = 0.0
    with drawing("task transfer", "spatial frequency (1/mm)") as (page, axes):
        axes.axhline(0.5, color="#aab3bd", lw=0.9, ls=(0, (4, 3)))
        for k, arm in enumerate(arms):
            for one in arm.rods.get(kind, ()):
                curve(axes, f"rod-{k}", one.frequencies, one.transfer, colours[arm.name])
                reach = max(reach, float(one.frequencies[-1]))
        axes.set_xlim(0.0, reach or 1.0)
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        f"Sharpness of rods of {kind}",
        svg,
        "Task transfer function of every rod of this kind, a line each. A rod that ends or leans within a "
        "slice reads "
        "softer than the scanner is, so the upper lines count.",
        "Line plot of the task transfer function against spatial frequency, one line per rod.",
        _legend(arms, colours),
    )


def truth_transfer_figure(arms: Sequence[ObjectMeasurement], colours: Colours) -> Figure:
    """Transfer from the truth to the image."""
    with drawing("transfer from the truth", "spatial frequency (1/mm)") as (page, axes):
        axes.axhline(0.5, color="#aab3bd", lw=0.9, ls=(0, (4, 3)))
        for k, arm in enumerate(arms):
            if arm.transfer is not None:
                curve(axes, f"truth-{k}", arm.transfer.frequencies, arm.transfer.transfer, colours[arm.name])
                axes.set_xlim(0.0, float(arm.transfer.frequencies[-1]))
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Resolution against the truth",
        svg,
        "What of the object's structure is left at each frequency; noise averages out. Strong edges count "
        "most.",
        "Line plot of the transfer from truth to image against spatial frequency, one line per image.",
        _legend(arms, colours),
    )


def structures_figure(arms: Sequence[ObjectMeasurement], colours: Colours) -> Figure:
    """Measured less true HU of every structure."""
    names = [one.name for one in arms[0].structures]
    with drawing("measured less true (HU)", "") as (page, axes):
        axes.axhline(0.0, color=MUTED, lw=0.9)
        for k, arm in enumerate(arms):
            found = {one.name: one for one in arm.structures}
            there = [j for j, name in enumerate(names) if name in found]
            offset = (k - (len(arms) - 1) / 2) * 0.14
            (dots,) = axes.plot(
                np.array(there) + offset, [found[names[j]].hu - found[names[j]].true_hu for j in there], "o",
                color=colours[arm.name], markersize=4.5,
            )  # fmt: skip
            dots.set_gid(f"structures-{k}")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=7.5)
        svg = svg_text(page)
    return Figure(
        "HU of the structures",
        svg,
        "How far the mean of every structure is from the truth, two pixels and more from its edges.",
        "Dot plot of measured less true HU for every structure, one colour per image.",
        _legend(arms, colours),
    )


def _legend(arms: Sequence[ObjectMeasurement], colours: Colours) -> tuple[tuple[str, str], ...]:
    return tuple((arm.name, colours[arm.name]) for arm in arms)
