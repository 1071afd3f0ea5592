"""Finding a test object in a scan: its axis by its outline, its turn and position by its inserts.

A slice is kept only as what it shows on a few circles round the axis. The position along the stack, the turn
and the side from which the phantom is seen are those at which these circles look most like the layout, all
modules together, so that a missing or faint module does no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, zoom
from scipy.signal import fftconvolve

from lowdose.phantoms.layout import Insert, Layout, Module, Pin
from lowdose.phantoms.pose import Pose
from lowdose.scan import Scan

Floats = NDArray[np.float64]

_N_ANGLES = 720
_COARSE_MM = 1.5
_LIKE_A_DISC = 0.75
"""Share of the disc that must be matter, less that of the ring around it."""
_RING_MM = 6.0
_EDGE_HU = -500.0
_WORST_FIT_MM = 1.5
_BLUR_MM = 1.0
"""Of a slice before it is looked at on a circle."""
_CERTAIN = 0.6
"""Correlation of the circles with the layout, on average, from which on the phantom is recognised."""
_DOUBTFUL = 0.4
"""The same for the worst module that has more than faint rods."""
_FLIP_PENALTY = 0.05
_FAINT = 0.45
"""The same for the turn of a phantom that has nothing but faint rods."""


class NotFoundError(ValueError):
    """One sentence: why the phantom was not found, and how to say by hand where it is."""


@dataclass(frozen=True)
class Outline:
    """The outer circle of the phantom in one slice, in mm."""

    centre: tuple[float, float]
    radius: float


@dataclass(frozen=True)
class Located:
    """A phantom's place in a scan and how sure it is."""

    pose: Pose
    radius: float
    """mm, measured"""
    covered: tuple[int, int]
    """First and last slice that show its outline."""
    likeness: dict[str, float]
    """Correlation with the layout of every module that has something to see, from -1 to 1."""
    notes: tuple[str, ...] = ()


_BY_HAND = "say where it is with --centre, --angle and --slices"


def locate(
    scan: Scan,
    layout: Layout,
    on_slice: Callable[[], None] = lambda: None,
    *,
    centre: tuple[float, float] | None = None,
    angle: float | None = None,
) -> Located:
    """Find the phantom of `layout` in `scan`; every slice is read once.

    What is known already is believed: the `centre` (y, x) of its axis in mm from the first pixel's middle,
    and the `angle` in degrees by which it is turned. NotFoundError if no slice shows its outline, or nothing
    in the scan looks like its inserts.
    """
    any_size = layout.name == "water"
    outlines: dict[int, Outline] = {}
    circles = _Circles(layout, len(scan))
    for z in range(len(scan)):
        hu = scan.read(z).without_padding()
        found = outline(hu, scan.spacing[1:], None if any_size else layout.diameter / 2)
        if found is not None and centre is not None:
            found = Outline(centre, found.radius)
        if found is not None:
            outlines[z] = found
            circles.look(z, hu, scan.spacing[1:], found.centre)
        on_slice()
    if not outlines:
        size = "" if any_size else f" of {layout.diameter:g} mm"
        raise NotFoundError(
            f"{scan.name}: no slice shows a round object{size}: no {layout.title}; {_BY_HAND}"
        )
    step = scan.spacing[0]
    start, lean, radius = _axis(outlines, step)
    covered = min(outlines), max(outlines)
    pose = Pose(start, lean, (covered[0] + covered[1]) / 2 * step, angle or 0.0)
    if not circles.templates or (angle is not None and len(layout.modules) == 1):
        return Located(pose, radius, covered, {})
    if len(layout.modules) == 1:
        return _turned_only(scan, layout, circles, pose, radius, covered)
    pose, likeness = circles.best(pose, step)
    pose = pose if angle is None else replace(pose, angle=angle)
    clear = {name: likeness[name] for name in likeness if circles.modules[name].role != "low contrast"}
    if not clear or np.mean(list(clear.values())) < _CERTAIN or min(clear.values()) < _DOUBTFUL:
        told = ", ".join(f"{name} {value:.2f}" for name, value in likeness.items())
        raise NotFoundError(
            f"{scan.name}: shows a cylinder of {2 * radius:.0f} mm, but what is in it does not look like a "
            f"{layout.title} (correlation: {told or 'nothing to see'}); if it is one, {_BY_HAND}"
        )
    return Located(pose, radius, covered, likeness)


def check_slices(scan: Scan, slices: Mapping[str, tuple[int, int]]) -> None:
    """NotFoundError if the first or last slice of a module is not in `scan`."""
    for name, (first, last) in slices.items():
        if not 0 <= first <= last < len(scan):
            raise NotFoundError(
                f"{scan.name}: has {len(scan)} slices, so {name} cannot be in {first + 1} to {last + 1}"
            )


def placed_by_hand(
    scan: Scan,
    layout: Layout,
    centre: tuple[float, float],
    angle: float,
    slices: Mapping[str, tuple[int, int]],
) -> Located:
    """The phantom where the user says it is: `centre` (y, x) in mm from the first pixel's middle, `angle` in
    degrees, first and last of the `slices` of modules.

    With the slices of two modules its direction is known; with those of one it grows along the stack.
    NotFoundError if the slices are not in the scan.
    """
    check_slices(scan, slices)
    step, known = scan.spacing[0], {module.name: module for module in layout.modules}
    heights = {name: (first + last) / 2 * step for name, (first, last) in slices.items()}
    names = sorted(heights, key=lambda name: known[name].z)
    upwards = len(names) < 2 or heights[names[-1]] >= heights[names[0]]
    height = heights[names[0]] - known[names[0]].z * (1 if upwards else -1)
    covered = min(first for first, _ in slices.values()), max(last for _, last in slices.values())
    return Located(Pose(centre, (0.0, 0.0), height, angle, False, upwards), layout.diameter / 2, covered, {})


def _turned_only(
    scan: Scan, layout: Layout, circles: _Circles, pose: Pose, radius: float, covered: tuple[int, int]
) -> Located:
    """The turn of a phantom that is the same all along its axis; its rods may be lost in the noise."""
    name = layout.modules[0].name
    profile = circles.mean(name, covered[0], covered[1])
    (likeness, angle, mirrored) = max(_matches(profile, circles.templates[name]))
    if likeness < _FAINT:
        note = (
            f"{scan.name}: the rods do not stand out of the noise (correlation {likeness:.2f}), so the "
            "phantom "
            "is taken to stand as its maker wants; give --angle if it does not"
        )
        return Located(pose, radius, covered, {name: likeness}, (note,))
    turned = Pose(pose.centre, pose.lean, pose.height, angle, mirrored)
    return Located(turned, radius, covered, {name: likeness})


def outline(
    hu: NDArray[np.floating], spacing: tuple[float, float], radius: float | None = None
) -> Outline | None:
    """The circle round the phantom in one slice `[y, x]` in HU, or None where there is none.

    `spacing` is the pixel size (y, x) in mm; `radius` in mm is that of the phantom, where it is known, and
    may be off by 4 %. A couch or holder that touches the circle does no harm.
    """
    matter = gaussian_filter(np.asarray(hu, np.float32), [0.7 / d for d in spacing]) > _EDGE_HU
    if radius is None:
        area = float(np.count_nonzero(matter)) * spacing[0] * spacing[1]
        radius = float(np.sqrt(area / np.pi))
        if radius < 5 * max(spacing):
            return None
    first = _best_disc(matter, spacing, radius)
    return None if first is None else _fitted_circle(hu, spacing, first, radius)


def _best_disc(
    matter: NDArray[np.bool_], spacing: tuple[float, float], radius: float
) -> tuple[float, float] | None:
    """The centre in mm of the disc that is most like the matter, with air in the ring around it."""
    coarse_step = max(min(_COARSE_MM, radius / 20), *spacing)
    coarse = zoom(matter.astype(np.float32), [d / coarse_step for d in spacing], order=1, grid_mode=True,
                  mode="grid-constant")  # fmt: skip
    pad = int(np.ceil((_RING_MM + radius / 4) / coarse_step))
    coarse = np.pad(coarse, pad)
    n = int(np.ceil((radius + _RING_MM) / coarse_step))
    y, x = np.mgrid[-n : n + 1, -n : n + 1] * coarse_step
    distance = np.hypot(y, x)
    disc = distance <= radius
    ring = (distance > radius + 1.5 * coarse_step) & (distance <= radius + _RING_MM)
    kernel = disc / disc.sum() - ring / max(ring.sum(), 1)
    # The interior may be empty (a hollow phantom): what counts most is the edge.
    likeness = fftconvolve(coarse, kernel[::-1, ::-1], mode="same")
    at = np.unravel_index(int(likeness.argmax()), likeness.shape)
    if likeness[at] < _LIKE_A_DISC:
        return None
    offsets = [0.5 * coarse_step - 0.5 * d for d in spacing]
    return tuple((int(k) - pad) * coarse_step + o for k, o in zip(at, offsets, strict=True))  # type: ignore[return-value]


def _fitted_circle(
    hu: NDArray[np.floating], spacing: tuple[float, float], centre: tuple[float, float], radius: float
) -> Outline | None:
    """The circle through the points at which rays from the centre leave the matter; outliers are dropped."""
    angles = np.linspace(0.0, 2 * np.pi, 180, endpoint=False)
    reach = max(0.06 * radius, 3 * max(spacing)) + 2 * _COARSE_MM
    distances = np.arange(radius - reach, radius + reach, 0.25 * min(spacing))
    y = (centre[0] + np.outer(np.sin(angles), distances)) / spacing[0]
    x = (centre[1] + np.outer(np.cos(angles), distances)) / spacing[1]
    smooth = gaussian_filter(np.asarray(hu, np.float32), 0.7)
    values = map_coordinates(smooth, [y, x], order=1, mode="constant", cval=-1000.0)
    beyond = values < _EDGE_HU
    # The last crossing from matter to air within the band.
    crossing = beyond[:, 1:] & ~beyond[:, :-1]
    seen = crossing.any(axis=1)
    if np.count_nonzero(seen) < 60:
        return None
    last = crossing.shape[1] - 1 - crossing[:, ::-1].argmax(axis=1)
    rows = np.arange(len(angles))
    inner, outer = values[rows, last], values[rows, last + 1]
    share = (inner - _EDGE_HU) / np.where(inner > outer, inner - outer, 1.0)
    edge = distances[last] + share * (distances[1] - distances[0])
    points = np.stack([centre[0] + edge * np.sin(angles), centre[1] + edge * np.cos(angles)], axis=1)[seen]
    return _circle_through(points, radius)


def _circle_through(points: Floats, radius: float) -> Outline | None:
    """Least squares (Kasa), with what is far off dropped again and again."""
    kept = points
    for _ in range(6):
        design = np.column_stack([2 * kept, np.ones(len(kept))])
        solution = np.linalg.lstsq(design, (kept**2).sum(axis=1), rcond=None)[0]
        centre, found = solution[:2], float(np.sqrt(solution[2] + solution[:2] @ solution[:2]))
        residual = np.hypot(*(points - centre).T) - found
        spread = max(1.4826 * float(np.median(np.abs(residual))), 0.05)
        chosen = points[np.abs(residual) < 3 * spread]
        if len(chosen) == len(kept):
            break
        kept = chosen
    good = abs(found / radius - 1) < 0.04 and spread < _WORST_FIT_MM and len(kept) >= len(points) / 2
    return Outline((float(centre[0]), float(centre[1])), found) if good else None


def _axis(
    outlines: dict[int, Outline], step: float
) -> tuple[tuple[float, float], tuple[float, float], float]:
    """Centre in the first slice, lean and radius: a line through the circles' centres, outliers dropped."""
    heights = np.array([z * step for z in outlines])
    centres = np.array([one.centre for one in outlines.values()])
    radius = float(np.median([one.radius for one in outlines.values()]))
    if len(heights) < 3 or np.ptp(heights) < 10.0:
        middle = np.median(centres, axis=0)
        return (float(middle[0]), float(middle[1])), (0.0, 0.0), radius
    kept = np.ones(len(heights), bool)
    for _ in range(5):
        design = np.column_stack([np.ones(kept.sum()), heights[kept]])
        line = np.linalg.lstsq(design, centres[kept], rcond=None)[0]
        residual = np.hypot(*(centres - line[0] - np.outer(heights, line[1])).T)
        kept = residual <= max(3 * float(np.median(residual)), 0.1)
    (y, x), (lean_y, lean_x) = line.tolist()
    return (y, x), (lean_y, lean_x), radius


class _Circles:
    """What every slice shows on the circles that the modules' inserts lie on."""

    def __init__(self, layout: Layout, n_slices: int) -> None:
        self.modules = {m.name: m for m in layout.modules if m.inserts or m.bars}
        self.distances = {name: _circle_of(module) for name, module in self.modules.items()}
        self.templates = {
            name: _template(module, self.distances[name]) for name, module in self.modules.items()
        }
        self._seen = np.zeros(n_slices, bool)
        self._profiles = {name: np.zeros((n_slices, _N_ANGLES)) for name in self.modules}

    def look(
        self, z: int, hu: NDArray[np.floating], spacing: tuple[float, float], centre: tuple[float, float]
    ) -> None:
        """Keep what slice `z` shows round `centre`."""
        smooth = gaussian_filter(np.asarray(hu, np.float32), [_BLUR_MM / d for d in spacing])
        angles = 2 * np.pi * np.arange(_N_ANGLES) / _N_ANGLES
        self._seen[z] = True
        for name, distance in self.distances.items():
            y = (centre[0] + distance * np.sin(angles)) / spacing[0]
            x = (centre[1] + distance * np.cos(angles)) / spacing[1]
            self._profiles[name][z] = map_coordinates(smooth, [y, x], order=1, mode="nearest")

    def mean(self, name: str, first: int, last: int) -> Floats:
        """The mean circle `[angle]` of a module over slices `first` to `last`."""
        chosen = np.arange(max(first, 0), min(last, len(self._seen) - 1) + 1)
        chosen = chosen[self._seen[chosen]]
        return np.zeros(_N_ANGLES) if not len(chosen) else self._profiles[name][chosen].mean(axis=0)

    def best(self, pose: Pose, step: float) -> tuple[Pose, dict[str, float]]:
        """The pose at which all modules together look most like the layout."""
        n = len(self._seen)
        heights = np.arange(-0.5 * n, 1.5 * n, 0.5) * step
        best, winner = -np.inf, pose
        for mirrored in (False, True):
            # A slice at a time: the mean over half a module would look as much like it as over the whole.
            likeness = {
                name: np.array(
                    [_correlation(one, _as_seen(self.templates[name], mirrored)) for one in profiles]
                )
                for name, profiles in self._profiles.items()
            }
            for upwards in (True, False):
                sums = np.array([self._score(likeness, height, upwards, step) for height in heights])
                # A proper rotation turns left and right where it turns the axis; scans that are flipped in
                # one of them alone must look clearly better to be believed.
                score = sums.max(axis=1) - _FLIP_PENALTY * (upwards == mirrored)
                at = int(score.argmax())
                if score[at] > best:
                    best = float(score[at])
                    angle = _signed(360.0 * _peak(sums[at]) / _N_ANGLES)
                    height = _middle_of_peak(heights, score, at)
                    winner = Pose(pose.centre, pose.lean, height, angle, mirrored, upwards)
        return winner, self._likeness(winner, step)

    def _likeness(self, pose: Pose, step: float) -> dict[str, float]:
        """How much the mean circle of every module that is seen looks like the layout."""
        found = {}
        for name, module in self.modules.items():
            first, last = self._span(module, pose.height_of(module.z), step)
            if first <= last and self._seen[first : last + 1].any():
                profile = self.mean(name, first, last)
                match = _correlation(profile, _as_seen(self.templates[name], pose.mirrored))
                found[name] = float(match[round(pose.angle / 360 * _N_ANGLES) % _N_ANGLES])
        return found

    def _score(self, likeness: Mapping[str, Floats], height: float, upwards: bool, step: float) -> Floats:
        """Sum over the modules of their mean likeness at every turn."""
        total = np.zeros(_N_ANGLES)
        for name, module in self.modules.items():
            first, last = self._span(module, height + (module.z if upwards else -module.z), step)
            if first <= last:
                total += likeness[name][first : last + 1].mean(axis=0)
        return total

    def _span(self, module: Module, height: float, step: float) -> tuple[int, int]:
        """First and last slice around a height that show a module at once; the last below the first if
        none.
        """
        depth = module.bars[0].depth if module.bars else module.depth
        half = max(depth / 2 - step / 2, 0.0)
        first, last = int(np.ceil((height - half) / step - 0.51)), int(np.floor((height + half) / step + 0.5))
        return max(first, 0), min(last, len(self._seen) - 1)


def _circle_of(module: Module) -> float:
    """The distance in mm on which most of a module's inserts, or its bars, lie."""
    items: Sequence[float] = [one.distance for one in module.inserts] or [one.distance for one in module.bars]
    return float(np.median(items))


def _template(module: Module, distance: float) -> Floats:
    """What the circle would show, `[angle]` in HU over the module's own."""
    angles = 360.0 * np.arange(_N_ANGLES) / _N_ANGLES
    circle = np.zeros(_N_ANGLES)
    y, x = distance * np.sin(np.deg2rad(angles)), distance * np.cos(np.deg2rad(angles))
    rods: tuple[Insert | Pin, ...] = (*module.inserts, *module.pins)
    for rod in rods:
        at = rod.place
        circle[np.hypot(y - at[0], x - at[1]) <= rod.diameter / 2] = rod.hu - module.hu
    for group in module.bars:
        away = np.abs(_signed_array(angles - group.angle)) * np.pi / 180 * distance
        circle[away <= group.extent / 2] = 0.5 * (group.hu - module.hu)
    width = _BLUR_MM / (2 * np.pi * distance / _N_ANGLES)
    return np.asarray(gaussian_filter(circle, width, mode="wrap"), np.float64)


def _as_seen(template: Floats, mirrored: bool) -> Floats:
    """The template from the other side: an angle becomes 180 degrees less itself."""
    if not mirrored:
        return template
    return np.roll(template[::-1], _N_ANGLES // 2 + 1)


def _correlation(profile: Floats, template: Floats) -> Floats:
    """Pearson's correlation of a circle with the template turned by every step."""
    a, b = profile - profile.mean(), template - template.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    if norm < 1e-6:
        return np.zeros(_N_ANGLES)
    turned = np.fft.irfft(np.fft.rfft(a) * np.conj(np.fft.rfft(b)), _N_ANGLES)
    return np.asarray(turned / norm, np.float64)


def _matches(profile: Floats, template: Floats) -> list[tuple[float, float, bool]]:
    """The best likeness and turn, seen from either side."""
    found = []
    for mirrored in (False, True):
        match = _correlation(profile, _as_seen(template, mirrored))
        angle = _signed(360.0 * _peak(match) / _N_ANGLES)
        found.append((float(match.max()), angle, mirrored))
    return found


def _peak(curve: Floats) -> float:
    """The place of the highest value of a periodic curve, between its steps by a parabola."""
    top = int(curve.argmax())
    before, at, after = curve[top - 1], curve[top], curve[(top + 1) % len(curve)]
    bend = before - 2 * at + after
    return top + (0.5 * (before - after) / bend if bend < 0 else 0.0)


def _middle_of_peak(heights: Floats, score: Floats, top: int) -> float:
    """The middle of the heights around `top` that are nearly as good: of a module many slices deep."""
    good = score > score[top] - 0.04 * max(abs(score[top]), 1.0)
    first = last = top
    while first > 0 and good[first - 1]:
        first -= 1
    while last < len(score) - 1 and good[last + 1]:
        last += 1
    return float((heights[first] + heights[last]) / 2)


def _signed(angle: float) -> float:
    """`angle` in degrees, from -180 to 180."""
    return float((angle + 180.0) % 360.0 - 180.0)


def _signed_array(angles: Floats) -> Floats:
    return np.asarray((angles + 180.0) % 360.0 - 180.0, np.float64)
