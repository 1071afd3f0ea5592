import typer
from typer.testing import CliRunner

from lowdose.cli.groups import NamesAndCommands


def called(*words):
    app, said = typer.Typer(cls=NamesAndCommands, invoke_without_command=True), []

    @app.callback()
    def whole(context: typer.Context, name: str = typer.Argument("nothing"), loud: bool = False) -> None:
        if context.invoked_subcommand is None:
            said.append((name, loud))

    @app.command()
    def part(other: str) -> None:
        said.append(("part", other))

    assert CliRunner().invoke(app, list(words)).exit_code == 0
    return said


def test_the_first_word_is_a_command_or_an_argument():
    assert called() == [("nothing", False)]
    assert called("partial", "--loud") == [("partial", True)]
    assert called("--loud", "partial") == [("partial", True)]
    assert called("part", "partial") == [("part", "partial")]
