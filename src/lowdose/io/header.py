"""What the survey keeps of one DICOM file: is it a CT slice, where does it lie, how are its pixels stored?

Values come from the raw elements: pydicom's conversion is several times slower, warns of every odd value and
trusts the VR, which is wrong often enough for padding values.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.tag import Tag
from pydicom.uid import UID

from lowdose.io.codecs import COMPRESSED, JPEG_EXTENDED, LOSSY, UNCOMPRESSED
from lowdose.io.dicom import DamagedImageError, PixelElement, read_header
from lowdose.io.origin import COPY_AGAIN, EXPORT_AGAIN, LEAVE_OUT, InputError, one_line

CODING_SCHEME = "99LOWDOSE"
"""Of the derivation code of our own derived series, which are not taken as input again."""

SIMULATED = "Simulated lower dose"
"""The meaning of the one code of ours whose series is a scan to work on: nothing was taken from it."""

MAX_SIDE = 4096
"""Pixels along one side of an image."""

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
_RESCALE_AGAIN = "export the series again with its rescale slope and intercept"
_MULTI_FRAME_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
_DICOMDIR = "1.2.840.10008.1.3.10"

_LOCALIZERS = frozenset({"LOCALIZER", "SCOUT", "SURVIEW", "TOPOGRAM", "SCANOGRAM"})
_COMPUTED = """
    MIP MINIP MPR MPVR CPR VRT SSD 3D REFORMATTED PROJECTION RENDERED SUBTRACTION DSA SCREEN FUSION
    MONO MONOE VMI MONOENERGETIC MATERIAL IODINE WATER CALCIUM VNC VUE ZEFF EFFECTIVE ELECTRON
    PERFUSION CBF CBV MTT TTP TMAX TTD PARAMETRIC
"""
_NOT_A_SCAN = frozenset(_COMPUTED.split())
"""Words of ImageType, from its third value on, of images that no longer have a scan's noise or its HU."""

_KEYWORDS = """
    SpecificCharacterSet ImageType SOPClassUID SOPInstanceUID Modality Manufacturer SeriesDescription
    ManufacturerModelName DerivationCodeSequence PatientID BodyPartExamined ScanOptions SliceThickness KVP
    XRayTubeCurrent Exposure DistanceSourceToDetector DistanceSourceToPatient ConvolutionKernel
    StudyInstanceUID SeriesInstanceUID SeriesNumber AcquisitionNumber
    ImagePositionPatient ImageOrientationPatient FrameOfReferenceUID TemporalPositionIdentifier
    NominalPercentageOfCardiacPhase
    SamplesPerPixel PhotometricInterpretation NumberOfFrames Rows Columns PixelSpacing BitsAllocated
    BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept
    RescaleSlope RescaleType LossyImageCompression BurnedInAnnotation
"""
_TAGS = {keyword: int(Tag(keyword)) for keyword in _KEYWORDS.split()}
_TAG_LIST = tuple(_TAGS.values())


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How stored values become HU: `slope * stored + intercept`."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    signed: bool
    slope: float
    intercept: float
    padding: tuple[int, int] | None
    """Lowest and highest stored value that mean "nothing was measured here"."""
    foreign_padding: int | None
    """A padding word that needs more bits than are stored: a pixel that holds it can't be read."""
    syntax: str


@dataclass(frozen=True, slots=True)
class SeriesFacts:
    """What slices of one stack have in common; one object serves all of them."""

    series_uid: str
    study_uid: str
    patient_id: str
    description: str
    series_number: int | None
    frame_of_reference: str
    image_type: str
    orientation: tuple[float, ...]
    """Direction cosines of a row, then of a column, LPS."""
    pixel_spacing: tuple[float, ...]
    """mm between rows, then between columns."""
    slice_thickness: float | None
    kernel: str | None
    acquisition_number: int | None
    temporal_position: int | None
    cardiac_phase: float | None
    kvp: float | None
    manufacturer: str | None
    model: str | None
    body_part: str | None
    source_to_detector: float | None
    """mm"""
    source_to_axis: float | None
    """mm; scanners write it as the distance from source to patient"""
    lossy: bool
    burned_in: bool


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """The record of one CT slice, about a kilobyte; `facts` and `format` are shared between slices."""

    path: str
    label: str
    """How messages call the file."""
    facts: SeriesFacts
    format: PixelFormat
    position: tuple[float, ...]
    """Centre of the first pixel, LPS, mm."""
    tube_current: float | None
    """mA"""
    exposure: float | None
    """mAs"""
    offset: int
    length: int | None
    deflated: bool
    big_endian: bool


@dataclass(frozen=True, slots=True)
class NotAScan:
    """The file is left aside: it is no CT slice."""

    reason: str


@dataclass(frozen=True, slots=True)
class FaultySlice:
    """The file is a CT slice that can't be used, so neither can its series."""

    series_uid: str
    description: str
    sentence: str


def read_slice_header(
    path: Path, label: str, pool: dict[Any, Any], *, own: bool = False
) -> SliceHeader | NotAScan | FaultySlice:
    """The record of one file; equal facts are shared through `pool`; `own` lets our derived images in.

    Raises InputError for a file whose header can't be read, NotDicomError for other files.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd values: they are judged here
        return _slice_header(path, label, pool, own)


def _slice_header(
    path: Path, label: str, pool: dict[Any, Any], own: bool
) -> SliceHeader | NotAScan | FaultySlice:
    damage = None
    try:
        dataset, pixels = read_header(path, label, _TAG_LIST)
    except DamagedImageError as error:
        dataset, pixels, damage = error.dataset, None, str(error)
    elements = _Elements(dataset)
    reason = _why_left_aside(elements, whole=pixels is not None or damage is not None)
    if reason is None and not own and _is_our_own(dataset):
        reason = "a derived series of this program: give it the original"
    if reason is not None:
        return NotAScan(reason)
    if damage is not None:
        return FaultySlice(elements.text("SeriesInstanceUID"), _description(elements, dataset), damage)
    try:
        if pixels is None:
            raise InputError(f"has no pixel data: it is cut short or only a header; {COPY_AGAIN}")
        facts = _series_facts(elements, dataset)
        pixel_format = _pixel_format(elements, pixels)
        position = elements.numbers("ImagePositionPatient", 3)
        if position is None:
            raise InputError(
                f"does not say where it lies (ImagePositionPatient), so it can't be sorted; {EXPORT_AGAIN}"
            )
        if not elements.text("SOPInstanceUID"):
            raise InputError(f"does not say which image it is (SOPInstanceUID); {EXPORT_AGAIN}")
    except InputError as error:
        uid, description = elements.text("SeriesInstanceUID"), _description(elements, dataset)
        return FaultySlice(uid, description, f"{one_line(label)} {error}")
    return SliceHeader(
        str(path),
        label,
        pool.setdefault(facts, facts),
        pool.setdefault(pixel_format, pixel_format),
        position,
        elements.number("XRayTubeCurrent"),
        elements.number("Exposure"),
        pixels.offset,
        pixels.length,
        pixels.deflated,
        pixels.big_endian,
    )


class _Elements:
    """Raw elements of one header as text and numbers; what can't be read is as good as absent."""

    def __init__(self, dataset: FileDataset) -> None:
        self._meta = dataset.file_meta
        # Taken now: looking into a sequence makes pydicom replace raw elements, PixelRepresentation for one.
        self._raw = {tag: dataset.get_item(tag, keep_deferred=True) for tag in _TAG_LIST if tag in dataset}

    def raw(self, keyword: str) -> tuple[bytes, bool] | None:
        """Value and byte order (true for little endian), None if absent or empty."""
        element = self._raw.get(_TAGS[keyword])
        value = getattr(element, "value", None)
        if not isinstance(value, bytes) or not value:
            return None
        return value, bool(getattr(element, "is_little_endian", True))

    def meta(self, keyword: str) -> str:
        """A UID of the file meta group."""
        value = getattr(self._meta.get_item(Tag(keyword), keep_deferred=True), "value", None) or ""
        return (value.decode("latin-1") if isinstance(value, bytes) else str(value)).strip(" \0")

    def text(self, keyword: str) -> str:
        raw = self.raw(keyword)
        return "" if raw is None else raw[0].decode("latin-1").strip(" \0")

    def numbers(self, keyword: str, count: int) -> tuple[float, ...] | None:
        """Exactly `count` finite numbers of a text element, or None."""
        try:
            values = tuple(float(part) for part in self.text(keyword).split("\\"))
        except ValueError:
            return None
        return values if len(values) == count and all(map(math.isfinite, values)) else None

    def number(self, keyword: str) -> float | None:
        values = self.numbers(keyword, 1)
        return None if values is None else values[0]

    def whole(self, keyword: str) -> int | None:
        """A whole number of a text element."""
        value = self.number(keyword)
        return int(value) if value is not None and value == int(value) else None

    def word(self, keyword: str) -> int | None:
        """The unsigned 16-bit value of a binary element, whatever its VR says."""
        raw = self.raw(keyword)
        if raw is None or len(raw[0]) != 2:
            return None
        return int.from_bytes(raw[0], "little" if raw[1] else "big")


def _why_left_aside(elements: _Elements, *, whole: bool) -> str | None:
    classes = [elements.text("SOPClassUID"), elements.meta("MediaStorageSOPClassUID")]
    # Of a file that is cut short, the class in front is the one that is whole.
    sop_class = next(filter(None, classes if whole else reversed(classes)), "")
    modality = elements.text("Modality")
    if sop_class in _MULTI_FRAME_CT:
        return "enhanced (multi-frame) CT is not supported yet: export it as classic single-slice CT"
    if sop_class == _DICOMDIR:
        return "the index of a medium (DICOMDIR), not an image"
    if sop_class != CT_IMAGE:
        kind = UID(sop_class).name if sop_class else "a DICOM file that does not say what it is"
        return f"not a CT image: {one_line(kind, 80)}"
    if modality not in ("CT", ""):
        return f"not a CT image: its modality is {one_line(modality, 16)}"
    words = elements.text("ImageType").upper().replace("_", " ").split("\\")
    first = set(elements.text("ScanOptions").upper().replace("\\", " ").split())
    if _LOCALIZERS & (first | {word for value in words for word in value.split()}):
        return "a localizer (scout) image"
    derived = sorted(_NOT_A_SCAN & {word for value in words[2:] for word in value.split()})
    if derived:
        return f"a reformatted, projected or computed image (ImageType has {derived[0]}), not a scan"
    return None


def _is_our_own(dataset: FileDataset) -> bool:
    """True for what we have denoised; a dose that we have simulated is a scan like any other."""
    try:
        items = dataset.get("DerivationCodeSequence") or []
        ours = (item for item in items if item.get("CodingSchemeDesignator") == CODING_SCHEME)
        return any(item.get("CodeMeaning") != SIMULATED for item in ours)
    except Exception:  # a damaged sequence raises what it likes, and is none of ours
        return False


def _description(elements: _Elements, dataset: FileDataset) -> str:
    try:
        return one_line(str(dataset.get("SeriesDescription") or ""), 64)
    except Exception:  # an unknown character set, or a VR that is no text
        return one_line(elements.text("SeriesDescription"), 64)


def _distance(elements: _Elements, keyword: str) -> float | None:
    """A distance in mm; zero and below are as good as absent."""
    value = elements.number(keyword)
    return value if value is not None and value > 0 else None


def _series_facts(elements: _Elements, dataset: FileDataset) -> SeriesFacts:
    series_uid, study_uid = elements.text("SeriesInstanceUID"), elements.text("StudyInstanceUID")
    if not series_uid:
        raise InputError(f"does not say which series it belongs to (SeriesInstanceUID); {EXPORT_AGAIN}")
    if not study_uid:
        raise InputError(f"does not say which study it belongs to (StudyInstanceUID); {EXPORT_AGAIN}")
    orientation = elements.numbers("ImageOrientationPatient", 6)
    if orientation is None:
        raise InputError(f"does not say how it lies (ImageOrientationPatient); {EXPORT_AGAIN}")
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    if abs(row @ row - 1) > 0.01 or abs(column @ column - 1) > 0.01 or abs(row @ column) > 0.01:
        raise InputError(
            f"has an ImageOrientationPatient that is not two perpendicular unit vectors; {EXPORT_AGAIN}"
        )
    spacing = elements.numbers("PixelSpacing", 2)
    if spacing is None or min(spacing) <= 0:
        raise InputError(f"does not say how large its pixels are (PixelSpacing); {EXPORT_AGAIN}")
    thickness, kvp = elements.number("SliceThickness"), elements.number("KVP")
    lossy = elements.text("LossyImageCompression")
    syntax = elements.meta("TransferSyntaxUID")
    return SeriesFacts(
        series_uid,
        study_uid,
        elements.text("PatientID"),
        _description(elements, dataset),
        elements.whole("SeriesNumber"),
        elements.text("FrameOfReferenceUID"),
        elements.text("ImageType"),
        orientation,
        spacing,
        thickness if thickness is not None and thickness > 0 else None,
        one_line(elements.text("ConvolutionKernel").replace("\\", "/"), 64) or None,
        elements.whole("AcquisitionNumber"),
        elements.whole("TemporalPositionIdentifier"),
        elements.number("NominalPercentageOfCardiacPhase"),
        kvp if kvp is not None and kvp > 0 else None,
        one_line(elements.text("Manufacturer"), 64) or None,
        one_line(elements.text("ManufacturerModelName"), 64) or None,
        one_line(elements.text("BodyPartExamined"), 64) or None,
        _distance(elements, "DistanceSourceToDetector"),
        _distance(elements, "DistanceSourceToPatient"),
        lossy == "01" or (syntax in LOSSY and lossy != "00"),
        elements.text("BurnedInAnnotation") == "YES",
    )


def _pixel_format(elements: _Elements, pixels: PixelElement) -> PixelFormat:
    """Checked against what is read here and against the length of the pixel data. Raises InputError."""
    syntax = elements.meta("TransferSyntaxUID")
    if syntax not in COMPRESSED and syntax not in UNCOMPRESSED:
        name = one_line(UID(syntax).name, 80) or "nothing"
        raise InputError(f"has a transfer syntax that is not read here ({name}); export it uncompressed")
    _check_grey(elements)
    rows, columns = elements.word("Rows"), elements.word("Columns")
    if not rows or not columns or max(rows, columns) > MAX_SIDE:
        raise InputError(
            f"has {rows or 'no'} rows and {columns or 'no'} columns, where 1 to {MAX_SIDE} are read; "
            f"{LEAVE_OUT}"
        )
    allocated, stored = elements.word("BitsAllocated"), elements.word("BitsStored")
    high, representation = elements.word("HighBit"), elements.word("PixelRepresentation")
    if (
        allocated not in (8, 16)
        or stored is None
        or not 8 <= stored <= allocated
        or high != stored - 1
        or representation not in (0, 1)
    ):
        raise InputError(
            f"stores its pixels in a way that is not read here: BitsAllocated {allocated}, BitsStored "
            f"{stored}, HighBit {high}, PixelRepresentation {representation}; export it with 16 bits a pixel"
        )
    if syntax == JPEG_EXTENDED and stored != 8:
        raise InputError("is compressed as lossy 12-bit JPEG, which is not read here; export it uncompressed")
    if pixels.big_endian and allocated == 8:
        raise InputError("has big-endian pixels of 8 bits, which are not read here; export it little-endian")
    expected = rows * columns * (allocated // 8)
    if (pixels.length is None) != (syntax in COMPRESSED):
        raise InputError(f"has pixel data that does not fit its transfer syntax; {EXPORT_AGAIN}")
    if pixels.length is not None and pixels.length not in (expected, expected + expected % 2):
        raise InputError(
            f"has {pixels.length} bytes of pixel data where {rows} x {columns} need {expected}; "
            f"{EXPORT_AGAIN}"
        )
    slope, intercept = _rescale(elements)
    lowest = -(1 << stored - 1) if representation else 0
    highest = lowest + (1 << stored) - 1
    extreme = max(abs(slope * value + intercept) for value in (lowest, highest))
    if extreme > np.finfo(np.float32).max or np.spacing(np.float32(extreme)) >= abs(slope):
        raise InputError(
            f"has a RescaleSlope of {slope:g} that HU in single precision can't resolve; {_RESCALE_AGAIN}"
        )
    padding, foreign = _padding(elements, allocated, lowest, highest)
    return PixelFormat(
        rows, columns, allocated, stored, representation == 1, slope, intercept, padding, foreign, syntax
    )


def _check_grey(elements: _Elements) -> None:
    photometric, samples = elements.text("PhotometricInterpretation"), elements.word("SamplesPerPixel")
    if photometric == "MONOCHROME1":
        raise InputError("is stored inverted (MONOCHROME1), which CT never is; export it as MONOCHROME2")
    if photometric != "MONOCHROME2" or samples != 1:
        raise InputError(
            f"is not a grey image: PhotometricInterpretation {one_line(photometric, 16) or 'absent'}, "
            f"SamplesPerPixel {samples}; {LEAVE_OUT}"
        )
    if elements.whole("NumberOfFrames") not in (None, 1):
        raise InputError("has several frames in one classic CT image; export it as single slices")


def _rescale(elements: _Elements) -> tuple[float, float]:
    kind = elements.text("RescaleType").upper()
    if kind not in ("", "HU", "US"):
        raise InputError(
            f"is not in HU: its RescaleType is {one_line(kind, 16)}; export the series again in HU"
        )
    slope, intercept = elements.number("RescaleSlope"), elements.number("RescaleIntercept")
    if slope is None or intercept is None:
        raise InputError(
            f"has no usable RescaleSlope and RescaleIntercept, so its HU are unknown; {_RESCALE_AGAIN}"
        )
    if slope == 0:
        raise InputError(f"has a RescaleSlope of 0, so its HU are unknown; {_RESCALE_AGAIN}")
    return slope, intercept


def _padding(
    elements: _Elements, allocated: int, lowest: int, highest: int
) -> tuple[tuple[int, int] | None, int | None]:
    """Range of padding in stored values, and a padding word that does not fit the stored bits.

    The VR of a padding value is often that of the other signedness: GE writes -2000 as 63536.
    """
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        word = elements.word(keyword)
        if word is None:
            break
        fitting = [value for value in (word, word - (1 << 16)) if lowest <= value <= highest]
        if not fitting:
            return None, word if allocated == 16 else None
        ends.append(fitting[0])
    return ((min(ends), max(ends)) if ends else None), None
