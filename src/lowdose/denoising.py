"""One contract for everything that denoises, and the denoising of a whole scan, slice by slice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, inf
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lowdose.models.card import CARD, bundled_models
from lowdose.models.denoiser import DenoisingError, ModelDenoiser, model_card
from lowdose.models.foreign import is_onnx_name
from lowdose.models.tiles import Span
from lowdose.provenance import Step
from lowdose.scan import Scan, Slice

Images = NDArray[np.float32]

IDENTITY = "identity"

METHOD_SUMMARIES: Mapping[str, str] = {
    "gaussian": "Gaussian blur; settings: noise (HU), sigma-px",
    "median": "median of a square; settings: noise (HU), size-px",
    "wiener": "local Wiener filter; settings: noise (HU), size-px, smoothing",
    "total-variation": "total variation, Chambolle 2004; settings: noise (HU), smoothing",
    "non-local-means": "non-local means, Buades 2005; settings: noise (HU), smoothing, patch-px, search-px",
    "iterative-tv": "iterative TV reconstruction from virtual projections; settings: algorithm (fista, "
    "primal-dual, asd-pocs), reduction (share of the noise, 0.5) or target-noise (HU) or regularisation "
    "(mm), for asd-pocs tolerance",
    "sirt": "SIRT from virtual projections; settings: reduction or target-noise (HU) or iterations",
    "os-sart": "ordered-subset SART from virtual projections; settings: as sirt",
    "cgls": "conjugate gradients from virtual projections; settings: as sirt",
    IDENTITY: "changes nothing, to the bit",
}
"""The methods without weights, in one line each."""

COMPARATORS = frozenset({"iterative-tv", "sirt", "os-sart", "cgls"})
"""Those that `lowdose.physics.comparators` makes; see `_is_filter`."""

TEXT_SETTINGS = frozenset({"algorithm"})
"""The settings that are words; all others are numbers."""

MODEL_SETTINGS = frozenset({"memory_mb"})
"""What a network that looks along three axes can be told; others have no settings."""


class MethodError(ValueError):
    """One sentence: which method or setting is wrong, and which there are."""


class Denoiser(Protocol):
    """What denoises: a network, a filter or an iterative reconstruction, ready for one scan."""

    @property
    def context(self) -> int:
        """How many neighbouring slices it needs on either side."""
        ...

    def __call__(self, hu: Images) -> Images:
        """`(b, 1 + 2 context, y, x)` in HU, with air where nothing was measured, to `(b, levels, y, x)`.

        Most have one level; of several, each is denoised more than the one before.
        """
        ...

    def describe(self) -> Step:
        """Its name and parameters, for the history of the scan."""
        ...


@runtime_checkable
class SlabDenoiser(Protocol):
    """What denoises several slices together, because it looks along z as it does along y and x."""

    def slabs(self, shape: tuple[int, int, int]) -> tuple[Span, ...] | None:
        """The slices that it wants to see together, for each slab of a scan of `shape`; None if it is a
        `Denoiser` after all.
        """
        ...

    def of_slab(self, hu: Images, kept: slice) -> Images:
        """The slices `kept` of what becomes of `hu` `(z, y, x)` in HU; air is where nothing was measured."""
        ...

    def describe(self) -> Step:
        """Its name and parameters, for the history of the scan."""
        ...


@dataclass(frozen=True)
class Identity:
    """Changes nothing: shows that reading and writing change nothing either."""

    context: int = 0

    def __call__(self, hu: Images) -> Images:
        return hu

    def describe(self) -> Step:
        return Step(IDENTITY)


def check_method(method: str, settings: Mapping[str, Any]) -> None:
    """MethodError if there is no such method or it has no such settings, before any scan is read."""
    if _is_filter(method):
        from lowdose.filters import default_settings  # see _is_filter

        known = {"noise", *default_settings(method, noise=1.0)}
        unknown = sorted(set(settings) - known)
        if unknown:
            raise MethodError(
                f"{method} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}"
            )
        return
    if method in COMPARATORS:
        from lowdose.physics.comparators import check_settings  # see _is_filter

        try:
            check_settings(method, settings)
        except ValueError as error:
            raise MethodError(str(error)) from None
        return
    possible: frozenset[str] = frozenset() if method == IDENTITY else _settings_of_model(method, settings)
    strange = ", ".join(name for name in settings if name not in possible)
    if strange and possible:
        raise MethodError(f"{method} has no setting {strange}; it has {', '.join(sorted(possible))}")
    if strange:
        raise MethodError(f"{method} has no settings, but {strange} was given; leave it out")
    for name, value in settings.items():
        if not 0 < value < inf:
            raise MethodError(f"{name} is {value}; it must be a number of megabytes")


def _settings_of_model(method: str, settings: Mapping[str, Any]) -> frozenset[str]:
    """What the model called `method` can be told. Its card is read only if that matters."""
    place = model_folder(method)
    return MODEL_SETTINGS if settings and model_card(place).dimensions == 3 else frozenset()


def _is_filter(method: str) -> bool:
    """True for a filter; their module is imported when one is used, a second that networks need not wait."""
    return method in METHOD_SUMMARIES and method not in {IDENTITY, *COMPARATORS}


def make_denoiser(method: str, scan: Scan, settings: Mapping[str, Any] | None = None) -> Denoiser:
    """The denoiser called `method`, or the model in the folder of that name, made ready for `scan`.

    Filters measure the noise level of the scan unless `settings` give it; iterative reconstructions find the
    strength that takes the wanted share of it away, which takes a minute or more. MethodError names what
    there is.
    """
    settings = dict(settings or {})
    if _is_filter(method):
        from lowdose.filters import make_filter  # see _is_filter

        try:
            return make_filter(method, scan, **settings)
        except (TypeError, ValueError) as error:
            raise MethodError(str(error)) from None
    check_method(method, settings)
    if method in COMPARATORS:
        from lowdose.physics.comparators import make_comparator  # see _is_filter

        try:
            return make_comparator(method, scan, **settings)
        except ValueError as error:
            raise MethodError(str(error)) from None
    if method == IDENTITY:
        return Identity()
    return ModelDenoiser(model_folder(method), **settings)


def model_folder(method: str) -> Path:
    """The folder of a model given by name or path, or its ONNX file; MethodError if there is none."""
    bundled = bundled_models()
    if method in bundled:
        return bundled[method]
    place = Path(method)
    if (place / CARD).is_file() or (is_onnx_name(place) and place.is_file()):
        return place
    raise MethodError(
        f"unknown method '{method}'; it is neither a model folder, nor an ONNX file, nor one of "
        f"{', '.join([*bundled, *METHOD_SUMMARIES])}"
    )


def denoise(scan: Scan, denoiser: Denoiser | SlabDenoiser, strength: float = 1.0) -> Scan:
    """`scan` denoised as it is read, slice by slice or slab by slab; padding is not touched.

    `strength` in 0..1 is a place on the way from the scan, bit for bit at 0, through the levels of the
    denoiser to the last of them at 1; in between it is linear. ValueError outside.

    A `SlabDenoiser` keeps the slab it made last: read in order, every slice of `scan` is read once.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"the strength is {strength:g}; it must be between 0 and 1")
    step = denoiser.describe()
    step = Step(step.name, {**step.parameters, "strength": strength})
    slabs = denoiser.slabs(scan.shape) if isinstance(denoiser, SlabDenoiser) else None
    read: Callable[[int], Slice]
    if slabs is None:
        read = partial(_denoised_slice, scan, cast(Denoiser, denoiser), strength)
    else:
        read = _Slabs(scan, cast(SlabDenoiser, denoiser), slabs, strength).read
    denoised = scan.with_slices(read, step)
    cautions = denoiser.cautions(scan) if isinstance(denoiser, ModelDenoiser) else ()
    n_readers = denoiser.n_streams if isinstance(denoiser, ModelDenoiser) else 1
    return replace(denoised, notes=(*scan.notes, *cautions), n_readers=n_readers)


def _denoised_slice(scan: Scan, denoiser: Denoiser, strength: float, z: int) -> Slice:
    original = scan.read(z)
    if strength == 0.0:
        return original
    around = range(z - denoiser.context, z + denoiser.context + 1)
    neighbours = [original if at == z else scan.read(min(max(at, 0), len(scan) - 1)) for at in around]
    shown = [one.without_padding() for one in neighbours]
    # One slice by itself needs no copy.
    levels = denoiser((np.stack(shown) if denoiser.context else shown[0][None])[None])[0]
    return _blended(original, levels, strength, f"slice {z}: {denoiser.describe().name}")


class _Slabs:
    """A scan denoised slab by slab: the slab at hand, and the slices that it was made from."""

    def __init__(self, scan: Scan, denoiser: SlabDenoiser, slabs: tuple[Span, ...], strength: float) -> None:
        self._scan, self._denoiser, self._slabs, self._strength = scan, denoiser, slabs, strength
        longest = max(min(slab.stop, len(scan)) - slab.start for slab in slabs)
        self._shown = np.empty((longest, *scan.shape[1:]), np.float32)
        self._hidden: dict[int, tuple[NDArray[np.bool_], NDArray[np.float32]]] = {}
        """By slice: its padding and the values below it, where it has any."""
        self._read = range(0)
        """Numbers of the slices in `_shown`."""
        self._made = range(0)
        """Numbers of the slices in `_denoised`."""
        self._denoised = self._shown[:0]
        self._lock = Lock()

    def read(self, z: int) -> Slice:
        if self._strength == 0.0:
            return self._scan.read(z)
        with self._lock:
            if z not in self._made:
                self._make(next(slab for slab in self._slabs if slab.first <= z < slab.last))
            levels = self._denoised[z - self._made.start][None].copy()
            return _blended(self._original(z), levels, self._strength, f"slice {z}: {self._name}")

    def _make(self, slab: Span) -> None:
        self._made, self._denoised = range(0), self._shown[:0]  # its memory goes before the next is made
        wanted = range(slab.start, min(slab.stop, len(self._scan)))
        self._gather(wanted)
        made = range(slab.first, min(slab.last, len(self._scan)))
        kept = slice(made.start - wanted.start, made.stop - wanted.start)
        denoised = self._denoiser.of_slab(self._shown[: len(wanted)], kept)
        if denoised.shape != (len(made), *self._scan.shape[1:]):
            raise DenoisingError(f"{self._name} gave values that are not the slices it was shown")
        self._made, self._denoised = made, denoised

    def _gather(self, wanted: range) -> None:
        """Have the slices `wanted` in `_shown`: those that are there move up, the others are read."""
        there, self._read = self._read, range(0)
        common = range(wanted.start, max(min(there.stop, wanted.stop), wanted.start))
        if wanted.start not in there:
            common = range(wanted.start, wanted.start)
        for z in common:
            self._shown[z - wanted.start] = self._shown[z - there.start]
        self._hidden = {z: hidden for z, hidden in self._hidden.items() if z in common}
        for z in range(common.stop, wanted.stop):
            original = self._scan.read(z)
            self._shown[z - wanted.start] = original.without_padding()
            if original.padding.any():
                self._hidden[z] = original.padding, original.hu[original.padding]
        self._read = wanted

    def _original(self, z: int) -> Slice:
        hu = self._shown[z - self._read.start]
        if z not in self._hidden:
            return Slice(hu, np.zeros(hu.shape, bool))
        padding, values = self._hidden[z]
        hu = hu.copy()
        hu[padding] = values
        return Slice(hu, padding)

    @property
    def _name(self) -> str:
        return self._denoiser.describe().name


def _blended(original: Slice, levels: Images, strength: float, who: str) -> Slice:
    """The place `strength` on the way from `original` through `levels`, with its padding as it was."""
    if levels.shape[1:] != original.hu.shape or not np.isfinite(levels).all():
        raise DenoisingError(f"{who} gave values that are not an image")
    place = strength * len(levels)
    if abs(place - round(place)) < 1e-9:  # a third of three levels is the first of them
        place = round(place)
    after = max(ceil(place), 1)
    share = np.float32(1.0 - (after - place))
    before = original.hu if after == 1 else levels[after - 2]
    output = levels[after - 1]
    if share != 1.0:
        output = before + share * (output - before)
    if original.padding.any():
        output = np.where(original.padding, original.hu, output)
    return Slice(output, original.padding)
