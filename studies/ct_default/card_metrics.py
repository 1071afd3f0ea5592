"""Put what was measured of the bundled model on its card.

    python studies/ct_default/card_metrics.py

Reads `benchmarks/results/real_pairs.json`, which must speak of the bundled network, and `log.jsonl` beside
this file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lowdose.models.card import CARD, Metric, bundled_models, load_card
from lowdose.provenance import written_whole

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "benchmarks" / "results"


def measured() -> tuple[Metric, ...]:
    """The numbers of the card, from the records of the benchmark and of the training run."""
    record = json.loads((RESULTS / "real_pairs.json").read_text(encoding="utf-8"))
    found = record["numbers"]["methods"]["ct-default"]
    pairs = (
        f"{record['numbers']['pairs']} real full- and quarter-dose pairs of one abdomen, Siemens B30f 3 mm"
    )
    last = json.loads((HERE / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return (
        Metric(
            name="RMSE to the full dose, as a share of the quarter dose's",
            value=round(found["left"], 3),
            unit="",
            protocol=f"window -160 to 240 HU, mean over {pairs}; best tuned filter "
            f"{tuned_best(record):.3f}; benchmarks/real_pairs.py",
        ),
        Metric(
            name="shift of flat soft tissue",
            value=round(found["shift_hu"], 2),
            unit="HU",
            protocol="denoised less quarter dose, flat pixels chosen on the smoothed full dose, "
            f"mean over {pairs}",
        ),
        Metric(
            name="noise in flat soft tissue",
            value=round(found["noise_hu"], 1),
            unit="HU",
            protocol=f"quarter dose {record['numbers']['noise_low_hu']:.1f} HU, full dose "
            f"{record['numbers']['noise_full_hu']:.1f} HU, mean over {pairs}",
        ),
        Metric(
            name="error left on patients held back",
            value=round(last["validation_error"], 3),
            unit="",
            protocol="root of the mean squared error as a share of the noise added, simulated quarter dose "
            "of scans never trained on, 144 patches of 80 px, all HU",
        ),
    )


def tuned_best(record: dict[str, Any]) -> float:
    """The least that a filter tuned on the same pairs leaves."""
    return float(min(row["value"] for row in record["findings"] if row["what"].endswith(", tuned")))


def main() -> None:
    folder = bundled_models()["ct-default"]
    card = load_card(folder).model_copy(update={"metrics": measured()})
    with written_whole(folder / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
