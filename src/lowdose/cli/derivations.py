"""How the header of a derived series says what a command did."""

from __future__ import annotations

from lowdose import __version__
from lowdose.denoising import COMPARATORS, IDENTITY, Denoiser
from lowdose.io import SIMULATED, Derivation
from lowdose.models.denoiser import ModelDenoiser

_NAME_AND_SHARE = 21
"""Characters of a marker of 32 that are left for a method's name and its strength."""


def denoising_derivation(denoiser: Denoiser, strength: float) -> Derivation:
    """What `denoise` writes into the header: method, version, digest and strength."""
    step = denoiser.describe()
    share = f"s{strength:.2g}"
    # A model of one's own may have any legal name; the marker must fit beside the source's description.
    marker = f"[lowdose {step.name[: _NAME_AND_SHARE - len(share)]} {share}]"
    told = ", ".join(f"{name} {value}" for name, value in step.parameters.items())
    description = f"lowdose {__version__}: {step.name} ({told or 'no settings'}), strength {strength:g}."
    if step.name == IDENTITY:
        return Derivation(marker, description, ("ID001", "Identity: pixel values unchanged"), "IDENTITY", 10)
    if isinstance(denoiser, ModelDenoiser):
        return Derivation(marker, description, ("DN001", "Noise reduction by neural network"), "DENOISED", 20)
    if step.name in COMPARATORS:
        code = ("DN003", "Iterative reconstruction from virtual projections")
        return Derivation(marker, description, code, "ITERATIVE", 35)
    return Derivation(marker, description, ("DN002", "Noise reduction by filter"), "FILTERED", 30)


def simulation_derivation(fraction: float, seed: int) -> Derivation:
    """What `simulate` writes into the header."""
    description = (
        f"lowdose {__version__}: noise added as at {fraction:.4g} of the dose, seed {seed}. SIMULATED."
    )
    marker = f"[lowdose dose {fraction:.3g} sim]"
    return Derivation(marker, description, ("LD001", SIMULATED), "LOWDOSE_SIM", 40)


def insertion_derivation(kind: str, number: int, seed: int) -> Derivation:
    """What `lesions insert` writes into the header."""
    description = f"lowdose {__version__}: {number} lesions inserted ({kind}), seed {seed}. SIMULATED."
    return Derivation(
        f"[lowdose {number} {kind[:12]} sim]", description, ("LI001", SIMULATED), "LESIONS_SIM", 45
    )
