"""The scans of the study: examples to learn from, and low doses of the test scans with lesions planted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from experiments import GENERAL, N_LESIONS, N_SLICES, SEED, TRAINING

from lowdose.denoising import make_denoiser
from lowdose.invariances.examples import Examples, MakeMethod, make_examples
from lowdose.io import only_scan


def general_methods() -> dict[str, MakeMethod]:
    return {
        name: partial(make_denoiser, method, settings=settings)
        for name, (method, settings) in GENERAL.items()
    }


def examples(data: Path, work: Path, methods: dict[str, MakeMethod], shorter: int = 1) -> list[Examples]:
    """Of every training patient, with what `methods` make of them; what is there is not made again."""
    found = []
    for patient, path in TRAINING.items():
        print(f"examples of {patient}: {', '.join(methods)}", flush=True)
        with only_scan(data / path) as scan:
            found.append(
                make_examples(
                    scan, methods, work / "examples" / patient, n_slices=max(4, N_SLICES // shorter),
                    n_lesions=max(4, N_LESIONS // shorter), seed=SEED,
                )
            )  # fmt: skip
    return found


if __name__ == "__main__":
    import sys

    examples(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), general_methods())
