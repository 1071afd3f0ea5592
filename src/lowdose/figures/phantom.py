"""Plots of what was measured in a phantom: where, how sharp, how noisy, how true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.patches import Circle as Ring
from numpy.typing import NDArray

from lowdose.figures.drawing import INK, MUTED, Figure, curve, drawing, image_drawing, svg_text
from lowdose.phantoms.layout import Insert, Module
from lowdose.phantoms.measurement import ArmMeasurement
from lowdose.phantoms.module_measurement import INNER_SHARE, ModuleMeasurement
from lowdose.phantoms.pose import Pose
from lowdose.phantoms.readings import linearity

Colours = Mapping[str, str]

_SHOWN_PX = 340
_REGION_COLOURS = {"insert": "#f5a860", "background": "#5bd0e6", "uniform": "#b5d96a", "bars": "#f58fb4"}


def regions_figure(
    measured: ModuleMeasurement, pose: Pose, spacing: tuple[float, float, float], radius: float
) -> Figure:
    """One image of a module with the regions that were measured drawn on it."""
    module = measured.module
    height = (measured.slices[0] + measured.slices[-1]) / 2 * spacing[0]
    axis = pose.axis_at(height)
    half = 1.06 * radius
    image, extent = _cropped(measured.example, spacing[1:], axis, half)
    low, high = _window(measured)
    with image_drawing() as (page, axes):
        axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="nearest")
        for kind, regions in (
            ("insert", module.inserts), ("background", module.backgrounds), ("uniform", module.uniform),
        ):  # fmt: skip
            share = INNER_SHARE if kind == "insert" else 1.0
            for region in regions:
                y, x = pose.place_of(region, height)
                ring = Ring((x, y), share * region.diameter / 2, fill=False, lw=1.1, ec=_REGION_COLOURS[kind])
                axes.add_patch(ring)
                if kind == "insert" and region.diameter > 9:
                    inwards = 0.5 * region.diameter + 8.0
                    at = pose.place(region.distance - inwards, region.angle, height)
                    axes.text(at[1], at[0], region.name, color="white", fontsize=7, ha="center", va="center")
        for group in module.bars:
            y, x = pose.place(group.distance, group.angle, height)
            size = 0.5 * math.hypot(group.extent, group.length)
            axes.add_patch(Ring((x, y), size, fill=False, lw=0.9, ec=_REGION_COLOURS["bars"]))
        axes.plot([axis[1]], [axis[0]], marker="+", color="white", markersize=8, markeredgewidth=0.9)
        axes.set_xlim(axis[1] - half, axis[1] + half)
        axes.set_ylim(axis[0] + half, axis[0] - half)
        svg = svg_text(page)
    first, last = measured.slices[0] + 1, measured.slices[-1] + 1
    where = f"slice {first}" if first == last else f"slices {first} to {last}"
    present = [
        (words, _REGION_COLOURS[kind])
        for kind, words, there in (
            ("insert", "inserts", module.inserts), ("background", "background", module.backgrounds),
            ("uniform", "uniformity", module.uniform), ("bars", "bars", module.bars),
        )
        if there
    ]  # fmt: skip
    return Figure(
        module.name,
        svg,
        f"{where[0].upper()}{where[1:]}; shown from {_whole(low)} to {_whole(high)} HU. The cross is the "
        "axis that "
        "was found.",
        f"CT image of the module {module.name} with circles on the regions that were measured.",
        tuple(present),
    )


def _cropped(
    image: NDArray[np.float32], spacing: tuple[float, float], axis: tuple[float, float], half: float
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """The image around the axis, pixels averaged down to what a page can show, and its extent in mm."""
    rows, columns = (
        slice(max(0, int((c - half) / d)), int((c + half) / d) + 2)
        for c, d in zip(axis, spacing, strict=True)
    )
    part = image[rows, columns]
    step = max(1, math.ceil(max(part.shape) / (2 * _SHOWN_PX)))
    n_y, n_x = (n // step * step for n in part.shape)
    part = part[:n_y, :n_x].reshape(n_y // step, step, n_x // step, step).mean(axis=(1, 3))
    top, left = (rows.start - 0.5) * spacing[0], (columns.start - 0.5) * spacing[1]
    return part, (left, left + n_x * spacing[1], top + n_y * spacing[0], top)


def _window(measured: ModuleMeasurement) -> tuple[float, float]:
    """HU between which a module is shown: its inserts, or some noise around its body."""
    body = measured.background.mean
    if math.isnan(body):
        body = float(np.mean([one.mean for one in measured.circles.values()] or [measured.module.hu]))
    contrasts = [abs(one.hu - measured.module.hu) for one in measured.module.inserts]
    reach = 80.0 if measured.module.role in ("low contrast", "uniformity") else 500.0
    if measured.module.bars:
        reach = 900.0
    return body - max(reach, 0.0 if not contrasts else min(max(contrasts), reach)), body + reach


def linearity_figure(arms: Sequence[ArmMeasurement], name: str, colours: Colours) -> Figure:
    """Measured less nominal HU of every insert, and the bands in which they pass."""
    with drawing("measured less nominal (HU)", "nominal (HU)") as (page, axes):
        axes.axhline(0.0, color=MUTED, lw=0.9)
        inserts = arms[0].of(name).module.inserts
        for insert in inserts:
            if insert.band is not None:
                low, high = insert.band
                axes.vlines(insert.hu, low - insert.hu, high - insert.hu, color="#dfe4e9", lw=9, zorder=0)
        for k, arm in enumerate(arms):
            found = arm.of(name)
            known = [one for one in found.module.inserts if one.name in found.circles]
            (dots,) = axes.plot(
                [one.hu for one in known], [found.circles[one.name].mean - one.hu for one in known], "o",
                color=colours[arm.name], markersize=4.5,
            )  # fmt: skip
            dots.set_gid(f"linearity-{k}")
        svg = svg_text(page)
    line = linearity(arms[0].of(name))
    told = "" if line is None else (
        f" The line of the first image: slope {line.slope:.4f}, intercept {_signed(line.intercept, 1)} HU."
    )  # fmt: skip
    return Figure(
        "HU linearity",
        svg,
        "How far every insert is from its nominal HU; the grey bars are the ranges in which it "
        f"passes.{told}",
        "Dot plot of measured less nominal HU against nominal HU, one colour per image.",
        _legend(arms, colours),
    )


def transfer_figure(arms: Sequence[ArmMeasurement], name: str, item: str, colours: Colours) -> Figure:
    """Task transfer of one insert, in every arm that shows it clearly."""
    shown = [arm for arm in arms if item in arm.of(name).transfers]
    with drawing("task transfer", "spatial frequency (1/mm)") as (page, axes):
        axes.axhline(0.5, color="#aab3bd", lw=0.9, ls=(0, (4, 3)))
        for k, arm in enumerate(shown):
            found = arm.of(name).transfers[item]
            curve(axes, f"transfer-{k}", found.frequencies, found.transfer, colours[arm.name])
        axes.set_xlim(0.0, float(shown[0].of(name).transfers[item].frequencies[-1]))
        axes.set_ylim(0.0, None)
        svg = svg_text(page)
    contrast = shown[0].of(name).transfers[item].contrast
    return Figure(
        f"Sharpness at {_signed(contrast)} HU",
        svg,
        f"Task transfer function of the insert “{item}”: what is left of the contrast at each frequency, at "
        "this "
        "contrast and this noise. Of a nonlinear method every contrast has its own.",
        "Line plot of the task transfer function against spatial frequency, one line per image.",
        _legend(shown, colours),
    )


def sharpness_by_contrast(arms: Sequence[ArmMeasurement], name: str, colours: Colours) -> Figure | None:
    """f50 of every insert against its contrast; None where fewer than two inserts tell it."""
    with drawing("f50 (1/mm)", "contrast of the insert (HU)") as (page, axes):
        n, highest = 0, 0.1
        for k, arm in enumerate(arms):
            found = sorted(
                (one.contrast, one.f50) for one in arm.of(name).transfers.values() if not math.isnan(one.f50)
            )
            n = max(n, len(found))
            if found:
                x, y = np.array(found).T
                highest = max(highest, float(y.max()))
                (line,) = axes.plot(x, y, "o-", color=colours[arm.name], markersize=4.5, lw=1.0)
                line.set_gid(f"f50-{k}")
        axes.set_xscale("symlog", linthresh=30.0)
        ticks = [-1000, -300, -100, -30, 30, 100, 300, 1000]
        axes.set_xticks(ticks, [f"{t}".replace("-", "−") for t in ticks])
        axes.minorticks_off()
        axes.set_ylim(0.0, 1.15 * highest)
        svg = svg_text(page)
    if n < 2:
        return None
    return Figure(
        "Sharpness by contrast",
        svg,
        "The frequency at which half of the contrast is left, insert by insert. A linear method has one line "
        "straight across; one that smooths faint edges more than strong ones falls towards the middle.",
        "Plot of f50 against the contrast of the insert, one line per image.",
        _legend(arms, colours),
    )


def spectra_figure(arms: Sequence[ArmMeasurement], name: str, colours: Colours) -> Figure:
    """Radial noise power at the centre and the edge of a module."""
    with drawing("noise power (HU² mm²)", "spatial frequency (1/mm)") as (page, axes):
        reach = 0.0
        for k, arm in enumerate(arms):
            for part, style in (("centre", "-"), ("edge", (0, (4, 2)))):
                spectrum = arm.of(name).spectra.get(part)
                if spectrum is None:
                    continue
                radial = spectrum.radial
                (line,) = axes.plot(radial.frequencies, radial.power, color=colours[arm.name], ls=style)
                line.set_gid(f"spectrum-{part}-{k}")
                reach = max(reach, float(radial.frequencies[-1]))
        axes.set_xlim(0.0, reach)
        axes.set_ylim(bottom=0.0)
        svg = svg_text(page)
    return Figure(
        "Noise by frequency",
        svg,
        f"Noise power spectrum in {name}, averaged over directions: solid at the centre, dashed at the "
        "edge. A peak "
        "that moves to the left is coarser, blotchier noise.",
        "Line plot of radial noise power against spatial frequency, at centre and edge, for every image.",
        _legend(arms, colours),
    )


def plane_spectrum_figure(measured: ModuleMeasurement, arm: str, colours: Colours) -> Figure:
    """The noise power spectrum of the centre as a picture of the frequency plane."""
    spectrum = measured.spectra["centre"]
    power = np.fft.fftshift(spectrum.power)
    reach = 0.5 * spectrum.side / (spectrum.side - 1) * float(spectrum.radial.frequencies[-1]) * 2
    first = -reach * (1 + 1 / spectrum.side)  # the left edge of the pixel of the lowest frequency
    last = first + 2 * reach
    with image_drawing(shows_axes=True) as (page, axes):
        axes.imshow(power, cmap="magma", vmin=0.0, vmax=float(np.quantile(power, 0.999)),
                    extent=(first, last, last, first), interpolation="nearest")  # fmt: skip
        axes.set_xlabel("across (1/mm)", color=MUTED)
        axes.set_ylabel("down (1/mm)", color=MUTED)
        svg = svg_text(page)
    return Figure(
        "Noise in all directions",
        svg,
        f"Two-dimensional noise power spectrum at the centre of {measured.module.name}, bright where there "
        "is most "
        "power. Spokes are streaks, a cross is noise that follows rows and columns.",
        "Picture of the two-dimensional noise power spectrum.",
        ((arm, colours[arm]),),
    )


def bars_figure(arms: Sequence[ArmMeasurement], name: str, colours: Colours) -> Figure:
    """Modulation transfer of the bar patterns."""
    with drawing("modulation transfer", "line pairs per cm") as (page, axes):
        for k, arm in enumerate(arms):
            groups = sorted(arm.of(name).bars.values())
            frequencies = [10 * group.frequency for group in groups]
            bars = axes.errorbar(
                frequencies, [group.transfer for group in groups], yerr=[group.noise for group in groups],
                color=colours[arm.name], marker="o", markersize=4.0, lw=1.4, elinewidth=0.9,
            )  # fmt: skip
            bars.lines[0].set_gid(f"bars-{k}")
        axes.set_ylim(bottom=0.0)
        axes.set_xlim(left=0.0)
        svg = svg_text(page)
    return Figure(
        "Line pairs",
        svg,
        "What is left of the modulation of every group of bars, free of what noise adds; whiskers are one "
        "standard "
        "deviation of noise. Groups finer than the pixels can show are left out.",
        "Plot of modulation transfer against line pairs per cm, one line per image.",
        _legend(arms, colours),
    )


def uniformity_figure(arms: Sequence[ArmMeasurement], name: str, colours: Colours) -> Figure:
    """Mean HU of the five regions, each arm with its noise as a whisker."""
    regions = [one.name for one in arms[0].of(name).module.uniform]
    with drawing("mean (HU)", "") as (page, axes):
        for k, arm in enumerate(arms):
            found = arm.of(name)
            there = [j for j, region in enumerate(regions) if region in found.circles]
            offset = (k - (len(arms) - 1) / 2) * 0.12
            means = [found.circles[regions[j]].mean for j in there]
            noises = [found.circles[regions[j]].noise for j in there]
            bars = axes.errorbar(
                [j + offset for j in there], means, yerr=noises, fmt="o", color=colours[arm.name],
                markersize=4.5, elinewidth=0.9, capsize=2.0,
            )  # fmt: skip
            bars.lines[0].set_gid(f"uniformity-{k}")
        axes.set_xticks(range(len(regions)), regions)
        svg = svg_text(page)
    return Figure(
        "Uniformity",
        svg,
        f"Mean HU at the centre and the edges of {name}; the whiskers are the noise, one standard deviation.",
        "Dot plot of mean HU in five regions with noise whiskers, one colour per image.",
        _legend(arms, colours),
    )


def low_contrast_figure(arms: Sequence[ArmMeasurement], name: str, colours: Colours) -> Figure:
    """Contrast of the faint rods over the noise, by diameter."""
    module = arms[0].of(name).module
    with drawing("measured contrast (HU)", "diameter of the rod (mm)") as (page, axes):
        nominal = sorted({(one.diameter, one.hu - module.hu) for one in module.inserts})
        axes.plot([d for d, _ in nominal], [c for _, c in nominal], "_", color=INK, markersize=13, zorder=1)
        for k, arm in enumerate(arms):
            found = arm.of(name)
            shown = [one for one in module.inserts if one.name in found.contrasts]
            contrasts = [found.contrasts[one.name] for one in shown]
            errors = [_standard_error(found, one) for one in shown]
            offset = (k - (len(arms) - 1) / 2) * 0.12
            bars = axes.errorbar(
                [one.diameter + offset for one in shown], contrasts, yerr=errors, fmt="o", markersize=4.0,
                color=colours[arm.name], elinewidth=0.8,
            )  # fmt: skip
            bars.lines[0].set_gid(f"contrast-{k}")
        svg = svg_text(page)
    return Figure(
        "Low contrast",
        svg,
        "Contrast of every faint rod over what is right around it; black dashes are nominal. Whiskers: one "
        "standard "
        "error "
        "as if pixels were independent, so that true ones are longer where noise is coarse.",
        "Dot plot of measured contrast against rod diameter, one colour per image.",
        _legend(arms, colours),
    )


def _standard_error(measured: ModuleMeasurement, insert: Insert) -> float:
    circle = measured.circles[insert.name]
    return circle.noise / math.sqrt(max(circle.n_pixels * measured.n_images, 1))


def shows_faint_rods(module: Module) -> bool:
    """Whether a module's inserts are there to be barely seen."""
    return module.role == "low contrast" and bool(module.inserts)


def _whole(value: float) -> str:
    return f"{value:.0f}".replace("-", "−")


def _signed(value: float, digits: int = 0) -> str:
    return f"{value:+.{digits}f}".replace("-", "−")


def _legend(arms: Sequence[ArmMeasurement], colours: Colours) -> tuple[tuple[str, str], ...]:
    return tuple((arm.name, colours[arm.name]) for arm in arms)
