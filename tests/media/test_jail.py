"""A jailed child reaches its workspace and nothing else."""

from __future__ import annotations

import errno
import json
import os
import platform
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from media import jail, seccomp
from media.jail import Jail, JailStatus, jail_status, require_jail
from media.process import ForkServer
from media.workspace import Workspace
from schemas.errors import CuttingRoomError, TimedOut, TooLarge, UnsupportedMedia

CHILDREN = "tests.media.children"
needs_a_jail = pytest.mark.skipif(
    not jail_status().complete, reason="this kernel has no Landlock or no seccomp"
)


def call(server: ForkServer, name: str, argument: object, within: Jail) -> object:
    return server.call(f"{CHILDREN}:{name}", argument, jail=within, limit_s=30)  # type: ignore[arg-type]


@needs_a_jail
@pytest.mark.parametrize("path", ["/etc/passwd", "/tmp/elsewhere", "/dev/shm/x", "/proc/self/mem"])
def test_nothing_outside_the_workspace_can_be_written(
    server: ForkServer, workspace: Workspace, path: str
) -> None:
    answer = call(server, "open_for_writing", path, workspace.jail())

    assert answer == ["refused", errno.EACCES]


@needs_a_jail
@pytest.mark.parametrize(
    "path", ["/etc/passwd", "/etc/hostname", "/proc/{owner}/environ", "/proc/self/environ"]
)
def test_nothing_outside_the_system_libraries_can_be_read(
    server: ForkServer, workspace: Workspace, path: str
) -> None:
    named = path.format(owner=os.getpid())

    assert call(server, "read_file", named, workspace.jail()) == ["refused", errno.EACCES]


@needs_a_jail
def test_another_jobs_folder_can_be_neither_read_nor_listed(
    server: ForkServer, workspace: Workspace, tmp_path: Path
) -> None:
    with Workspace.create(tmp_path / "work", "other", 1) as other:
        other.file("secret.ts").write_text("theirs")

        read = call(server, "read_file", str(other.file("secret.ts")), workspace.jail())
        listed = call(server, "list_folder", str(other.path), workspace.jail())
        around = call(server, "list_folder", str(other.path.parent), workspace.jail())

    assert read == listed == around == ["refused", errno.EACCES]


@needs_a_jail
def test_a_listed_input_can_be_read_and_not_written(
    server: ForkServer, workspace: Workspace, tmp_path: Path
) -> None:
    listed = tmp_path / "input.ts"
    listed.write_text("ours")
    within = workspace.jail(reads=(listed,))

    assert call(server, "read_file", str(listed), within) == ["did", "ours"]
    assert call(server, "open_for_writing", str(listed), within) == ["refused", errno.EACCES]


def test_the_workspace_can_be_written_and_its_files_belong_to_us_to_read(
    server: ForkServer, workspace: Workspace
) -> None:
    written = call(server, "write_file", [str(workspace.file("out.mp4")), 1000], workspace.jail())

    assert written == 1000
    assert workspace.file("out.mp4").read_bytes() == bytes(1000)


@needs_a_jail
def test_no_socket_no_process_no_signal_no_debugging(
    server: ForkServer, workspace: Workspace
) -> None:
    answers = call(server, "attack", str(os.getpid()), workspace.jail())

    assert isinstance(answers, dict)
    assert {name: answer[0] for name, answer in answers.items()} == dict.fromkeys(
        answers, "refused"
    )


@needs_a_jail
def test_threads_still_work(server: ForkServer, workspace: Workspace) -> None:
    assert call(server, "use_threads", None, workspace.jail()) == [0, 1, 2, 3]


def test_the_environment_holds_no_secret(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUTTINGROOM_SECRET_KEYS", "s3cret")

    with ForkServer(preload=(CHILDREN,)) as fresh:
        seen = call(fresh, "environment", None, workspace.jail())

    assert "s3cret" not in str(seen)
    assert not any(name.startswith("CUTTINGROOM") for name in seen)  # type: ignore[attr-defined]


def test_a_child_has_its_own_session_no_core_and_four_descriptors(
    server: ForkServer, workspace: Workspace
) -> None:
    seen = call(server, "who", None, workspace.jail())

    assert isinstance(seen, dict)
    assert seen["pid"] == seen["group"] == seen["session"]
    assert (seen["core"], seen["fds"]) == (0, [0, 1, 2, 3])
    if os.geteuid() == 0 and jail_status().uid == "dropped":
        assert seen["uid"] == jail.NOBODY


def test_a_folder_that_was_not_handed_over_can_be_written_without_any_capability(
    server: ForkServer, tmp_path: Path
) -> None:
    within = Jail(workspace=tmp_path)

    written = call(server, "write_file", ["out.mp4", 10], within)
    held = call(server, "capabilities", None, within)

    assert written == (tmp_path / "out.mp4").stat().st_size == 10
    assert tmp_path.stat().st_uid == os.getuid()
    if os.geteuid() == 0:
        assert held == 0


def test_memory_is_limited(server: ForkServer, workspace: Workspace) -> None:
    with pytest.raises(TooLarge):
        call(server, "fill_memory", 3 * 1024**3, workspace.jail(memory_bytes=2 * 1024**3))


def test_file_size_is_limited(server: ForkServer, workspace: Workspace) -> None:
    with pytest.raises(TooLarge):
        call(server, "write_file", ["big", 2_000_000], workspace.jail(file_bytes=1_000_000))


def test_processor_time_is_limited(server: ForkServer, workspace: Workspace) -> None:
    spin = ["/bin/sh", "-c", "while :; do :; done"]

    with pytest.raises(TimedOut):
        server.run(spin, jail=workspace.jail(cpu_s=1), limit_s=60)


@needs_a_jail
def test_a_program_is_jailed_like_a_call(server: ForkServer, workspace: Workspace) -> None:
    finished = server.run(["/bin/cat", "/etc/passwd"], jail=workspace.jail(), limit_s=30)

    assert (finished.exit_code, finished.stdout) == (1, b"")


@needs_a_jail
def test_a_program_may_not_start_another(server: ForkServer, workspace: Workspace) -> None:
    finished = server.run(
        ["/bin/sh", "-c", "/bin/echo out; echo done"], jail=workspace.jail(), limit_s=30
    )

    assert b"out" not in finished.stdout


@pytest.mark.parametrize(
    ("landlock_abi", "filters", "missing"),
    [(0, True, ("Landlock",)), (3, False, ("seccomp",)), (0, False, ("Landlock", "seccomp"))],
)
def test_what_is_missing_is_named(
    landlock_abi: int, filters: bool, missing: tuple[str, ...]
) -> None:
    status = JailStatus(landlock_abi=landlock_abi, seccomp=filters, uid="own")

    assert (status.complete, status.missing) == (False, missing)


def test_without_a_jail_start_up_is_refused_unless_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bare = JailStatus(landlock_abi=0, seccomp=False, uid="own")
    monkeypatch.setattr(jail, "jail_status", lambda: bare)

    with pytest.raises(UnsupportedMedia, match="Landlock and seccomp"):
        ForkServer().start()
    assert require_jail(allow_unjailed=True) == bare


WITHOUT_LANDLOCK = """
import ctypes, errno, json, os, struct, sys
from pathlib import Path
from media import jail, seccomp
ask, absent = (0x20, 0, 0, 0), (0x06, 0, 0, 0x50000 | errno.ENOSYS)
rows = (ask, (0x15, 0, 1, 444), absent, (0x06, 0, 0, 0x7FFF0000))
ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
seccomp.install(jail._prctl, b"".join(struct.pack("=HBBI", *row) for row in rows))
from media.process import ForkServer
from schemas.errors import UnsupportedMedia
try:
    ForkServer().start()
except UnsupportedMedia:
    print("refused")
with ForkServer(preload=("tests.media.children",), allow_unjailed=True) as server:
    within = jail.Jail(workspace=Path(sys.argv[1]))
    def call(name, argument):
        return server.call(f"tests.media.children:{name}", argument, jail=within, limit_s=60)
    print(json.dumps([call("capabilities", None), call("attack", str(os.getpid()))]))
"""


@needs_a_jail
def test_without_landlock_start_is_refused_and_what_is_allowed_keeps_the_other_walls(
    tmp_path: Path,
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_LANDLOCK, str(tmp_path)],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=True,
        timeout=60,
    )

    refused, answers = ran.stdout.decode().splitlines()
    capabilities, attack = json.loads(answers)
    assert (refused, capabilities) == ("refused", 0)
    assert {name: answer[0] for name, answer in attack.items() if answer[0] != "refused"} == {}


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("may_exec", [True, False])
def test_every_jump_of_the_filter_lands_inside_it(machine: str, may_exec: bool) -> None:
    code = seccomp.assemble(machine, pid=42, may_exec=may_exec)

    rows = list(struct.iter_unpack("=HBBI", code))
    jumps = [(at, max(row[1:3])) for at, row in enumerate(rows) if row[0] in {0x15, 0x35, 0x45}]
    assert all(at + 1 + furthest < len(rows) for at, furthest in jumps)
    assert rows[-1] == (0x06, 0, 0, 0x7FFF0000)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize(
    ("name", "number", "arg0", "may_exec", "answer"),
    [
        ("socket", {"x86_64": 41, "aarch64": 198}, 2, True, errno.EPERM),
        ("read", {"x86_64": 0, "aarch64": 63}, 0, True, 0),
        ("execve", {"x86_64": 59, "aarch64": 221}, 0, True, 0),
        ("execve", {"x86_64": 59, "aarch64": 221}, 0, False, errno.EPERM),
        ("clone thread", {"x86_64": 56, "aarch64": 220}, 0x3D0F00, True, 0),
        ("clone process", {"x86_64": 56, "aarch64": 220}, 17, True, errno.EPERM),
        ("clone3", {"x86_64": 435, "aarch64": 435}, 0, True, errno.ENOSYS),
        ("tgkill self", {"x86_64": 234, "aarch64": 131}, 42, True, 0),
        ("tgkill other", {"x86_64": 234, "aarch64": 131}, 43, True, errno.EPERM),
        ("prlimit self", {"x86_64": 302, "aarch64": 261}, 0, True, 0),
        ("prlimit other", {"x86_64": 302, "aarch64": 261}, 43, True, errno.EPERM),
    ],
)
def test_the_filter_answers(
    machine: str, name: str, number: dict[str, int], arg0: int, may_exec: bool, answer: int
) -> None:
    code = seccomp.assemble(machine, pid=42, may_exec=may_exec)

    verdict = run_filter(code, arch=ARCH[machine], number=number[machine], arg0=arg0)

    assert verdict == (0x7FFF0000 if answer == 0 else 0x00050000 | answer), name


def test_a_foreign_architecture_and_x32_calls_are_not_let_through() -> None:
    code = seccomp.assemble("x86_64", pid=42, may_exec=True)

    assert run_filter(code, arch=0x40000003, number=3, arg0=0) == 0x80000000
    assert run_filter(code, arch=ARCH["x86_64"], number=0x40000000, arg0=0) == 0x50001


ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def run_filter(code: bytes, *, arch: int, number: int, arg0: int) -> int:
    """What the kernel would answer: a small classic-BPF machine."""
    rows = list(struct.iter_unpack("=HBBI", code))
    data = {0: number, 4: arch, 16: arg0}
    at, held = 0, 0
    while True:
        op, jump_true, jump_false, value = rows[at]
        at += 1
        if op == 0x06:
            return int(value)
        if op == 0x20:
            held = data[value]
            continue
        met = {0x15: held == value, 0x35: held >= value, 0x45: bool(held & value)}[op]
        at += jump_true if met else jump_false


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux only")
def test_this_machines_status_is_told() -> None:
    status = jail_status()

    assert status.seccomp == (platform.machine() in ARCH)
    assert status.uid in {"dropped", "own", "kept"}


def test_an_internal_error_is_not_taken_for_the_medias(
    server: ForkServer, workspace: Workspace
) -> None:
    with pytest.raises(CuttingRoomError) as caught:
        server.call("tests.media.children:no_such", None, jail=workspace.jail(), limit_s=30)

    assert type(caught.value) is CuttingRoomError
