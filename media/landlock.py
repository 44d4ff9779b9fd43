"""Landlock: what of the file system a process may still reach, for good, through raw calls."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE, _ADD_RULE, _RESTRICT = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15

READ = _READ_FILE | _READ_DIR
RUN = READ | _EXECUTE
WRITE = READ | _WRITE_FILE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _REFER | _TRUNCATE
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_NET_ALL = 0b11
_SCOPE_ALL = 0b11

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def abi() -> int:
    """The Landlock version this kernel speaks; 0 where it has none or it is switched off."""
    answer = _call(_CREATE, 0, 0, _VERSION_FLAG)
    return max(answer, 0)


def restrict(version: int, rules: Iterable[tuple[Path, int]]) -> None:
    """Allow what the rules name and nothing else, from now on and for every thread to come.

    A path that does not exist is passed over: it cannot be reached either.
    """
    ruleset = _checked(_create(version), "landlock_create_ruleset")
    try:
        for path, access in rules:
            _add(ruleset, path, access & _handled(version))
        _checked(_call(_RESTRICT, ruleset, 0, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)


def _handled(version: int) -> int:
    bits = 13 + (version >= 2) + (version >= 3) + (version >= 5)
    return (1 << bits) - 1


def _create(version: int) -> int:
    attributes = _Ruleset(
        _handled(version),
        _NET_ALL if version >= 4 else 0,
        _SCOPE_ALL if version >= 6 else 0,
    )
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    return _call(_CREATE, ctypes.addressof(attributes), size, 0)


def _add(ruleset: int, path: Path, access: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        is_folder = stat.S_ISDIR(os.fstat(opened).st_mode)
        rule = _Beneath(access if is_folder else access & _OF_A_FILE, opened)
        added = _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.addressof(rule), 0)
        _checked(added, f"landlock_add_rule {path}")
    finally:
        os.close(opened)


def _call(number: int, *arguments: int) -> int:
    return int(_libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments)))


def _checked(answer: int, what: str) -> int:
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return answer
