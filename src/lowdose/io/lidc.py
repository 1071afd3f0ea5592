"""Nodules of the XML files of LIDC-IDRI, a sequence of lesions for every reader."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from lowdose.io.origin import COPY_AGAIN, InputError, unreadable
from lowdose.io.scan_grid import ScanGrid
from lowdose.lesions import Box, Lesion, LesionError, check_lesions

NODULE = "nodule"
MOST_BYTES = 64 * 2**20
ROOT = "LidcReadMessage"


def readings_of(path: Path, grid: ScanGrid) -> tuple[list[list[Lesion]], tuple[str, ...]]:
    """What each reader outlined, and what was left aside: nodules under 3 mm, which have no outline.

    An outline runs on the pixels just outside of a nodule (Armato et al., Med Phys 2011;38:915), its box
    between them. Raises InputError for a file that is not such XML, or of another scan.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{grid.label} is larger than {MOST_BYTES >> 20} MB and no reading of nodules")
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError:
        raise InputError(f"{grid.label} is not whole XML; {COPY_AGAIN}") from None
    except OSError as error:
        raise unreadable(grid.label, error) from None
    if _name(root) != ROOT:
        raise InputError(f"{grid.label} is XML, but no reading of LIDC-IDRI (no {ROOT})")
    readings, small = [], 0
    for session in _children(root, "readingSession"):
        lesions = []
        for nodule in _children(session, "unblindedReadNodule"):
            outlines = [one for one in _outlines(nodule, grid) if one is not None]
            small += all(len(list(_children(roi, "edgeMap"))) < 2 for roi in _children(nodule, "roi"))
            boxes: dict[int, tuple[Box, ...]] = {}
            for z, box in outlines:
                boxes[z] = (*boxes.get(z, ()), box)
            if boxes:
                lesions.append(Lesion(NODULE, boxes))
        readings.append(lesions)
    try:
        check_lesions([one for reading in readings for one in reading], grid.scan.shape, grid.label)
    except LesionError as error:
        raise InputError(str(error)) from None
    return readings, (f"{small} marks of nodules under 3 mm",) if small else ()


def outline_box(rows: list[float], columns: list[float]) -> Box:
    """The box within an outline that runs on the pixels around a nodule; on them where nothing is within."""
    (y0, y1), (x0, x1) = (
        (low + 1.0, high) if high - low > 1 else (low, high + 1.0)
        for low, high in ((min(rows), max(rows)), (min(columns), max(columns)))
    )
    return Box(y0, x0, y1, x1)


def _outlines(nodule: ElementTree.Element, grid: ScanGrid) -> Iterator[tuple[int, Box] | None]:
    """Slice and box of each outline; None for what is none."""
    step, first = float(grid.scan.affine[2, 0]), float(grid.scan.affine[2, 3])
    if abs(step) < 0.9 * grid.scan.spacing[0]:
        raise InputError(f"{grid.label} is of axial slices, and those of {grid.scan.name} are not axial")
    for roi in _children(nodule, "roi"):
        points = list(_children(roi, "edgeMap"))
        if len(points) < 2 or _text(roi, "inclusion", grid).upper() == "FALSE":
            yield None
            continue
        rows = [_number(point, "yCoord", grid) for point in points]
        columns = [_number(point, "xCoord", grid) for point in points]
        z = grid.slice_of((_number(roi, "imageZposition", grid) - first) / step)
        yield None if z is None else (z, outline_box(rows, columns))


def _number(element: ElementTree.Element, name: str, grid: ScanGrid) -> float:
    try:
        return float(_text(element, name, grid))
    except ValueError:
        raise InputError(f"{grid.label} has an outline whose {name} is no number; {COPY_AGAIN}") from None


def _text(element: ElementTree.Element, name: str, grid: ScanGrid) -> str:
    found = next(_children(element, name), None)
    if found is None or not (found.text or "").strip():
        raise InputError(f"{grid.label} has an outline without {name}; {COPY_AGAIN}")
    return str(found.text).strip()


def _children(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    return (child for child in element if _name(child) == name)


def _name(element: ElementTree.Element) -> str:
    """Without its name space, which differs between the archive's files."""
    return element.tag.rpartition("}")[2]
