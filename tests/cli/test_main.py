"""The command line itself: what it says of itself, and how it complains."""

from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from cli.main import app


@pytest.mark.parametrize("asked", ["--version", "version"])
def test_the_version_is_told(asked: str) -> None:
    said = CliRunner().invoke(app, [asked])

    assert (said.exit_code, said.output.strip()) == (0, version("cuttingroom"))


def test_every_command_says_what_it_is_for() -> None:
    said = CliRunner().invoke(app, ["--help"])

    assert said.exit_code == 0
    names = [command.name or getattr(command.callback, "__name__", "") for command in
             app.registered_commands]  # fmt: skip
    assert [name for name in names if name not in said.output] == []
