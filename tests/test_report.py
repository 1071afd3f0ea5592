import base64
import csv
import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import lowdose.report.page as page_module
from lowdose.provenance import Step
from lowdose.quality.comparison import CaseResult, evaluate
from lowdose.report import (
    Arm,
    Facts,
    KeyFigure,
    ReportContent,
    Table,
    comparison_report,
    results_summary,
    write_cases_csv,
    write_report,
)
from lowdose.report.content import evenly_spaced, key_figures, lead_sentence
from lowdose.report.page import STATEMENT, rendered
from lowdose.report.pixels import pack, stored_hu
from lowdose.scan import Scan, Slice

HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"><!-- & '\" \u2028"


@pytest.fixture(scope="module")
def scans() -> dict[str, Scan]:
    """A disc of soft tissue: at full dose, with more noise, and with less of it again."""
    y, x = np.mgrid[:64, :72] - 32
    disc = np.where(np.hypot(y, x) < 30, 50.0, -1000.0)
    rng = np.random.default_rng(0)
    full = disc + rng.normal(0, 5, (6, 64, 72))
    noise = rng.normal(0, 30, full.shape)
    return {
        name: Scan.from_array(np.rint(hu), spacing=(3.0, 0.7, 0.7), name=name)
        for name, hu in {"full": full, "low": full + noise, "denoised": full + 0.5 * noise}.items()
    }


@pytest.fixture(scope="module")
def results(scans: dict[str, Scan]) -> list[CaseResult]:
    arms = {name: scans[name] for name in ("low", "denoised")}
    return evaluate(scans["full"], arms, case="case one", input_arm="low")


@pytest.fixture(scope="module")
def content(scans: dict[str, Scan], results: list[CaseResult]) -> ReportContent:
    arms = {"low": scans["low"], "denoised": scans["denoised"]}
    return comparison_report(
        scans["full"],
        arms,
        results,
        title="A quarter of the dose",
        input_arm="low",
        reference_name="full dose",
        n_shown=3,
        citations=("Someone (2015). Data. https://doi.org/10.1/x",),
        facts=(Facts("Model", (("Name", "ct-default"),)),),
    )


def hostile_content() -> ReportContent:
    """Every place that takes a name from outside, filled with markup; images that use the whole of int16."""
    rng = np.random.default_rng(4)
    images = rng.integers(-32768, 32768, (2, 9, 13)).astype(np.int16)
    smooth = np.broadcast_to(np.arange(13, dtype=np.int16) * 40 - 1024, (2, 9, 13)).copy()
    return ReportContent(
        title=HOSTILE,
        lead=HOSTILE,
        subtitle=HOSTILE,
        arms=(
            Arm(HOSTILE, "reference", smooth),
            Arm("low", "input", images),
            Arm("result", "result", images[:, ::-1].copy()),
        ),
        slice_labels=(HOSTILE, "slice 2"),
        key_figures=(KeyFigure(HOSTILE, HOSTILE, HOSTILE, HOSTILE),),
        tables=(Table(HOSTILE, (HOSTILE, HOSTILE), ((HOSTILE, HOSTILE),), HOSTILE),),
        steps=((HOSTILE, (Step(HOSTILE, {HOSTILE: HOSTILE}),)),),
        facts=(Facts(HOSTILE, ((HOSTILE, HOSTILE),), HOSTILE),),
        citations=(HOSTILE + "https://x.test/" + HOSTILE,),
        footnotes=(HOSTILE,),
    )


class Outline(HTMLParser):
    """Tags and their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def embedded(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="images">(.*?)</script>', page)[1])


# Packed images


def unpacked(text: str, shape: tuple[int, int]) -> np.ndarray:
    """Read the format from its description, one pixel at a time."""
    planes = np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(2, *shape).astype(int)
    folded = planes[0] + 256 * planes[1]
    hu = np.zeros(shape, int)
    for y in range(shape[0]):
        for x in range(shape[1]):
            if y and x:
                left, up, corner = hu[y, x - 1], hu[y - 1, x], hu[y - 1, x - 1]
                predicted = sorted((left, up, left + up - corner))[1]
            else:
                predicted = hu[y, x - 1] if x else hu[y - 1, x] if y else 0
            remainder = folded[y, x] // 2 if folded[y, x] % 2 == 0 else -(folded[y, x] + 1) // 2
            hu[y, x] = (predicted + remainder + 32768) % 65536 - 32768
    return hu


@pytest.mark.parametrize("seed", range(3))
def test_packing_loses_nothing(seed: int):
    rng = np.random.default_rng(seed)
    image = [
        rng.integers(-32768, 32768, (7, 11)),
        rng.choice([-32768, 32767], (7, 11)),
        np.cumsum(rng.integers(-20, 21, (1, 5)), axis=1),
    ][seed].astype(np.int16)
    packed = pack(image)
    assert np.array_equal(unpacked(packed.data, image.shape), image)
    assert packed.crc32 == zlib.crc32(image.astype("<i2").tobytes())


def test_packing_is_worth_it():
    y, x = np.mgrid[:128, :128]
    image = (x * 3 - y * 2 + np.random.default_rng(0).normal(0, 10, (128, 128))).astype(np.int16)
    assert len(pack(image).data) < 0.6 * image.nbytes


def test_only_an_int16_image_is_packed():
    with pytest.raises(ValueError, match="int16"):
        pack(np.zeros((4, 4), np.int32))
    with pytest.raises(ValueError, match="shape"):
        pack(np.zeros((2, 4, 4), np.int16))


def test_stored_hu_is_rounded_and_held():
    hu = np.array([[-1000.4, 39.6, 1e9, -1e9, np.nan, np.inf]])
    assert stored_hu(hu).tolist() == [[-1000, 40, 32767, -32768, -32768, 32767]]


# The page


def test_the_page_asks_for_nothing(content: ReportContent):
    page = rendered(content)
    outline = Outline(page)
    for tag, attributes in outline.tags:
        assert "src" not in attributes
        assert tag not in {"link", "iframe", "img", "object", "embed", "base", "form"}
        if tag == "a":
            assert attributes["href"].startswith(("#", "https://doi.org/"))
    assert not re.search(r"@import|url\((?!#)", page)
    policy = next(attributes for _, attributes in outline.tags if "http-equiv" in attributes)["content"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy


def test_the_page_says_what_must_be_said(content: ReportContent):
    text = " ".join(Outline(rendered(content)).text.split())
    assert STATEMENT in text
    assert "A quarter of the dose" in text
    assert " ".join(content.lead.split()) in text
    assert "window −160 to 240 HU (data range 400 HU), all pixels but padding, one value per case" in text
    assert "https://doi.org/10.1/x" in text
    assert "ct-default" in text


def test_the_embedded_images_are_the_scans(scans: dict[str, Scan], content: ReportContent):
    data = embedded(rendered(content))
    assert [arm["name"] for arm in data["arms"]] == ["full dose", "low", "denoised"]
    assert [arm["role"] for arm in data["arms"]] == ["reference", "input", "result"]
    assert data["labels"] == ["slice 2 of 6, 3.0 mm", "slice 4 of 6, 9.0 mm", "slice 6 of 6, 15.0 mm"]
    for arm, name in zip(data["arms"], ("full", "low", "denoised"), strict=True):
        for (text, crc), z in zip(arm["images"], (1, 3, 5), strict=True):
            hu = scans[name].read(z).hu.astype(np.int16)
            assert crc == zlib.crc32(hu.astype("<i2").tobytes())
            assert np.array_equal(unpacked(text, hu.shape), hu)


def test_markup_in_names_stays_text():
    page = rendered(hostile_content())
    tags = [tag for tag, _ in Outline(page).tags]
    assert "img" not in tags
    assert tags.count("script") == 2
    assert all("onerror" not in attributes for _, attributes in Outline(page).tags)
    assert embedded(page)["arms"][0]["name"] == HOSTILE
    assert unescape(re.search(r"<title>(.*?)</title>", page, re.DOTALL)[1]) == HOSTILE


def test_a_report_is_written_whole_or_not_at_all(
    tmp_path: Path, content: ReportContent, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "report.html"
    write_report(content, path)
    before = path.read_text(encoding="utf-8")
    assert before.startswith("<!doctype html>")
    monkeypatch.setattr(Path, "write_text", lambda *_, **__: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(content, path)
    assert path.read_text(encoding="utf-8") == before
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_content_that_does_not_fit_together_is_refused():
    images = np.zeros((2, 4, 4), np.int16)
    arm = Arm("a", "reference", images)
    with pytest.raises(ValueError, match="2 slices are shown, but there are 1 labels"):
        ReportContent(title="", lead="", arms=(arm,), slice_labels=("one",))
    with pytest.raises(ValueError, match="same slices"):
        ReportContent(
            title="", lead="", arms=(arm, Arm("b", "result", images[:1])), slice_labels=("one", "two")
        )
    with pytest.raises(ValueError, match="1 to 4 arms"):
        ReportContent(title="", lead="", arms=(arm,) * 5, slice_labels=("one", "two"))


# What it says


def test_the_lead_is_right_when_the_outcome_is_good_or_bad(results: list[CaseResult]):
    low, denoised = results
    assert denoised.error_left == pytest.approx(0.5, abs=0.06)
    lead = lead_sentence(results, "low", "full").replace("\N{NO-BREAK SPACE}", " ")
    share, shift = 100 * denoised.error_left, denoised.soft_tissue_bias - low.soft_tissue_bias
    assert lead.startswith(f"From low to denoised, the error falls to {share:.0f} % of what it was, and ")
    assert abs(shift) < 0.05
    assert lead.endswith("soft tissue stays within 0.1 HU.")
    empty = lead_sentence([replace(denoised, soft_tissue_bias=float("nan"))], None, "full")
    assert empty.endswith("and there is no soft tissue to check.")
    worse = replace(denoised, rmse=99.0, error_left=1.3, soft_tissue_bias=low.soft_tissue_bias - 2.04)
    assert lead_sentence([low, worse], "low", "full").replace("\N{NO-BREAK SPACE}", " ") == (
        "From low to denoised, the error rises to 130 % of what it was, and soft tissue shifts by −2.0 HU."
    )
    alone = replace(denoised, rmse=12.34, error_left=None, soft_tissue_bias=0.26)
    assert lead_sentence([alone], None, "full").replace("\N{NO-BREAK SPACE}", " ") == (
        "Against full, denoised is off by 12.3 HU (RMSE), and soft tissue shifts by +0.3 HU."
    )


def test_key_figures_are_of_the_arm_closest_to_the_reference(results: list[CaseResult]):
    low, denoised = results
    worse = replace(denoised, arm="worse", rmse=50.0, error_left=2.0)
    figures = key_figures([low, worse, denoised], "low", "full")
    assert figures[0].value == f"{100 * denoised.error_left:.0f}"
    assert figures[0].note.startswith("denoised, ")
    assert figures[1].value == f"{low.noise:.0f} → {denoised.noise:.0f}"
    alone = key_figures([replace(denoised, error_left=None)], None, "full")
    assert alone[0].label == "Difference to the reference"


def test_more_arms_than_fit_are_all_in_the_tables(scans: dict[str, Scan]):
    arms = {f"arm {k}": scans["denoised"] for k in range(5)}
    content = comparison_report(
        scans["full"], arms, evaluate(scans["full"], arms), title="Many", reference_name="full", n_shown=2
    )
    assert [arm.name for arm in content.arms] == ["full", "arm 0", "arm 1", "arm 2"]
    assert len(content.tables[0].rows) == 5
    assert any("first 3 images" in note for note in content.footnotes)


def test_steps_and_notes_of_the_scans_are_told(scans: dict[str, Scan]):
    low = scans["low"].with_slices(scans["low"].read, Step("simulate_dose", {"fraction": 0.25}))
    low = replace(low, notes=("One slice is missing.",))
    content = comparison_report(
        scans["full"], {"low": low}, evaluate(scans["full"], {"low": low}), title="Steps", n_shown=1
    )
    text = Outline(rendered(content)).text
    assert "simulate dose" in text
    assert "fraction: 0.25" in text
    assert "One slice is missing." in text


def test_an_arm_stored_the_other_way_round_is_shown_upright(scans: dict[str, Scan]):
    low = scans["low"]
    affine = low.affine.copy()
    affine[:3, 3] += affine[:3, 1] * (low.shape[1] - 1)
    affine[:3, 1] *= -1
    turned = replace(
        low, affine=affine, read=lambda z: Slice(low.read(z).hu[::-1], low.read(z).padding[::-1])
    )
    results = evaluate(scans["full"], {"low": turned})
    content = comparison_report(scans["full"], {"low": turned}, results, title="Turned", n_shown=1)
    assert np.array_equal(content.arms[1].slices[0], low.read(3).hu.astype(np.int16))


def test_results_without_the_case_are_refused(scans: dict[str, Scan], results: list[CaseResult]):
    with pytest.raises(ValueError, match="no results of the case 'two'"):
        comparison_report(scans["full"], {"low": scans["low"]}, results, title="", case="two")
    with pytest.raises(ValueError, match="no results of the case"):
        comparison_report(scans["full"], {"low": scans["low"]}, [], title="")
    with pytest.raises(ValueError, match="no scan of denoised to show"):
        comparison_report(scans["full"], {"low": scans["low"]}, results, title="")


@pytest.mark.parametrize(("n", "shown", "expected"), [(6, 3, [1, 3, 5]), (2, 12, [0, 1]), (133, 1, [66])])
def test_slices_are_evenly_spaced(n: int, shown: int, expected: list[int]):
    assert evenly_spaced(n, shown) == expected


# Tables


def test_cases_csv(tmp_path: Path, results: list[CaseResult]):
    rows = [replace(results[0], case='=HYPERLINK("x")', arm="-1+1"), replace(results[1], bias=-0.5)]
    write_cases_csv(rows, tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert first["case"] == '\'=HYPERLINK("x")'
    assert first["arm"] == "'-1+1"
    assert float(second["rmse_hu"]) == pytest.approx(results[1].rmse, rel=1e-5)
    assert second["bias_hu"] == "-0.5"
    assert second["protocol"] == str(results[1].protocol)
    assert float(first["error_left"]) == 1.0


def test_a_number_that_does_not_exist_is_an_empty_cell(tmp_path: Path, results: list[CaseResult]):
    write_cases_csv([replace(results[0], noise=float("nan"), error_left=None)], tmp_path / "cases.csv")
    with (tmp_path / "cases.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["noise_hu"] == row["error_left"] == ""


def test_the_summary_counts_cases_not_rows(results: list[CaseResult]):
    base = results[0]
    rows = [
        replace(base, case=case, rmse=rmse, psnr=float("inf"))
        for case, rmse in [("a", 1.0), ("a", 3.0), ("b", 4.0), ("c", 6.0)]
    ]
    summary = results_summary(rows, np.random.default_rng(0))
    assert summary["cases"] == 3
    measured = summary["arms"]["low"]["rmse"]
    assert measured["mean"] == pytest.approx(4.0)
    assert measured["n_cases"] == 3
    assert 2.0 <= measured["interval"][0] <= 4.0 <= measured["interval"][1] <= 6.0
    assert measured["unit"] == "HU"
    assert summary["arms"]["low"]["psnr"]["mean"] is None
    few = results_summary(rows[:3], np.random.default_rng(0))["arms"]["low"]["rmse"]
    assert few["interval"] is None
    assert "too few" in few["note"]
    json.dumps(summary, allow_nan=False)


def test_several_cases_are_summarised_in_the_report(scans: dict[str, Scan], results: list[CaseResult]):
    cases = [replace(result, case=case) for case in ("x", "y", "z") for result in results]
    arms = {"low": scans["low"], "denoised": scans["denoised"]}
    content = comparison_report(scans["full"], arms, cases, title="Three", input_arm="low", n_shown=1)
    assert [table.title for table in content.tables] == ["Measured, case by case", "Over all cases"]
    assert any("3 cases" in row[-1] for row in content.tables[1].rows)


def test_several_cases_lead_with_their_mean(scans: dict[str, Scan], results: list[CaseResult]):
    low, denoised = results
    cases = [
        row
        for case, error in (("x", 4.0), ("y", 10.0))
        for row in (
            replace(low, case=case, rmse=20.0, error_left=1.0),
            replace(denoised, case=case, rmse=error, error_left=error / 20.0),
        )
    ]
    arms = {"low": scans["low"], "denoised": scans["denoised"]}
    content = comparison_report(scans["full"], arms, cases, title="Two", input_arm="low", n_shown=1)
    assert content.lead.startswith("In 2 cases on average: from low to denoised, the error falls to 35")
    assert content.key_figures[0].value == "35"
    assert content.key_figures[0].note == "20.0 → 7.0 HU, root mean square"
    assert content.subtitle.startswith("Shown: x, ")


# In a browser

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
in_browser = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome to open the page")


def opened(page: str, folder: Path) -> str:
    """The page's document after its scripts have run."""
    path = folder / "page.html"
    path.write_text(page, encoding="utf-8")
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--window-size=1200,900"]
    command += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
    run = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, check=True, timeout=90)
    return run.stdout


def with_script(page: str, script: str) -> str:
    """The page with one more script, let in by taking out the policy that forbids it.

    Nobody looks, so the browser may never draw a frame: a timer takes the place of frames.
    """
    frames = "<script>window.requestAnimationFrame = (done) => setTimeout(done, 16)</script>"
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', frames, page)
    return page.replace("</body>", f"<script>{script}</script></body>")


@in_browser
def test_the_browser_shows_every_value_to_the_bit_and_no_markup(tmp_path: Path):
    content = hostile_content()
    document = opened(rendered(content), tmp_path)
    attributes = next(a for _, a in Outline(document).tags if a.get("id") == "viewer")
    assert attributes["data-state"] == "ready"
    expected = [[zlib.crc32(hu.astype("<i2").tobytes()) for hu in arm.slices] for arm in content.arms]
    assert json.loads(attributes["data-checksums"]) == expected
    assert all(tag != "img" for tag, _ in Outline(document).tags)
    assert "owned" not in re.search(r"<title>(.*?)</title>", document, re.DOTALL)[1][:5]


@in_browser
def test_a_damaged_image_is_not_shown(tmp_path: Path):
    page = rendered(hostile_content())
    data = embedded(page)["arms"][1]["images"][0]
    document = opened(page.replace(str(data[1]), str(data[1] ^ 1)), tmp_path)
    attributes = next(a for _, a in Outline(document).tags if a.get("id") == "viewer")
    assert attributes["data-state"] == "damaged"
    assert json.loads(attributes["data-checksums"])[1][0] is None
    assert "1 image in this file is damaged" in document


@in_browser
def test_pointer_keys_and_wheel_move_all_panes_together(tmp_path: Path, content: ReportContent):
    script = """
      const viewer = document.getElementById("viewer");
      const key = (name, type = "keydown") => {
        viewer.focus({ preventScroll: true });
        viewer.dispatchEvent(new KeyboardEvent(type, { key: name, bubbles: true }));
      };
      const panes = [...viewer.querySelectorAll(".pane")];
      const at = (kind, type, options) => {
        const box = panes[1].getBoundingClientRect();
        const place = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2 };
        panes[1].dispatchEvent(new kind(type, { ...place, ...options, bubbles: true, cancelable: true }));
      };
      const log = [];
      const frame = () => new Promise((done) => requestAnimationFrame(done));
      const names = () => panes.map((pane) => pane.querySelector("figcaption").textContent.trim());
      const note = async (until = () => true) => {
        await frame();
        await frame();
        for (let n = 0; n < 200 && !until(); n++) await frame();
        log.push({
          hu: panes.map((pane) => pane.querySelector(".hu").textContent),
          names: names(),
          slice: document.getElementById("slice-label").textContent,
          zoom: document.getElementById("zoom-value").textContent,
          window: ["center", "width"].map((name) => document.getElementById(name + "-value").textContent),
        });
      };
      const wait = setInterval(async () => {
        if (!viewer.dataset.state) return;
        clearInterval(wait);
        at(PointerEvent, "pointermove", {});
        await note();
        at(WheelEvent, "wheel", { deltaY: 100 });
        key("2");
        await note();
        key("ArrowLeft"); key("ArrowLeft"); key("ArrowLeft");
        at(WheelEvent, "wheel", { deltaY: -100, ctrlKey: true });
        key("d");
        await note();
        key("d");
        await note();
        key("r"); key("f");
        await note(() => names()[2] === "low");
        key("f", "keyup");
        await note();
        document.body.dataset.log = JSON.stringify(log);
      }, 20);
    """
    document = opened(with_script(rendered(content), script), tmp_path)
    body = next(attributes for tag, attributes in Outline(document).tags if tag == "body")
    start, scrolled, minus_full, minus_low, flickering, released = json.loads(body["data-log"])

    hu = np.array([arm.slices for arm in content.arms])
    _, _, n_y, n_x = hu.shape
    column, row = map(int, re.search(r"column (\d+), row (\d+)", start["hu"][1]).groups())
    assert abs(column - n_x // 2) <= 1
    assert abs(row - n_y // 2) <= 1

    def readouts(entry):
        return [int(re.match(r"[+−]?\d+", text)[0].replace("−", "-")) for text in entry["hu"]]

    assert start["slice"] == "Slice 4 of 6, 9.0 mm"
    assert readouts(start) == hu[:, 1, row, column].tolist()
    assert scrolled["slice"] == "Slice 6 of 6, 15.0 mm"
    assert readouts(scrolled) == hu[:, 2, row, column].tolist()
    assert scrolled["window"] == ["−600 HU", "1500 HU"]
    assert minus_full["slice"] == "Slice 2 of 6, 3.0 mm"
    assert minus_full["zoom"].endswith("×")
    assert minus_full["names"] == ["full dose", "low − full dose", "denoised − full dose"]
    full, low, denoised = hu[:, 0, row, column].astype(int).tolist()
    assert readouts(minus_full) == [full, low - full, denoised - full]
    assert readouts(minus_low) == [full - low, low, denoised - low]
    assert minus_low["names"] == ["full dose − low", "low", "denoised − low"]
    assert flickering["names"] == ["full dose", "low", "low"]
    assert released["names"] == ["full dose", "low", "denoised"]
    assert released["zoom"] == "fit"


@in_browser
def test_grey_values_follow_the_linear_function_of_dicom(tmp_path: Path):
    script = (Path(page_module.__file__).parent / "static" / "viewer.js").read_text(encoding="utf-8")
    windows = [[40, 400], [-600, 1500], [60, 150], [0, 1], [-0.5, 2]]
    values = list(range(-1100, 1000, 7))
    page = f"""<body><script>{script}</script><script>
      const {{ windowed, differenceColour }} = window.lowdoseViewer;
      const grey = {windows}.map(([center, width]) => {values}.map((hu) => windowed(hu, center, width)));
      document.body.dataset.grey = JSON.stringify(grey);
      document.body.dataset.colours = JSON.stringify([-1, -0.5, 0, 0.5, 1, 7].map(differenceColour));
    </script></body>"""
    body = next(attributes for tag, attributes in Outline(opened(page, tmp_path)).tags if tag == "body")
    hu = np.array(values, float)
    for (center, width), grey in zip(windows, json.loads(body["data-grey"]), strict=True):
        below = hu <= center - 0.5 - (width - 1) / 2
        above = hu > center - 0.5 + (width - 1) / 2
        between = ((hu - (center - 0.5)) / max(width - 1, 1) + 0.5) * 255
        expected = np.where(below, 0, np.where(above, 255, np.floor(between + 0.5)))
        assert grey == expected.astype(int).tolist()
    lowest, half_low, zero, half_high, highest, beyond = json.loads(body["data-colours"])
    assert max(zero) < 32
    assert half_low[2] > half_low[0]
    assert half_high[0] > half_high[2]
    assert lowest[2] > lowest[0]
    assert highest == beyond
