"""What confines a child that touches media: applied inside the child, before its work begins."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import Field

from media import landlock, seccomp
from schemas.base import Value
from schemas.errors import UnsupportedMedia

GIB = 1024**3
NOBODY = 65534
_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAPBSET_DROP = 1, 8, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 38, 47, 2
_CAPABILITY_V3 = 0x20080522
_CAP_CHOWN, _CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 0, 1, 2
_CAP_SETGID, _CAP_SETUID, _CAP_SETPCAP = 6, 7, 8
_FOR_A_UID_DROP = (
    _CAP_CHOWN,
    _CAP_DAC_OVERRIDE,
    _CAP_DAC_READ_SEARCH,
    _CAP_SETGID,
    _CAP_SETUID,
    _CAP_SETPCAP,
)
_LIBRARIES = tuple(
    Path(name)
    for name in ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store")
)
_SYSTEM = tuple(
    Path(name)
    for name in (
        "/usr/share",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/dev/urandom",
        "/dev/random",
        "/sys/devices/system/cpu",
    )
)


class Jail(Value):
    """How far one child reaches: one writable folder, what it may read, and what it may use up."""

    workspace: Path
    reads: tuple[Path, ...] = ()
    memory_bytes: int = Field(default=4 * GIB, gt=0)
    file_bytes: int = Field(default=64 * GIB, gt=0)
    cpu_s: int | None = Field(default=None, gt=0)
    open_files: int = Field(default=256, gt=0)


class JailStatus(Value):
    """What this machine can confine a child with.

    `uid`: `dropped` to an unprivileged one, `own` where we are not root, `kept` where root lacks
    what dropping takes (its capabilities go all the same).
    """

    landlock_abi: int
    seccomp: bool
    uid: Literal["dropped", "own", "kept"]

    @property
    def complete(self) -> bool:
        """Whether the guarantee holds: files by Landlock, calls by seccomp."""
        return self.landlock_abi > 0 and self.seccomp

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of what this machine lacks."""
        lacks = (("Landlock", self.landlock_abi == 0), ("seccomp", not self.seccomp))
        return tuple(name for name, lacking in lacks if lacking)


def jail_status() -> JailStatus:
    """What a child would be confined with here, found out without confining anything."""
    if not sys.platform.startswith("linux"):
        return JailStatus(landlock_abi=0, seccomp=False, uid="own")
    version = landlock.abi()
    return JailStatus(
        landlock_abi=version, seccomp=seccomp.supported(_prctl), uid=_uid_choice(version)
    )


def jail_uid() -> int | None:
    """The uid jailed children run under, where it is not our own."""
    return NOBODY if jail_status().uid == "dropped" else None


def hand_over(folder: Path) -> None:
    """Make a folder writable by jailed children: theirs under root, just ours otherwise."""
    folder.chmod(0o700)
    if (uid := jail_uid()) is not None:
        os.chown(folder, uid, -1)
        folder.chmod(0o770)


def require_jail(*, allow_unjailed: bool) -> JailStatus:
    """The jail of this machine; refused where it is incomplete and nobody allowed that."""
    status = jail_status()
    if not status.complete and not allow_unjailed:
        raise UnsupportedMedia(
            f"this machine lacks {' and '.join(status.missing)}, so media cannot be opened safely; "
            "use Linux 5.13 or newer with both on, or set CUTTINGROOM_ALLOW_UNJAILED=true"
        )
    return status


def apply(jail: Jail, *, program: Path | None, parent_pid: int, allow_unjailed: bool) -> None:
    """Confine this process for good: limits, files, identity, death with the parent, calls.

    `program` is what it will become by exec; None where it goes on as Python and must not exec.
    """
    status = require_jail(allow_unjailed=allow_unjailed)
    os.chdir(jail.workspace)
    workspace_uid = os.stat(".").st_uid  # noqa: PTH116 - the folder we stand in, whatever its name
    os.umask(0o027)
    _limit(jail)
    if not sys.platform.startswith("linux"):
        return
    _checked(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    if status.landlock_abi:
        landlock.restrict(status.landlock_abi, _rules(jail, program))
    _drop_privileges(_uid_within(status, workspace_uid))
    _die_with(parent_pid)
    if status.seccomp:
        code = seccomp.assemble(platform.machine(), pid=os.getpid(), may_exec=program is not None)
        seccomp.install(_prctl, code)


def _rules(jail: Jail, program: Path | None) -> list[tuple[Path, int]]:
    reads = [*_SYSTEM, *jail.reads]
    if program is None:
        reads += _python_folders()
    rules = [(path, landlock.READ) for path in reads]
    rules += [(path, landlock.RUN) for path in _LIBRARIES]
    rules += [] if program is None else [(program, landlock.RUN)]
    return [*rules, (Path("/dev/null"), landlock.WRITE), (jail.workspace, landlock.WRITE)]


def _python_folders() -> list[Path]:
    ours = Path(__file__).resolve().parent.parent
    packages = [ours / name for name in ("media", "schemas", "pipelines")]
    return [Path(sys.prefix), Path(sys.base_prefix), *packages]


def _limit(jail: Jail) -> None:
    # RLIMIT_NPROC is left alone: it counts every process of the uid, over all jobs, and the
    # call filter already forbids new processes.
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_AS, jail.memory_bytes)
    _lower(resource.RLIMIT_FSIZE, jail.file_bytes)
    _lower(resource.RLIMIT_NOFILE, jail.open_files)
    if jail.cpu_s is not None:
        # One more second at the hard limit: the soft one tells why, the hard one only kills.
        _lower(resource.RLIMIT_CPU, jail.cpu_s, jail.cpu_s + 1)


def _lower(which: int, soft: int, hard: int | None = None) -> None:
    ceiling = resource.getrlimit(which)[1]
    if ceiling == resource.RLIM_INFINITY:
        ceiling = max(soft, hard or soft)
    resource.setrlimit(which, (min(soft, ceiling), min(hard or soft, ceiling)))


def _uid_choice(landlock_abi: int) -> Literal["dropped", "own", "kept"]:
    if os.geteuid() != 0:
        return "own"
    held = _effective_capabilities()
    can = all(held >> capability & 1 for capability in _FOR_A_UID_DROP)
    return "dropped" if can and landlock_abi else "kept"


def _uid_within(status: JailStatus, workspace_uid: int) -> Literal["dropped", "own", "kept"]:
    # A folder nobody handed over could not be written under another uid; then only the
    # capabilities go.
    return "kept" if status.uid == "dropped" and workspace_uid != NOBODY else status.uid


def _drop_privileges(choice: Literal["dropped", "own", "kept"]) -> None:
    if choice == "own":
        return
    # Landlock says which folders are readable; this one capability only lets the new uid walk to
    # them where a home directory is closed to others. It cannot widen what Landlock allows.
    kept = 1 << _CAP_DAC_READ_SEARCH if choice == "dropped" else 0
    _shrink_bounding_set(kept)
    if choice == "dropped":
        _checked(_prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0), "keepcaps")
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    _set_capabilities(kept)
    if kept:
        raised = _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_READ_SEARCH, 0, 0)
        _checked(raised, "ambient capability")


def _shrink_bounding_set(kept: int) -> None:
    for capability in range(64):
        if not kept >> capability & 1 and _prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            # EINVAL: past the kernel's last one. EPERM: root without CAP_SETPCAP.
            return


def _effective_capabilities() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0


def _set_capabilities(mask: int) -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_V3, 0)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (ctypes.c_uint32 * 6)(low, low, low, high, high, high)
    _checked(_libc.capset(header, data), "capset")


def _die_with(parent_pid: int) -> None:
    _checked(_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "parent death signal")
    if os.getppid() != parent_pid:
        os._exit(1)


def _checked(answer: int, what: str) -> None:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, *arguments: int) -> int:
    call: Callable[..., int] = _libc.prctl
    return call(ctypes.c_int(option), *(ctypes.c_ulong(a) for a in arguments))
