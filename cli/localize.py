"""`cuttingroom localize`: a file brought here over several connections, with no server at all."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import SecretStr
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from cli.addresses import own_addresses
from cli.output import check_output
from connectors.base import ConnectorEnv, Reads
from connectors.egress import Egress
from connectors.http import Auth, WebFile
from connectors.ranged import readers, source_file
from pipelines.localize import connections_at
from schemas.base import Value
from schemas.errors import Cancelled, CuttingRoomError, InvalidCommand, SourceChanged
from schemas.localized import MIN_RATE, FetchedFile, SourceFile
from schemas.media import MediaInfo
from schemas.settings import Settings
from workers.downloading import Download, Options

_UNSPEAKABLE = re.compile(r"[\x00-\x1f\x7f\\/]")


class Asked(Value):
    """What somebody typed."""

    url: str
    output: Path
    connections: int = 8
    limit_rate: int | None = None
    host_key: str | None = None
    force: bool = False


def run(asked: Asked, settings: Settings, err: Console, out: Console, *, as_json: bool) -> None:
    """Bring the file here and say what it is; raises what kept it from that."""
    check_output(asked.output, force=asked.force)
    began = time.monotonic()
    fetched = fetch(asked, settings, err)
    spent_s = time.monotonic() - began
    told = _looked_into(asked.output, settings)
    if as_json:
        out.print_json(data=_as_json(asked, fetched, told))
    else:
        _show(asked, fetched, told, spent_s, out)


def fetch(asked: Asked, settings: Settings, err: Console) -> FetchedFile:
    """The whole file at its place; what came of it stays for the next call where this raises."""
    own = own_addresses(asked.url) if urlsplit(asked.url).hostname else ()
    egress = Egress(allow_cidrs=(*settings.allow_cidrs, *own))
    env = ConnectorEnv(egress=egress, settings=settings, clock=lambda: time.time_ns() // 10**6)
    opened, file_id = _source(asked, env)
    source = source_file(opened(), file_id)
    with _bar(err) as bar:
        task = bar.add_task("fetching", total=source.validators.size)
        options = Options(
            max_connections=connections_at(asked.limit_rate, asked.connections),
            max_bytes_per_s=asked.limit_rate and max(MIN_RATE, asked.limit_rate),
            replaces=asked.force,
            report=lambda done: _moved(bar, task, source, done),
        )
        return _brought(Download(readers(opened, source), source, asked.output, options), asked)


def _brought(download: Download, asked: Asked) -> FetchedFile:
    if asked.force:
        download.forget()
    try:
        fetched = download.run()
    except KeyboardInterrupt:
        raise Cancelled(_stopped(asked)) from None
    except SourceChanged as error:
        raise SourceChanged(f"{error.message}; --force begins anew") from None
    download.forget()
    return fetched


def _stopped(asked: Asked) -> str:
    if not asked.force:
        return "stopped; the same command goes on from here"
    kept = f"{asked.output} is as it was; " if asked.output.exists() else ""
    return f"stopped; {kept}--force begins anew"


def _source(asked: Asked, env: ConnectorEnv) -> tuple[Callable[[], Reads], str]:
    """How to open what was typed, and the name of the file there."""
    parts = urlsplit(asked.url)
    match parts.scheme.lower():
        case "http" | "https":
            auth = _web_auth(asked.url)
            bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))
            name = _UNSPEAKABLE.sub("_", unquote(parts.path.rpartition("/")[2])) or "file"
            return lambda: WebFile(bare, auth, env.egress), name.strip(".")[:200] or "file"
        case "ftp" | "ftps":
            return _ftp(asked.url, env)
        case "sftp":
            return _sftp(asked, env)
        case "s3":
            return _s3(asked.url, env)
        case "" | "file":
            return _local(unquote(parts.path))
    raise InvalidCommand(
        f"{parts.scheme}: give an http, https, ftp, ftps, sftp or s3 URL, or a path"
    )


def _web_auth(url: str) -> Auth:
    parts = urlsplit(url)
    if parts.username is None:
        return Auth()
    return Auth(username=unquote(parts.username), password=SecretStr(unquote(parts.password or "")))


def _ftp(url: str, env: ConnectorEnv) -> tuple[Callable[[], Reads], str]:
    from connectors import ftp

    parts = urlsplit(url)
    values: dict[str, Any] = {"host": parts.hostname or "", "port": parts.port or 21}
    if parts.username:
        values["username"] = unquote(parts.username)
    values["tls"] = "explicit" if parts.scheme == "ftps" else "none"
    config = ftp.Config.model_validate(values)
    password = SecretStr(unquote(parts.password)) if parts.password else None
    return lambda: ftp.connect(config, ftp.Auth(password=password), env), unquote(parts.path[1:])


def _sftp(asked: Asked, env: ConnectorEnv) -> tuple[Callable[[], Reads], str]:
    from connectors import sftp

    parts = urlsplit(asked.url)
    if asked.host_key is None:
        raise InvalidCommand(
            'give the server\'s host key with --host-key, as in "$(ssh-keyscan HOST)"'
        )
    if parts.username is None or parts.password is None:
        raise InvalidCommand("give the log-in as in sftp://user:password@host/path")
    config = sftp.Config(
        host=parts.hostname or "",
        port=parts.port or 22,
        username=unquote(parts.username),
        folder="/",
        host_key=asked.host_key,
    )
    auth = sftp.Auth(password=SecretStr(unquote(parts.password)))
    return lambda: sftp.connect(config, auth, env), unquote(parts.path[1:])


def _s3(url: str, env: ConnectorEnv) -> tuple[Callable[[], Reads], str]:
    from connectors import s3

    parts = urlsplit(url)
    config = s3.Config(bucket=parts.netloc)
    # Whoever types this is on their own machine: boto3 finds their own credentials there.
    bucket = s3.Bucket(config, s3.Auth(), env.egress.judge, env.clock, own_chain=True)
    return lambda: bucket, unquote(parts.path[1:])


def _local(path: str) -> tuple[Callable[[], Reads], str]:
    from connectors.local import Folder

    whole = Path(path).absolute()
    return lambda: Folder(whole.parent), whole.name


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<12}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
    )


def _moved(bar: Progress, task: Any, source: SourceFile, done: float) -> None:
    bar.update(task, completed=round(done * (source.validators.size or 0)))


def _looked_into(path: Path, settings: Settings) -> MediaInfo | str:
    """What the file holds, or why nobody can say: it is kept either way."""
    from media.jail import Jail
    from media.probe import probe
    from media.process import shared

    with tempfile.TemporaryDirectory(prefix="cuttingroom-") as work:
        Path(work).chmod(0o711)
        room = Path(work) / "probe"
        room.mkdir(mode=0o777)
        try:
            server = shared(allow_unjailed=settings.allow_unjailed)
            return probe(server, path, jail=Jail(workspace=room), edges=True)
        except CuttingRoomError as error:
            return error.message


def _as_json(asked: Asked, fetched: FetchedFile, told: MediaInfo | str) -> dict[str, Any]:
    return {
        "file": str(asked.output),
        "size": fetched.size,
        "sha256": fetched.sha256,
        "resumedBytes": fetched.resumed,
        "connections": fetched.connections,
        "media": told.model_dump(mode="json") if isinstance(told, MediaInfo) else None,
        "notes": [] if isinstance(told, MediaInfo) else [told],
    }


def _show(
    asked: Asked, fetched: FetchedFile, told: MediaInfo | str, spent_s: float, out: Console
) -> None:
    moved = fetched.size - fetched.resumed
    rate = f"{moved / spent_s / 1e6:.0f} MB/s" if spent_s > 0 else ""
    out.print(f"[bold]{asked.output}[/bold]  {fetched.size / 1e6:.1f} MB, {rate}", highlight=False)
    out.print(f"  {fetched.connections} connection(s), {fetched.resumed / 1e6:.1f} MB were here")
    out.print(f"  sha256 {fetched.sha256}")
    if isinstance(told, str):
        out.print(f"  note: {told}", markup=False)
        return
    streams = ", ".join(stream.codec for stream in told.streams)
    length = "" if told.duration_ms is None else f", {told.duration_ms / 1000:.3f} s"
    out.print(f"  {told.container}{length}: {streams}", markup=False)
