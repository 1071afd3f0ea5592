"""The pages tell the truth: their code runs, their commands exist and work, their links lead somewhere.

Every page is followed from top to bottom in a folder of its own that holds one CT series, `scan/`: Python
blocks are executed, YAML blocks with a title are saved under it, `lowdose` commands are run and must succeed.
"""

from __future__ import annotations

import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.main import get_command

from lowdose.cli import app, main
from lowdose.io import open_input
from tests.cli.runner import lowdose
from tests.io.body_series import body_series
from tests.io.ct_factory import ct_slice, disc, save

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference" / "cli.md"
PAGES = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
)
WRITTEN = [page for page in PAGES if page != REFERENCE]


def commands_of(group: Any) -> dict[str, Any]:
    """Every command by its name; those of a group by both names, and the group if it does something alone."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        parts = commands_of(command) if hasattr(command, "commands") else {}
        if not parts or command.invoke_without_command:
            found[name] = command
        found |= {f"{name} {part}": one for part, one in parts.items()}
    return found


COMMANDS = commands_of(get_command(app))

SHELL = {"bash", "console"}
LANGUAGES = SHELL | {"python", "yaml", "text", "json"}
OTHER_PROGRAMS = {"git", "cd", "make", "pip", "python3", "source"}

INSTEAD = {
    "demo": ["--input", "scan", "--no-open"],
    "explain": ["--slices", "1"],
    "adapt": ["--noise-steps", "4", "--steps", "2"],
    "train noise-model": ["--steps", "4"],
    "train representation": ["--steps", "2", "--slices", "2"],
    "train invariances": ["--steps", "2", "--slices", "2"],
    "train detector": ["--steps", "2", "--patch", "48"],
    "lesions insert": ["--kind", "soft-tissue-lesion", "--number", "1"],
}
"""Added to a command: the demonstration takes the small scan, as fetching its own would need a network, and
nobody waits for trainings."""


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    page: Path
    line: int
    language: str
    title: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def commands(self) -> list[list[str]]:
        """The words of every command line; what `$` does not introduce in a console is output."""
        joined = self.text.replace("\\\n", " ")
        lines = [line.strip() for line in joined.splitlines()]
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        return [words for line in lines if (words := shlex.split(line, comments=True))]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(.*)\n([\s\S]*?)^```$", text, re.MULTILINE):
        language, _, rest = match[1].partition(" ")
        title = re.fullmatch(r'title="(.+)"', rest.strip())
        line = text.count("\n", 0, match.start()) + 1
        yield Block(page, line, language, title and title[1], match[2])


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


ALL_COMMANDS = [
    pytest.param(words, id=f"{block}:{' '.join(words[:3])}")
    for page in WRITTEN
    for block in blocks(page)
    if block.language in SHELL
    for words in block.commands()
]


def command_in(words: list[str]) -> str:
    both = " ".join(words[1:3])
    return both if both in COMMANDS else words[1]


def parsed(words: list[str]) -> tuple[str, list[str]]:
    """The command and its options, without their values."""
    return command_in(words), [word.split("=")[0] for word in words[2:] if re.match(r"--?[a-zA-Z]", word)]


@pytest.mark.parametrize("words", ALL_COMMANDS)
def test_every_command_and_option_exists(words: list[str]) -> None:
    program = words[0].removeprefix(".venv/bin/")
    if program == "make":
        targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif program == "lowdose":
        command, options = parsed(words)
        assert command in {*COMMANDS, "--help", "--version"}
        if command in COMMANDS:
            parameters = COMMANDS[command].params
            known = {name for p in parameters for name in (*p.opts, *p.secondary_opts)} | {"--help"}
            assert set(options) <= known
    else:
        assert program in OTHER_PROGRAMS


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_commands_named_in_the_text_exist(page: Path) -> None:
    prose = re.sub(r"^```[\s\S]*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = set(re.findall(r"`(?:\.venv/bin/)?lowdose ([a-z][a-z-]*)", prose))
    assert named <= {name.split()[0] for name in COMMANDS}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_say_what_they_are(page: Path) -> None:
    assert [str(block) for block in blocks(page) if block.language not in LANGUAGES] == []
    fences = re.findall(r"^\s*```", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(fences) == 2 * len(list(blocks(page)))


@pytest.mark.parametrize("page", [page for page in WRITTEN if list(blocks(page))], ids=name_of)
def test_a_page_can_be_followed(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for z in range(9):
        save(ct_slice(disc(96, 96, seed=z), z=3.0 * z, number=z + 1), tmp_path / "scan" / f"{z}.dcm")
    if "lowdose adapt " in page.read_text(encoding="utf-8"):
        body_series(tmp_path / "clean" / "anna", 3, seed=1, side=128)
        body_series(tmp_path / "own", 20, seed=2, side=128)
        assert lowdose("simulate", tmp_path / "own", tmp_path / "low-dose", "--dose", "0.3").status == 0
    if "lowdose lesions read " in page.read_text(encoding="utf-8"):
        mark(tmp_path / "scan", tmp_path / "mask.nii.gz")
    if "lowdose train representation " in page.read_text(encoding="utf-8"):
        for number in (1, 2):
            body_series(tmp_path / f"chest-{number}", 3, seed=number, side=128)
    namespace: dict[str, Any] = {"__name__": "page"}
    for block in blocks(page):
        if block.language == "python":
            code = "\n" * block.line + block.text  # so that a traceback names the page's own line
            exec(compile(code, str(page), "exec"), namespace)
        elif block.language == "yaml" and block.title:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
        elif block.language in SHELL:
            for words in block.commands():
                follow(words, block, monkeypatch, capsys)


def mark(scan: Path, path: Path) -> None:
    """A label map with one region in the middle of `scan`."""
    with open_input(scan) as found:
        grid = found.cases[0].scan
        assert grid is not None
        labels = np.zeros(grid.shape, np.uint8)
        labels[4, 40:52, 44:56] = 1
        ras = np.diag([-1, -1, 1, 1]) @ grid.affine[:, [2, 1, 0, 3]]
    nibabel.save(nibabel.Nifti1Image(labels.transpose(2, 1, 0), ras), path)


def follow(
    words: list[str], block: Block, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run one `lowdose` command, as a shell would, and insist on success."""
    if words[0].removeprefix(".venv/bin/") != "lowdose":
        return
    target = None
    if ">" in words:
        words, target = words[: words.index(">")], Path(words[-1])
    shorten_trainings()
    monkeypatch.setattr(sys, "argv", [*words, *INSTEAD.get(command_in(words), [])])
    try:
        status = main() or 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    shown = capsys.readouterr()
    assert status == 0, f"{block}: {' '.join(words)} ended with {status}\n{shown.out}\n{shown.err}"
    if target is not None:
        target.write_text(shown.out, encoding="utf-8")


def shorten_trainings() -> None:
    """Nobody waits for hours: every training here takes a few steps of a few patches."""
    small = {"n_steps": "4", "batch_size": "2", "patch": "32"}
    for path in Path.cwd().glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for key, value in small.items():
            text = re.sub(rf"^(\s*{key}:) .*$", rf"\g<1> {value}", text, flags=re.MULTILINE)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_the_reference_is_up_to_date_and_names_every_command() -> None:
    script = ROOT / "docs" / "make_reference.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    headings = re.findall(r"^## lowdose (.+)$", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(headings) == {name for name, command in COMMANDS.items() if not command.hidden}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_and_option_has_its_help(name: str) -> None:
    command = COMMANDS[name]
    assert inspect.cleandoc(command.help or "")
    assert [p.name for p in command.params if not p.help and p.name != "help"] == []


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"methods", "doctor"}))
def test_every_working_command_is_used_on_a_page(command: str) -> None:
    used = {
        command_in(words)
        for page in WRITTEN
        for b in blocks(page)
        if b.language in SHELL
        for words in b.commands()
        if words[0].removeprefix(".venv/bin/") == "lowdose"
    }
    assert command in used


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_the_statement_is_made(page: str) -> None:
    assert "Not a medical device" in (ROOT / page).read_text(encoding="utf-8")
