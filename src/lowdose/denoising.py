"""One contract for everything that denoises, and the denoising of a whole scan, slice by slice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lowdose.models.card import CARD, ModelCard, bundled_models, load_card
from lowdose.provenance import Step
from lowdose.scan import Scan, Slice

Images = NDArray[np.float32]

IDENTITY = "identity"

N_STREAMS = 2
"""Slices that a network computes side by side: so reading and writing delay one of them, never all cores."""

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


class MethodError(ValueError):
    """One sentence: which method or setting is wrong, and which there are."""


class DenoisingError(RuntimeError):
    """A denoiser gave values that must not become an image."""


class Denoiser(Protocol):
    """What denoises: a network, a filter or an iterative reconstruction, ready for one scan."""

    @property
    def context(self) -> int:
        """How many neighbouring slices it needs on either side."""
        ...

    def __call__(self, hu: Images) -> Images:
        """`(b, 1 + 2 context, y, x)` in HU, with air where nothing was measured, to `(b, 1, y, x)` in HU."""
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


class ModelDenoiser:
    """A trained network with its card, run by OpenVINO. Values outside the trained range pass through."""

    context = 0
    """It looks at single slices."""

    def __init__(self, folder: Path, *, n_streams: int = N_STREAMS) -> None:
        from lowdose.models.runtime import OpenVinoNetwork  # 0.3 s, which filters and --help need not spend

        self.card: ModelCard = load_card(folder)
        self._network = OpenVinoNetwork(folder / "model.onnx", n_streams=n_streams)
        self.n_streams = n_streams

    def __call__(self, hu: Images) -> Images:
        lowest, highest = self.card.trained_range_hu
        scaling = self.card.scaling
        n_y, n_x = hu.shape[2:]
        shown = np.clip(hu, lowest, highest)
        margin = [(0, 0), (0, 0), *((0, -n % self.card.multiple) for n in (n_y, n_x))]
        if any(after for _, after in margin):
            shown = np.pad(shown, margin, mode="edge")
        output = scaling.unscaled(self._network(scaling.scaled(shown)))[:, :, :n_y, :n_x]
        np.clip(output, lowest, highest, out=output)
        outside = (hu < lowest) | (hu > highest)
        if outside.any():
            output[outside] = hu[outside]
        return output

    def describe(self) -> Step:
        card = self.card
        return Step(card.name, {"version": card.version, "network": card.digest, "dose_gain": card.dose_gain})


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
    if settings:
        raise MethodError(f"{method} has no settings, but {', '.join(settings)} was given; leave it out")
    if method != IDENTITY:
        model_folder(method)


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
    return ModelDenoiser(model_folder(method))


def model_folder(method: str) -> Path:
    """The folder of a model given by name or path; MethodError if there is none."""
    bundled = bundled_models()
    if method in bundled:
        return bundled[method]
    folder = Path(method)
    if (folder / CARD).is_file():
        return folder
    raise MethodError(
        f"unknown method '{method}'; it is neither a model folder nor one of "
        f"{', '.join([*bundled, *METHOD_SUMMARIES])}"
    )


def denoise(scan: Scan, denoiser: Denoiser, strength: float = 1.0) -> Scan:
    """`scan` denoised as it is read, slice by slice; padding is not touched.

    `strength` in 0..1 blends linearly: 0 is the scan bit for bit, 1 the denoiser's output. ValueError
    outside.
    """
    if not 0.0 <= strength <= 1.0:
        raise ValueError(f"the strength is {strength:g}; it must be between 0 and 1")
    step = denoiser.describe()
    step = Step(step.name, {**step.parameters, "strength": strength})
    denoised = scan.with_slices(partial(_denoised_slice, scan, denoiser, strength), step)
    cautions = denoiser.card.cautions(scan) if isinstance(denoiser, ModelDenoiser) else ()
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
    output = denoiser((np.stack(shown) if denoiser.context else shown[0][None])[None])[0, 0]
    if output.shape != original.hu.shape or not np.isfinite(output).all():
        raise DenoisingError(f"slice {z}: {denoiser.describe().name} gave values that are not an image")
    if strength != 1.0:
        output = original.hu + np.float32(strength) * (output - original.hu)
    if original.padding.any():
        output = np.where(original.padding, original.hu, output)
    return Slice(output, original.padding)
