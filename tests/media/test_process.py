"""Children are watched, ended and heard; services stop; nothing outlives its owner."""

from __future__ import annotations

import ast
import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from media.process import (
    DEFAULT_PRELOAD,
    ForkServer,
    redacted,
    shared,
    spawn_service,
    stop_services,
)
from media.workspace import Workspace
from schemas.errors import (
    Cancelled,
    CorruptMedia,
    CuttingRoomError,
    LeaseLost,
    MissingSegments,
    Stalled,
    TimedOut,
    TooLarge,
    UnsupportedMedia,
    WorkerInterrupted,
)

CHILDREN = "tests.media.children"
ROOT = Path(__file__).resolve().parents[2]


def gone(pid: int) -> bool:
    """Whether a process is dead; a zombie that waits for its reaper counts as dead."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return text.rpartition(")")[2].split()[0] in {"Z", "X"}


def eventually(condition: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_a_call_brings_back_the_result_and_the_progress(
    server: ForkServer, workspace: Workspace
) -> None:
    seen: list[object] = []

    result = server.call(
        f"{CHILDREN}:echo",
        {"frames": [1, 2, 3], "name": "é"},
        jail=workspace.jail(),
        limit_s=30,
        on_progress=seen.append,
    )

    assert result == {"frames": [1, 2, 3], "name": "é"}
    assert seen == [{"fraction": 0.5}]


def test_a_large_argument_and_result_cross_the_pipe(
    server: ForkServer, workspace: Workspace
) -> None:
    big = ["x" * 1000] * 3000

    assert server.call(f"{CHILDREN}:echo", big, jail=workspace.jail(), limit_s=30) == big


def test_a_typed_error_comes_back_as_its_class_with_its_fields(
    server: ForkServer, workspace: Workspace
) -> None:
    with pytest.raises(MissingSegments) as caught:
        server.call(
            f"{CHILDREN}:fail",
            ["MissingSegments", "two gaps", [[1, 2], [3, 4]]],
            jail=workspace.jail(),
            limit_s=30,
        )

    assert caught.value.gaps == ((1, 2), (3, 4))
    assert (caught.value.message, caught.value.error_code) == ("two gaps", "segment_missing")


def test_an_unforeseen_exception_is_an_internal_error_without_its_words(
    server: ForkServer, workspace: Workspace
) -> None:
    with pytest.raises(CuttingRoomError) as caught:
        server.call(
            f"{CHILDREN}:fail", ["KeyError", "s3cret", []], jail=workspace.jail(), limit_s=30
        )

    assert caught.value.error_code == "internal"
    assert "s3cret" not in caught.value.message
    (note,) = caught.value.__notes__
    assert re.search(r'children\.py", line \d+, in fail', note)
    assert len(note) < 7000


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("not json\n", CorruptMedia),
        ("[" * 100_000 + "\n", CorruptMedia),
        ('{"error":{"class":"Cancelled","message":"x"}}\n', CuttingRoomError),
        ('{"error":{"class":"LeaseLost","message":"x"}}\n', CuttingRoomError),
        ('{"error":{"class":"ClassVar","message":"x"}}\n', CuttingRoomError),
        ('{"error":7}\n', CuttingRoomError),
    ],
    ids=["not json", "deep", "claims cancelled", "claims lease", "not an error", "no object"],
)
def test_what_a_taken_over_child_says_is_not_trusted(
    server: ForkServer, workspace: Workspace, line: str, expected: type[CuttingRoomError]
) -> None:
    with pytest.raises(expected) as caught:
        server.call(f"{CHILDREN}:write_line", line, jail=workspace.jail(), limit_s=30)

    assert type(caught.value) is expected


@pytest.mark.parametrize("raised", [Cancelled, WorkerInterrupted, LeaseLost])
def test_control_ends_the_child_and_its_error_comes_through(
    server: ForkServer, workspace: Workspace, raised: type[CuttingRoomError]
) -> None:
    pids: list[int] = []

    def control() -> None:
        if pids:
            raise raised("told to")

    with pytest.raises(raised):
        server.call(
            f"{CHILDREN}:tick_for_ever",
            None,
            jail=workspace.jail(),
            limit_s=30,
            on_progress=lambda progress: pids.append(int(str(progress["pid"]))),
            control=control,
        )

    assert all(gone(pid) for pid in pids)


def test_a_child_that_stands_still_is_ended(server: ForkServer, workspace: Workspace) -> None:
    with pytest.raises(Stalled):
        server.call(f"{CHILDREN}:hang", None, jail=workspace.jail(), limit_s=60, stall_s=0.2)


def test_a_child_deaf_to_term_is_killed(server: ForkServer, workspace: Workspace) -> None:
    with pytest.raises(Stalled):
        server.call(f"{CHILDREN}:hang_deaf", None, jail=workspace.jail(), limit_s=60, stall_s=0.2)


def test_progress_holds_off_the_stall_timer_but_not_the_limit(
    server: ForkServer, workspace: Workspace
) -> None:
    with pytest.raises(TimedOut):
        server.call(
            f"{CHILDREN}:tick_for_ever", None, jail=workspace.jail(), limit_s=1.5, stall_s=1.0
        )


@pytest.mark.parametrize("how", ["crash", "die_quietly"])
def test_a_child_that_ends_without_an_answer_is_corrupt_media(
    server: ForkServer, workspace: Workspace, how: str
) -> None:
    with pytest.raises(CorruptMedia):
        server.call(f"{CHILDREN}:{how}", None, jail=workspace.jail(), limit_s=30)


def test_a_program_that_is_not_there_is_named_as_unsupported(
    server: ForkServer, workspace: Workspace
) -> None:
    with pytest.raises(UnsupportedMedia):
        server.run(["/no/such/program"], jail=workspace.jail(), limit_s=30)


def test_a_program_ends_with_its_code_and_output(server: ForkServer, workspace: Workspace) -> None:
    finished = server.run(["/bin/echo", "hello"], jail=workspace.jail(), limit_s=30)

    assert (finished.exit_code, finished.stdout) == (0, b"hello\n")


def test_a_program_that_prints_too_much_is_ended(server: ForkServer, workspace: Workspace) -> None:
    with pytest.raises(TooLarge):
        server.run(["/bin/cat", "/dev/urandom"], jail=workspace.jail(), limit_s=30)


def test_the_server_comes_back_after_it_was_killed(workspace: Workspace) -> None:
    with ForkServer(preload=(CHILDREN,)) as server:
        server.call(f"{CHILDREN}:echo", 1, jail=workspace.jail(), limit_s=30)
        first = server.pid
        assert first is not None

        os.kill(first, signal.SIGKILL)
        assert eventually(lambda: gone(first))

        assert server.call(f"{CHILDREN}:echo", 2, jail=workspace.jail(), limit_s=30) == 2
        assert server.pid != first


def test_work_under_a_server_that_is_killed_ends_as_stalled_and_the_child_with_it(
    workspace: Workspace,
) -> None:
    pids: list[int] = []
    with ForkServer(preload=(CHILDREN,)) as server:

        def kill(progress: Mapping[str, object]) -> None:
            pids.append(int(str(progress["pid"])))
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)

        with pytest.raises(Stalled):
            server.call(
                f"{CHILDREN}:tick_for_ever",
                None,
                jail=workspace.jail(),
                limit_s=60,
                on_progress=kill,
            )

    assert eventually(lambda: all(gone(pid) for pid in pids))


@pytest.mark.parametrize("module", DEFAULT_PRELOAD)
def test_what_is_to_be_warm_can_be_imported(module: str) -> None:
    assert importlib.import_module(module)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_server_has_one_thread_so_its_forks_are_whole(
    server: ForkServer, workspace: Workspace
) -> None:
    server.call(f"{CHILDREN}:echo", 1, jail=workspace.jail(), limit_s=60)

    assert len(list(Path(f"/proc/{server.pid}/task").iterdir())) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_nothing_stays_open_whatever_way_a_run_ends(
    server: ForkServer, workspace: Workspace
) -> None:
    def ways() -> None:
        server.call(f"{CHILDREN}:echo", 1, jail=workspace.jail(), limit_s=60)
        for name, argument in (("crash", None), ("fail", ["TooLarge", "x", []]), ("hang", None)):
            with pytest.raises(CuttingRoomError):
                server.call(
                    f"{CHILDREN}:{name}",
                    argument,  # type: ignore[arg-type]
                    jail=workspace.jail(),
                    limit_s=60,
                    stall_s=0.1,
                )

    def open_files() -> list[int]:
        return [len(list(Path(f"/proc/{p}/fd").iterdir())) for p in (os.getpid(), server.pid)]

    ways()
    before = open_files()

    ways()

    assert eventually(
        lambda: all(now <= then for now, then in zip(open_files(), before, strict=True))
    )


def test_several_threads_share_a_server(server: ForkServer, workspace: Workspace) -> None:
    def ask(number: int) -> object:
        return server.call(f"{CHILDREN}:echo", number, jail=workspace.jail(), limit_s=60)

    with ThreadPoolExecutor(max_workers=4) as threads:
        answers = list(threads.map(ask, range(12)))

    assert answers == list(range(12))


def test_a_fork_of_the_owner_starts_its_own_server_and_lets_go_of_the_first(
    workspace: Workspace,
) -> None:
    forker = subprocess.run(
        [sys.executable, "-c", FORKER, str(workspace.path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        check=True,
        timeout=60,
    )

    assert forker.stdout.split() == [b"True", b"True", b"True"]


FORKER = """
import os, sys
from pathlib import Path
from media.jail import Jail
from media.process import ForkServer
jail = Jail(workspace=Path(sys.argv[1]))
server = ForkServer(preload=("tests.media.children",))
ask = lambda: server.call("tests.media.children:echo", 1, jail=jail, limit_s=60) == 1
print(ask(), flush=True)
first = server.pid
pid = os.fork()
if pid == 0:
    print(ask() and server.pid != first, flush=True)
    server.close()
    os._exit(0)
os.waitpid(pid, 0)
print(ask() and server.pid == first, flush=True)
server.close()
"""


def test_only_one_module_starts_processes() -> None:
    ours = "schemas pipelines media connectors store catalog workers api_gateway cli"
    packages = [ROOT / name for name in ours.split()]
    modules = [path for package in packages for path in package.rglob("*.py")]

    importers = [
        path.relative_to(ROOT).as_posix()
        for path in modules
        if {"subprocess", "multiprocessing", "pty"} & imported(path)
    ]

    assert importers == ["media/process.py"]


def imported(path: Path) -> set[str]:
    """The top-level names a module imports, at its head or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_one_process_shares_one_server() -> None:
    assert shared() is shared()


OWNER = """
import sys, threading
from pathlib import Path
from media.jail import Jail
from media.process import ForkServer
jail = Jail(workspace=Path(sys.argv[1]))
server = ForkServer(preload=("tests.media.children",))
def program():
    server.run(["/bin/sleep", "600"], jail=jail, limit_s=600, stall_s=None)
threading.Thread(target=program, daemon=True).start()
def say(progress):
    print(server.pid, progress["pid"], flush=True)
server.call("tests.media.children:tick_for_ever", None, jail=jail, limit_s=600, on_progress=say)
"""


def descendants(pid: int) -> set[int]:
    """The children of a process and theirs."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found |= {int(child)} | descendants(int(child))
    return found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_killing_the_owner_takes_the_server_the_program_and_the_child_along(
    workspace: Workspace,
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(workspace.path)],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert owner.stdout is not None
    owner.stdout.readline()
    assert eventually(lambda: len(descendants(owner.pid)) == 3)
    family = descendants(owner.pid)

    owner.kill()
    owner.wait()
    owner.stdout.close()

    assert eventually(lambda: all(gone(pid) for pid in family), within_s=2.0)


@pytest.mark.parametrize("env", [{}, {"ONLY": "this"}, {"LC_CTYPE": "C", "A": "b c"}])
def test_a_service_runs_with_exactly_its_environment_and_its_output_kept(
    tmp_path: Path, env: dict[str, str]
) -> None:
    with (tmp_path / "log").open("wb") as log:
        service = spawn_service("env", ["/usr/bin/env"], env=env, output=log)
        code = service.wait(10)

    lines = (tmp_path / "log").read_text().splitlines()
    assert code == 0
    assert dict(line.split("=", 1) for line in lines) == env


def test_services_are_asked_to_stop_and_then_made_to() -> None:
    deaf = "import signal,time;signal.signal(15,signal.SIG_IGN);print(1,flush=True);time.sleep(600)"
    polite = spawn_service("polite", ["/bin/sleep", "600"], env={})
    with subprocess.Popen(["/bin/true"]):
        stubborn = spawn_service("stubborn", [sys.executable, "-c", deaf], env={})

    stop_services((polite, stubborn), grace_s=0.5)

    assert polite.poll() == -signal.SIGTERM
    assert stubborn.poll() in {-signal.SIGKILL, -signal.SIGTERM}


def test_a_service_that_is_not_there_ends_with_a_code() -> None:
    service = spawn_service("ghost", ["/no/such/program"], env={})

    assert service.wait(10) == 1


SUPERVISOR = """
import sys
from media.process import spawn_service
service = spawn_service("sleeper", ["/bin/sleep", "600"], env={})
print(service.pid, flush=True)
service.wait(600)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the parent death signal")
def test_killing_the_supervisor_ends_its_services() -> None:
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdout=subprocess.PIPE,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert eventually(lambda: b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()[:12])

    supervisor.kill()
    supervisor.wait()
    supervisor.stdout.close()

    assert eventually(lambda: gone(pid), within_s=2.0)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("a\nb\n", "a | b"),
        ("GET https://u:p@h/x?sig=1 failed", "GET <url> failed"),
        ("\x1b[31mred\x00", "[31mred"),
    ],
)
def test_output_in_a_message_is_one_plain_line_without_urls(said: str, kept: str) -> None:
    assert redacted(said) == kept
