"""Jobs on a terminal, narrow or wide, and in a pipe."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from cli.jobs import show_table
from cli.main import out
from cli.show import progress_bar
from client import Job

ID = "job_01M84FDW9XFAYSICFO2WAPLXK4"
JOB = Job.model_validate(
    {
        "id": ID,
        "kind": "clip",
        "state": "failed",
        "stage": "publishing",
        "progress": 0.9,
        "attempt": 5,
        "priority": "normal",
        "createdAt": "2026-11-23T15:12:11.069Z",
        "startedAt": None,
        "finishedAt": None,
        "heartbeatAt": None,
        "etaSeconds": None,
        "requestedBy": "key_1",
        "request": {},
        "result": None,
        "error": {
            "code": "destination_unavailable",
            "message": "x",
            "retryable": True,
            "stage": None,
        },
        "links": {},
    }
)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_an_id_is_shown_whole_however_narrow_the_terminal(width: int) -> None:
    said = StringIO()

    show_table([JOB], Console(file=said, width=width))

    assert ID in said.getvalue()


def test_a_line_in_a_pipe_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)

    out().print("word " * 100)

    assert capsys.readouterr().out.count("\n") == 1


def test_a_pipe_gets_no_progress_bar() -> None:
    said = StringIO()

    with progress_bar(Console(file=said, width=80)) as bar:
        bar.update(bar.add_task("queued", total=1.0, eta=""), completed=0.5)

    assert said.getvalue() == ""
