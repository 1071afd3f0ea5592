from __future__ import annotations

import json
from io import StringIO

import pytest
import typer
from rich.console import Console

from lowdose.cli import terminal
from lowdose.cli.terminal import complain, give_up, print_json, progress, refuse, say, warn


@pytest.mark.parametrize(("end", "status"), [(refuse, 2), (give_up, 1)])
def test_a_command_ends_with_one_sentence_and_its_status(capsys, end, status):
    with pytest.raises(typer.Exit) as caught:
        end("in/1.dcm: is cut short; copy it again")
    assert caught.value.exit_code == status
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "error: in/1.dcm: is cut short; copy it again\n")


@pytest.mark.parametrize(
    ("speak", "before"), [(say, ""), (warn, "note: "), (complain, "error: ")], ids=["say", "warn", "complain"]
)
def test_text_from_files_is_shown_as_it_is_on_one_line(capsys, speak, before):
    """No markup is obeyed, and no line is broken: others may look for it."""
    text = "[red]Chest[/red] [lowdose ct-default s1] :smile: " + "word " * 60 + "end"
    speak(text)
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{before}{text}\n")


def test_what_programs_read_is_on_standard_output(capsys):
    print_json({"case": "Thorax ü", "error": None})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"case": "Thorax ü", "error": None}
    assert shown.err == ""


def test_without_a_terminal_progress_is_a_line_now_and_then(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    with progress("chest", 10) as advance:
        for _ in range(10):
            clock[0] += 6.0
            advance()
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "chest: 2/10 slices, about 48 s left",
        "chest: 4/10 slices, about 36 s left",
        "chest: 6/10 slices, about 24 s left",
        "chest: 8/10 slices, about 12 s left",
        "chest: 10 slices in 60.0 s",
    ]


def test_work_that_fails_says_nothing_of_being_done(capsys):
    def fail() -> None:
        with progress("chest", 3) as advance:
            advance()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert capsys.readouterr().err == ""


def test_on_a_terminal_progress_is_a_bar(monkeypatch):
    console = Console(force_terminal=True, record=True, width=100, file=StringIO())
    monkeypatch.setattr(terminal, "console", console)
    with progress("[b]chest", 3) as advance:
        for _ in range(3):
            advance()
    text = console.export_text()
    assert "[b]chest" in text
    assert "3/3 slices" in text
