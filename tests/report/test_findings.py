import numpy as np
import pytest

from lowdose.lesions import Box, Lesion
from lowdose.report.findings import MOST_SHOWN, findings_report, largest, shown_findings
from lowdose.report.page import rendered
from lowdose.scan import Scan

WINDOW = (-1000.0, 400.0)
TOLD = {"Finds": "nodule", "Threshold": "0.50"}


@pytest.fixture
def scan() -> Scan:
    hu = np.random.default_rng(1).normal(-800, 20, (9, 64, 64))
    return Scan.from_array(hu, spacing=(3.0, 0.7, 0.7), name="chest <1>")


def lesion(z: int, score: float = 0.9) -> Lesion:
    boxes = {z: (Box(10, 10, 20, 20),), z + 1: (Box(8, 8, 24, 22),)}
    return Lesion("nodule", boxes, score)


def page_of(scan: Scan, found: list[Lesion]):
    return findings_report(scan, found, shown_findings(scan, found), WINDOW, TOLD)


def test_a_lesion_is_shown_where_it_is_largest(scan):
    assert largest(lesion(2)) == (3, Box(8, 8, 24, 22))
    page = page_of(scan, [lesion(2)])
    assert page.figures[0].title == "1  nodule, score 0.90"
    assert "slice 4 of 9, 9.0 mm, 10 × 11 mm" in page.figures[0].caption
    assert page.tables[0].rows == (("1", "nodule", "0.90", "10 × 11 mm", "15, 16", "4", "3 to 4"),)
    assert page.lead == "1 finding in 9 slices, for a reader to judge."


def test_the_page_is_whole_and_names_are_escaped(scan):
    html = rendered(page_of(scan, [lesion(1), lesion(5, 0.6)]))
    assert "chest &lt;1&gt;" in html
    assert html.count("<svg") >= 2
    assert "for a reader to judge" in html


def test_nothing_found_is_no_promise(scan):
    page = page_of(scan, [])
    assert "does not mean that nothing is there" in page.lead
    assert page.figures == ()
    assert rendered(page)


def test_many_findings_are_all_in_the_table_and_the_surest_are_shown(scan):
    many = [lesion(k % 7, 1 - k / 100) for k in range(MOST_SHOWN + 6)]
    page = page_of(scan, many)
    assert len(page.figures) == MOST_SHOWN
    assert len(page.tables[0].rows) == MOST_SHOWN + 6
