from __future__ import annotations

import json
import subprocess
import sys

from tests.cli.runner import lowdose
from tests.training.lesion_scans import annotated_files


def test_a_detector_is_trained_from_the_command_line_and_goes_on(tmp_path):
    path = annotated_files(tmp_path)
    words = ("train", "detector", path, "--out", tmp_path / "run", "--steps", 3, "--patch", 48, "--width", 8)
    stopped = lowdose(*words, "--hold-back", "B", "--max-minutes", 0)
    assert stopped.status == 0
    assert "time is up; go on with: lowdose train detector" in stopped.err
    done = lowdose(*words, "--hold-back", "B", "--resume")
    assert done.status == 0, done.err
    card = json.loads((tmp_path / "run" / "detector.json").read_text())
    assert card["patients"] == ["A", "C"]
    assert card["sizes"] == {"width": 8}
    assert "patches of 1 patient held back: AP-50" in done.err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["command"] == "train detector"


def test_what_it_cannot_do_is_told_in_a_sentence(tmp_path):
    missing = lowdose("train", "detector", tmp_path / "no.json", "--out", tmp_path / "run")
    assert missing.status == 2
    assert "no.json" in missing.error
    path = annotated_files(tmp_path)
    odd = lowdose("train", "detector", path, "--out", tmp_path / "run", "--width", 12, "--steps", 1)
    assert (odd.status, odd.error) == (
        2, "the sizes do not fit a detector: width is 12; it must be a multiple of 8"
    )  # fmt: skip


def test_without_torchvision_one_sentence_says_what_to_install(tmp_path):
    program = (
        "import sys; sys.modules['torchvision'] = None\n"
        "from lowdose.cli import app\n"
        f"app(['train', 'detector', {str(tmp_path / 'a.json')!r}, '--out', {str(tmp_path / 'run')!r}])"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "pip install 'lowdose[train,detect]'" in ended.stderr
    assert "Traceback" not in ended.stderr
