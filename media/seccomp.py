"""The system-call filter of a jailed child: classic BPF, assembled by hand and put on by prctl."""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from collections.abc import Callable

_PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_RETURN = 0x06
_JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_BITS = 0x15, 0x35, 0x45
_AT_NUMBER, _AT_ARCH, _AT_ARG0 = 0, 4, 16
_X32_BIT = 0x40000000
_CLONE_THREAD = 0x00010000

# Machine -> (column in the table below, AUDIT_ARCH constant).
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# Name -> (x86_64 number, aarch64 number); None where the architecture has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # the network
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "pidfd_getfd": (438, 438),
    "setsid": (112, 157),
    "setpgid": (109, 154),
    "fork": (57, None),
    "vfork": (58, None),
    "execveat": (322, 281),
    # names that lead elsewhere: whoever reads the workspace later must not follow one
    "link": (86, None),
    "linkat": (265, 37),
    "symlink": (88, None),
    "symlinkat": (266, 36),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # name spaces and mounts
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    # kernel surface no codec needs
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "vmsplice": (278, 75),
    "fanotify_init": (300, 262),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "syslog": (103, 116),
}
_EXECVE = (59, 221)
_CLONE = (56, 220)
_CLONE3 = (435, 435)
_TGKILL = (234, 131)
_PRLIMIT64 = (302, 261)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def supported(prctl: Callable[..., int]) -> bool:
    """Whether this kernel takes filters and this machine's call numbers are known."""
    if platform.machine() not in _MACHINES:
        return False
    # A null program is refused with EFAULT where filters exist, with EINVAL where they do not.
    return prctl(_PR_SET_SECCOMP, _MODE_FILTER, 0, 0, 0) != 0 and ctypes.get_errno() == errno.EFAULT


def install(prctl: Callable[..., int], code: bytes) -> None:
    """Put the filter on this process for good; no_new_privs must be set."""
    held = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.addressof(held))
    if prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.addressof(program), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "seccomp filter refused")


def assemble(machine: str, *, pid: int, may_exec: bool) -> bytes:
    """The filter for one process: what is denied answers EPERM, a foreign architecture kills."""
    column, arch = _MACHINES[machine]
    denied = [numbers[column] for numbers in _DENIED.values()]
    denied += [] if may_exec else [_EXECVE[column]]
    return b"".join(
        (
            _ins(_LOAD, _AT_ARCH),
            _ins(_JUMP_EQUAL, arch, 1, 0),
            _ins(_RETURN, _KILL_PROCESS),
            _ins(_LOAD, _AT_NUMBER),
            *([_refuse(_X32_BIT, jump=_JUMP_GREATER_EQUAL)] if machine == "x86_64" else []),
            *(_refuse(number) for number in denied if number is not None),
            # glibc falls back to clone, whose flags a filter can read.
            _refuse(_CLONE3[column], error=errno.ENOSYS),
            _only_with_arg0(_CLONE[column], _ins(_JUMP_BITS, _CLONE_THREAD, 1, 0)),
            _only_with_arg0(_TGKILL[column], _ins(_JUMP_EQUAL, pid, 1, 0)),
            _only_with_arg0(_PRLIMIT64[column], _ins(_JUMP_EQUAL, 0, 1, 0)),
            _ins(_RETURN, _ALLOW),
        )
    )


def _ins(code: int, value: int, jump_true: int = 0, jump_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, jump_true, jump_false, value)


def _refuse(number: int, *, error: int = errno.EPERM, jump: int = _JUMP_EQUAL) -> bytes:
    return _ins(jump, number, 0, 1) + _ins(_RETURN, _ERRNO | error)


def _only_with_arg0(number: int, test: bytes) -> bytes:
    body = (
        _ins(_LOAD, _AT_ARG0) + test + _ins(_RETURN, _ERRNO | errno.EPERM) + _ins(_RETURN, _ALLOW)
    )
    return _ins(_JUMP_EQUAL, number, 0, len(body) // 8) + body
