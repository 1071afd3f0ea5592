"""Controls: what the search says of a method that changes nothing, and of one that forgets everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lowdose.denoising import Identity
from lowdose.invariances.candidates import Place, most_ignored
from lowdose.invariances.direct import Search, directly_found
from lowdose.invariances.evidence import CONVICTED, Gate
from lowdose.invariances.noisy_slice import NoisySlice
from lowdose.invariances.response import local_method
from lowdose.invariances.windows import bodily_windows
from lowdose.provenance import Step
from lowdose.quality.structural_change import Window, noise_null

Images = NDArray[np.float32]


class Constant:
    """Gives one value everywhere: a control that ignores everything."""

    context = 0

    def __call__(self, hu: Images) -> Images:
        return np.full_like(hu, -300.0)

    def describe(self) -> Step:
        return Step("constant")


def controlled(level: NoisySlice, window: Window, search: Search) -> tuple[float, float]:
    """The largest ignored change with what changes nothing, and with what forgets everything."""
    found = []
    for control in (Identity(), Constant()):
        outputs = np.stack([control(one[None, None])[0, 0] for one in level.inputs])
        null = noise_null(outputs, level.of_input.sigma_px, bodily_windows(level.anatomy))
        local = local_method(control, level.low[0], level.z, window)
        place = Place(local, local(local.input[None])[0], level.z, window, level.of_input, null)
        best = most_ignored(directly_found(place, search))[:1]
        found.append(best[0].change.structural if best else 0.0)
    return found[0], found[1]


def control_gates(controls: Sequence[tuple[float, float]]) -> tuple[Gate, Gate]:
    identity, constant = max(one for one, _ in controls), min(other for _, other in controls)
    return (
        Gate(
            "control: changes nothing", f"{identity:.2f}", f"below {CONVICTED:g}", identity < CONVICTED,
            "A method that gives its input back ignores nothing; the search must not say otherwise.",
        ),
        Gate(
            "control: forgets everything", f"{constant:.2f}", f"at least {CONVICTED:g}",
            constant >= CONVICTED,
            "A method that gives one value everywhere ignores everything; the search must find that.",
        ),
    )  # fmt: skip
