"""A report as a value, and the one HTML file it becomes, which needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from lowdose import __version__
from lowdose.figures import INPUT_COLOUR, REFERENCE_COLOUR, RESULT_COLOURS, Figure
from lowdose.provenance import Step, written_whole
from lowdose.report.pixels import pack

STATEMENT = (
    "Research and quality-assurance software. Not a medical device; not CE-marked or FDA-cleared; not for "
    "diagnosis or treatment. Always view together with the original images."
)
MOST_ARMS = 4
"""More images than this side by side are too small to judge."""

Role = Literal["reference", "input", "result"]

_PANE_COLOURS = {
    REFERENCE_COLOUR: "#cfd8e3",
    INPUT_COLOUR: "#f5a860",
    RESULT_COLOURS[0]: "#5bd0e6",
    RESULT_COLOURS[1]: "#c3a5f5",
    RESULT_COLOURS[2]: "#b5d96a",
    RESULT_COLOURS[3]: "#f58fb4",
}
"""The colours of the plots, lightened for the dark image panes."""

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, eq=False)
class Arm:
    """One column of images: `slices` int16 HU `[k, y, x]`, the same k slices in every arm."""

    name: str
    role: Role
    slices: NDArray[np.int16]
    colour: str = REFERENCE_COLOUR


@dataclass(frozen=True)
class KeyFigure:
    """A number that is read before anything else."""

    label: str
    value: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of ready text: words in the first `n_text_columns` and, if `text_last`, the last; else numbers."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    n_text_columns: int = 1
    text_last: bool = False

    def is_text(self, column: int) -> bool:
        """Whether a column, counted from 0, holds words."""
        return column < self.n_text_columns or (self.text_last and column == len(self.header) - 1)


@dataclass(frozen=True)
class Facts:
    """Pairs of a word and what it stands for: a model card, versions of software."""

    title: str
    rows: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything a report says and shows, before it is a page."""

    title: str
    lead: str
    arms: tuple[Arm, ...]
    slice_labels: tuple[str, ...]
    """One per shown slice."""
    subtitle: str = ""
    slices_note: str = "Evenly spaced slices, whole HU, none of their pixels changed."
    key_figures: tuple[KeyFigure, ...] = ()
    figures: tuple[Figure, ...] = ()
    figures_title: str = "Along the scan and across tissues"
    tables: tuple[Table, ...] = ()
    steps: tuple[tuple[str, tuple[Step, ...]], ...] = ()
    """What was done to each named arm, in order."""
    facts: tuple[Facts, ...] = ()
    citations: tuple[str, ...] = ()
    footnotes: tuple[str, ...] = ()
    made: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        if not 1 <= len(self.arms) <= MOST_ARMS:
            raise ValueError(f"the viewer shows 1 to {MOST_ARMS} arms, not {len(self.arms)}")
        shapes = {arm.slices.shape for arm in self.arms}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3:
            raise ValueError(
                f"all arms must have the same slices [k, y, x]; their shapes are {sorted(shapes)}"
            )
        n_shown = self.arms[0].slices.shape[0]
        if n_shown != len(self.slice_labels) or n_shown == 0:
            raise ValueError(f"{n_shown} slices are shown, but there are {len(self.slice_labels)} labels")


def write_report(content: ReportContent, path: Path) -> None:
    """Write `content` to `path` as one HTML file, whole or not at all."""
    page = rendered(content)
    with written_whole(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def rendered(content: ReportContent) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (_FOLDER / "static" / "viewer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # The style sheet, the script and the drawings are ours, not the user's: they alone are not escaped.
    return environment.get_template("report.html.j2").render(
        content=content,
        viewer=_viewer_data(content),
        drawings=[Markup(figure.svg) for figure in content.figures],
        style=Markup((_FOLDER / "static" / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_digest=digest,
        statement=STATEMENT,
        version=__version__,
    )


def _viewer_data(content: ReportContent) -> dict[str, Any]:
    """What `viewer.js` needs; the template writes it as JSON in which no tag can begin."""
    _, n_y, n_x = content.arms[0].slices.shape
    return {
        "height": n_y,
        "width": n_x,
        "labels": list(content.slice_labels),
        "arms": [
            {
                "name": arm.name,
                "role": arm.role,
                "colour": _PANE_COLOURS.get(arm.colour, arm.colour),
                "images": [[packed.data, packed.crc32] for packed in map(pack, arm.slices)],
            }
            for arm in content.arms
        ],
        "range": _extent(content.arms),
    }


def _extent(arms: Sequence[Arm]) -> list[int]:
    """Lowest and highest HU of all arms above −1100, below which there is only padding."""
    inside = [arm.slices[arm.slices > -1100] for arm in arms]
    inside = [values for values in inside if values.size]
    if not inside:
        return [-1024, 3071]
    return [int(min(values.min() for values in inside)), int(max(values.max() for values in inside))]
