"""Take the trained networks into the package, with what was measured of them on their cards.

    python studies/microct_dose_reduction/card_metrics.py [--work FOLDER]

Reads `results.json` beside this file and, with `--work`, copies the models of that study before.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from measuring import HIGH, LOW, NETWORKS
from study import MODELS, model_of

import lowdose.models.card
from lowdose.models.card import CARD, Metric, load_card
from lowdose.provenance import written_whole

RESULTS = Path(__file__).parent / "results.json"
BUNDLED = Path(lowdose.models.card.__file__).parent / "bundled"
ON = "digital test mice of studies/microct_dose_reduction, scanned at a quarter of the higher dose"


def metrics_of(name: str, results: Mapping[str, Any]) -> tuple[Metric, ...]:
    """The numbers for the card of a network of the study, means over its test mice with intervals."""
    summaries = results["mice"]["summaries"]
    found = summaries[name]
    n_mice = found["noise"]["n"]

    def beside(*keys: str) -> str:
        values = []
        for arm in (LOW, HIGH):
            one: Any = summaries[arm]
            for key in keys:
                one = one[key]
            values.append(f"{arm} {one['mean']:.3g}")
        return f"; {', '.join(values)}"

    def metric(title: str, told: Mapping[str, Any], unit: str, digits: int, protocol: str) -> Metric:
        interval = told["interval"]
        return Metric(
            name=title,
            value=round(told["mean"], digits),
            unit=unit,
            interval=None if interval is None else (round(interval[0], digits), round(interval[1], digits)),
            protocol=f"{protocol}; mean and bootstrap interval over {n_mice} {ON}",
        )

    return (
        metric(
            "noise in flat soft tissue", found["noise"], "HU", 1,
            "standard deviation of the error against the reconstruction without noise" + beside("noise"),
        ),
        metric(
            "shift of muscle", found["bias"]["muscle"], "HU", 1,
            "mean difference to the reconstruction without noise" + beside("bias", "muscle"),
        ),
        metric(
            "contrast of thin vessels kept", found["vessel_contrast_kept"], "", 2,
            "share of their contrast in the reconstruction without noise" + beside("vessel_contrast_kept"),
        ),
        metric(
            "f50 of the transfer from the exact mouse", found["f50"], "1/mm", 2,
            "whole slices; strong edges rule it" + beside("f50"),
        ),
        metric(
            "error in the body", found["rmse_body"], "HU", 1,
            "root mean square against the reconstruction without noise" + beside("rmse_body"),
        ),
    )  # fmt: skip


def conditions(bench: Mapping[str, Any]) -> dict[str, str]:
    """How the scans were taken that a network learned from, in the words of a card."""
    low, high = bench["photons"]
    return {
        "dose_range": f"{low:g} photons a channel and view before the mouse, targets {high:g}, at 50 kV, "
        f"electronic noise of {bench['electronic_noise_photons']:g} photons",
        "kernels": f"Feldkamp with a Hann window, {bench['views']} views",
        "slice_thickness_mm": f"{bench['voxel_mm']:g}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="the work folder of the study, to copy its models from")
    arguments = parser.parse_args()
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    for name in NETWORKS:
        folder = BUNDLED / MODELS[name]
        if arguments.work is not None:
            shutil.copytree(model_of(arguments.work, name), folder, dirs_exist_ok=True)
        card = load_card(folder).model_copy(
            update={"metrics": metrics_of(name, results), **conditions(results["bench"])}
        )
        with written_whole(folder / CARD) as temporary:
            temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
