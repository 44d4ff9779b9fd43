"""The command line itself: what it says of itself, and how it complains."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

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


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupter:
    def find_spec(self, name, *_):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupter())
sys.argv = ["cuttingroom", *sys.argv[1:]]
from cli.__main__ import main
main()
"""


@pytest.mark.parametrize("asked", ["version", "doctor", "up"])
def test_an_interrupt_while_modules_are_read_is_no_crash(asked: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", INTERRUPTED_IMPORT, asked]

    ended = subprocess.run(argv, capture_output=True, cwd=tmp_path, timeout=60, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_the_command_begins_where_an_interrupt_is_expected() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"

    scripts = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["scripts"]

    assert scripts == {"cuttingroom": "cli.__main__:main"}
