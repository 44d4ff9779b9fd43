"""The command line: `cuttingroom`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError
from rich.console import Console

from schemas.errors import CuttingRoomError
from schemas.jobs import State
from schemas.settings import Settings

app = typer.Typer(
    name="cuttingroom",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
jobs = typer.Typer(no_args_is_help=True, help="Look at the jobs of a running service.")
app.add_typer(jobs, name="jobs")
db = typer.Typer(no_args_is_help=True, help="Upgrade, check and copy the catalogue.")
app.add_typer(db, name="db")
keys = typer.Typer(no_args_is_help=True, help="The key ring secrets are sealed with.")
app.add_typer(keys, name="keys")
users = typer.Typer(no_args_is_help=True, help="Let people in from this machine.")
app.add_typer(users, name="users")
epg = typer.Typer(no_args_is_help=True, help="Look into programme guides.")
app.add_typer(epg, name="epg")

PIPED_WIDTH = 1000

Cidrs = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-cidr", help="A network of your own that may be fetched from; repeatable."
    ),
]
Data = Annotated[Path, typer.Option("--data", help="Where everything is kept.")]
Tenant = Annotated[str, typer.Option(help="A tenant's name or id.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def out() -> Console:
    """Where results go."""
    return _console(stderr=False)


def err() -> Console:
    """Where progress and complaints go."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        # Programs read line by line: none is broken where a terminal would end.
        made.width = PIPED_WIDTH
    return made


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version as installed

        out().print(installed("cuttingroom"))
        raise typer.Exit


@app.callback()
def cuttingroom(
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Capture moments from live streams, cut to the exact frame."""


@app.command()
def clip(
    url: Annotated[str, typer.Argument(help="An HLS playlist or DASH manifest.")],
    start: Annotated[str, typer.Option(help="RFC 3339, epoch, or seconds into the window.")],
    end: Annotated[str, typer.Option(help="The first instant not wanted any more.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The MP4 to write.")],
    mode: Annotated[Literal["exact", "copy", "encode"], typer.Option()] = "exact",
    gaps: Annotated[Literal["fail", "skip", "black", "hold"], typer.Option()] = "fail",
    on_future: Annotated[Literal["wait", "reject"], typer.Option("--on-future")] = "wait",
    allow_cidr: Cidrs = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file.")] = False,
    as_json: Json = False,
) -> None:
    """Cut a clip out of a stream, here and now, without any server."""
    settings = _with_media(allow_cidr)

    from cli import clip as clipping
    from workers import logs

    asked = clipping.Asked(
        url=url, start=start, end=end, output=output.absolute(), mode=mode, gaps=gaps,
        on_future=on_future, force=force,
    )  # fmt: skip
    logs.set_up("error")
    clipping.run(asked, settings, err(), out(), as_json=as_json)


@app.command()
def export(
    url: Annotated[str, typer.Argument(help="An HLS playlist or DASH manifest.")],
    ranges: Annotated[
        list[str],
        typer.Option("--range", help="FROM..TO, each as for `clip`; repeatable, joined in order."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The MP4 to write.")],
    sidecar: Annotated[
        list[str] | None,
        typer.Option("--sidecar", help="json, xmp, otio, edl, fcpxml or webvtt; repeatable."),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option("--recipe", "-r", help="A built-in recipe or a JSON file.")
    ] = None,
    audio: Annotated[
        list[str] | None, typer.Option("--audio", help="A language to keep; repeatable; else all.")
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", help="NAME=TEXT, written into the file.")
    ] = None,
    mode: Annotated[Literal["exact", "copy", "encode"], typer.Option()] = "exact",
    gaps: Annotated[Literal["fail", "skip", "black", "hold"], typer.Option()] = "fail",
    on_future: Annotated[Literal["wait", "reject"], typer.Option("--on-future")] = "wait",
    allow_cidr: Cidrs = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the files.")] = False,
    as_json: Json = False,
) -> None:
    """Join ranges of a stream into one file, with what editors read beside it."""
    settings = _with_media(allow_cidr)

    from cli import export as exporting
    from workers import logs

    asked = exporting.Asked.model_validate(
        {
            "url": url, "ranges": tuple(ranges), "output": output.absolute(), "mode": mode,
            "gaps": gaps, "on_future": on_future, "force": force,
            "audio": tuple(audio) if audio else None, "sidecars": tuple(sidecar or ()),
            "metadata": exporting.tags(tag or ()), "recipe": exporting.recipe_of(recipe),
        }
    )  # fmt: skip
    logs.set_up("error")
    exporting.run(asked, settings, err(), out(), as_json=as_json)


@app.command()
def render(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A media file.")],
    recipe: Annotated[
        list[str],
        typer.Option("--recipe", "-r", help="A built-in recipe or a JSON file; repeatable."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file or manifest, or a folder for several.")
    ],
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file.")] = False,
    as_json: Json = False,
) -> None:
    """Make renditions of a file, here and now, without any server."""
    settings = _with_media(None)

    from cli import render as rendering
    from workers import logs

    asked = rendering.Asked(
        source=source.absolute(), recipe=tuple(recipe), output=output.absolute(), force=force
    )
    logs.set_up("error")
    rendering.run(asked, settings, err(), out(), as_json=as_json)


@app.command()
def localize(
    url: Annotated[str, typer.Argument(help="http, https, ftp, ftps, sftp, s3, or a path.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    connections: Annotated[int, typer.Option(min=1, max=64, help="At most so many.")] = 8,
    limit_rate: Annotated[int | None, typer.Option(help="At most so many bytes a second.")] = None,
    host_key: Annotated[str | None, typer.Option(help="Of an SFTP server.")] = None,
    allow_cidr: Cidrs = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Begin anew.")] = False,
    as_json: Json = False,
) -> None:
    """Bring a whole file here, fast; a second call goes on where the first was stopped."""
    settings = _with_media(allow_cidr)

    from cli import localize as localizing
    from workers import logs

    asked = localizing.Asked(
        url=url, output=output.absolute(), connections=connections, limit_rate=limit_rate,
        host_key=host_key, force=force,
    )  # fmt: skip
    logs.set_up("error")
    localizing.run(asked, settings, err(), out(), as_json=as_json)


Width = Annotated[int | None, typer.Option("--width", "-w", help="Of a picture, in pixels.")]
Format = Annotated[Literal["jpg", "webp"], typer.Option("--format")]
Nearest = Annotated[
    bool, typer.Option("--keyframes", help="Nearest keyframes: cheaper, their times are told.")
]


@app.command()
def sprite(
    source: Annotated[str, typer.Argument(metavar="INPUT|URL", help="A media file or a stream.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to.")],
    every: Annotated[float | None, typer.Option(help="Seconds between pictures.")] = None,
    count: Annotated[int | None, typer.Option(help="How many pictures.")] = None,
    width: Width = None,
    image_format: Format = "jpg",
    keyframes: Nearest = False,
    start: Annotated[str | None, typer.Option(help="Of a stream: where to begin.")] = None,
    end: Annotated[str | None, typer.Option(help="Of a stream: where to end.")] = None,
    allow_cidr: Cidrs = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the sprite.")] = False,
    as_json: Json = False,
) -> None:
    """Make sprite sheets with WebVTT and JSON, here and now, without any server."""
    settings = _with_media(allow_cidr)

    from cli import sprite as pictures
    from workers import logs

    asked = pictures.Asked(
        source=source, type="sprite", output=output.absolute(), every_s=every, count=count,
        width=width, format=image_format, times="keyframe" if keyframes else "exact",
        start=start, end=end, force=force,
    )  # fmt: skip
    logs.set_up("error")
    pictures.run(asked, settings, err(), out(), as_json=as_json)


@app.command()
def poster(
    source: Annotated[str, typer.Argument(metavar="INPUT|URL", help="A media file or a stream.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture: .jpg or .webp.")],
    at: Annotated[str, typer.Option(help="Seconds in, or a stream's RFC 3339 or epoch.")] = "0",
    width: Width = None,
    keyframes: Nearest = False,
    allow_cidr: Cidrs = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the picture.")] = False,
    as_json: Json = False,
) -> None:
    """Take one picture at a time, here and now, without any server."""
    settings = _with_media(allow_cidr)

    from cli import sprite as pictures
    from workers import logs

    asked = pictures.Asked(
        source=source, type="poster", output=output.absolute(), at=at, width=width,
        format="webp" if output.suffix.lower() == ".webp" else "jpg",
        times="keyframe" if keyframes else "exact", force=force,
    )  # fmt: skip
    logs.set_up("error")
    pictures.run(asked, settings, err(), out(), as_json=as_json)


@app.command()
def up(
    data: Data = Path("data"),
    port: Annotated[
        int, typer.Option(min=1, max=65533, help="And the two after it, for metrics.")
    ] = 8080,
    host: Annotated[str, typer.Option()] = "127.0.0.1",
    allow_cidr: Cidrs = None,
) -> None:
    """Run gateway, keeper and workers in the foreground."""
    from cli.up import up as run_up

    given = _settings(
        data_dir=str(data.absolute()), port=port, host=host, allow_cidrs=tuple(allow_cidr or ())
    )
    run_up(given, out())


@app.command()
def demo(
    keep: Annotated[Path | None, typer.Option(help="Keep all data of the demo here.")] = None,
    seconds: Annotated[int, typer.Option(min=2, max=60, help="How long a clip.")] = 6,
) -> None:
    """Start everything on defaults, clip a made-up live channel, and show the result."""
    from cli.demo import run as run_demo

    run_demo(_settings(), out(), keep, seconds)


@app.command()
def plan(
    command: Annotated[
        Path,
        typer.Argument(
            help="A command as JSON; `-` for standard input.",
            exists=True,
            dir_okay=False,
            readable=True,
            allow_dash=True,
        ),
    ],
    allow_cidr: Cidrs = None,
) -> None:
    """Print what would be done for a command, step by step, without doing it."""
    from cli.plan import run as run_plan

    text = sys.stdin.buffer.read() if str(command) == "-" else command.read_bytes()
    run_plan(text, _settings(allow_cidrs=tuple(allow_cidr or ())), out())


@app.command()
def doctor(data: Data = Path("data")) -> None:
    """Say what this machine has, what is missing, and what that means."""
    from cli.doctor import doctor as examine

    raise typer.Exit(examine(_settings(data_dir=str(data.absolute())), out()))


@jobs.command("list")
def jobs_list(
    data: Data = Path("data"),
    state: Annotated[State | None, typer.Option(help="Only jobs in this state.")] = None,
    as_json: Json = False,
) -> None:
    """The newest jobs, one a line."""
    from cli.jobs import show_list

    show_list(data, state, out(), as_json=as_json)


@jobs.command("show")
def jobs_show(job_id: str, data: Data = Path("data")) -> None:
    """One job, whole."""
    from cli.jobs import show

    show(data, job_id, out())


@jobs.command("watch")
def jobs_watch(job_id: str, data: Data = Path("data")) -> None:
    """Follow a job until it ends; exit code 1 unless it succeeds."""
    from cli.jobs import watch

    raise typer.Exit(0 if watch(data, job_id, out()) else 1)


@jobs.command("cancel")
def jobs_cancel(job_id: str, data: Data = Path("data")) -> None:
    """Ask a job to stop."""
    from cli.jobs import cancel

    cancel(data, job_id, out())


@jobs.command("retry")
def jobs_retry(job_id: str, data: Data = Path("data")) -> None:
    """Try a failed job again."""
    from cli.jobs import retry

    retry(data, job_id, out())


@db.command("upgrade")
def db_upgrade(data: Data = Path("data")) -> None:
    """Bring the tables to the newest form; `up` and the gateway do it by themselves."""
    from cli.db import upgrade

    upgrade(_settings(data_dir=str(data.absolute())), out())


@db.command("check")
def db_check(data: Data = Path("data")) -> None:
    """Say whether the catalogue is whole; exit code 1 where it is not."""
    from cli.db import check

    raise typer.Exit(0 if check(_settings(data_dir=str(data.absolute())), out()) else 1)


@db.command("backup")
def db_backup(
    target: Annotated[Path, typer.Argument(help="The file to write.")], data: Data = Path("data")
) -> None:
    """Copy a SQLite catalogue, whole, while the service runs."""
    from cli.db import backup

    backup(_settings(data_dir=str(data.absolute())), target, out())


@db.command("deletions")
def db_deletions(data: Data = Path("data")) -> None:
    """What was removed with each deleted tenant."""
    from cli.db import deletions

    deletions(_settings(data_dir=str(data.absolute())), out())


@keys.command("new")
def keys_new() -> None:
    """Print a fresh key."""
    from cli.keys import new

    new(out())


@keys.command("rotate")
def keys_rotate(data: Data = Path("data")) -> None:
    """Put a fresh key in front of the ring."""
    from cli.keys import rotate

    rotate(_settings(data_dir=str(data.absolute())), out())


@keys.command("reseal")
def keys_reseal(data: Data = Path("data")) -> None:
    """Seal every secret with the first key of the ring."""
    from cli.keys import reseal

    reseal(_settings(data_dir=str(data.absolute())), out())


@keys.command("prune")
def keys_prune(data: Data = Path("data")) -> None:
    """Drop every key but the first, once nothing needs another."""
    from cli.keys import prune

    prune(_settings(data_dir=str(data.absolute())), out())


@keys.command("sign")
def keys_sign(data: Data = Path("data")) -> None:
    """Have access tokens signed with a new key."""
    from cli.keys import sign

    sign(_settings(data_dir=str(data.absolute())), out())


@users.command("list")
def users_list(tenant: Tenant = "newsroom", data: Data = Path("data")) -> None:
    """Every user of a tenant."""
    from cli.users import show_list

    show_list(_settings(data_dir=str(data.absolute())), tenant, out())


@users.command("create")
def users_create(
    email: str,
    tenant: Tenant = "newsroom",
    role: Annotated[Literal["viewer", "editor", "admin"], typer.Option()] = "viewer",
    data: Data = Path("data"),
) -> None:
    """Make a user and print a temporary password."""
    from cli.users import create

    create(_settings(data_dir=str(data.absolute())), tenant, email, role, out())


@users.command("reset")
def users_reset(
    email: str,
    tenant: Tenant = "newsroom",
    mfa: Annotated[bool, typer.Option("--mfa", help="Take the second factor away too.")] = False,
    data: Data = Path("data"),
) -> None:
    """Give a user a temporary password, enabled and unlocked."""
    from cli.users import reset

    reset(_settings(data_dir=str(data.absolute())), tenant, email, out(), mfa=mfa)


@users.command("invite")
def users_invite(
    email: Annotated[str | None, typer.Option(help="Only this address may use it.")] = None,
    days: Annotated[int, typer.Option(min=1, max=365)] = 14,
    data: Data = Path("data"),
) -> None:
    """Print an invitation to sign up with a tenant."""
    from cli.users import invite

    invite(_settings(data_dir=str(data.absolute())), email, days, out())


@app.command()
def version() -> None:
    """The version."""
    _version(True)


GuideSource = Annotated[
    str | None, typer.Argument(help="An XMLTV file or URL; without it, the running service.")
]
Zone = Annotated[str | None, typer.Option(help="IANA zone of times that name no offset.")]
Lies = Annotated[bool, typer.Option("--ignore-offsets", help="The offsets lie: use --zone.")]
Country = Annotated[str | None, typer.Option(help="As in `gb`.")]


@epg.command("stations")
def epg_stations(
    source: GuideSource = None,
    find: Annotated[str | None, typer.Option(help="In names, call signs and ids.")] = None,
    country: Country = None,
    data: Data = Path("data"),
    as_json: Json = False,
) -> None:
    """The stations of a guide."""
    from cli import epg as guide

    if source is None:
        guide.show_service_stations(data, find, country, out(), as_json=as_json)
    else:
        guide.show_stations(guide.Place(source), _settings(), find, country, out(), as_json=as_json)


@epg.command("now")
def epg_now(
    source: Annotated[str, typer.Argument(help="An XMLTV file or URL.")],
    find: Annotated[str | None, typer.Option(help="In names, call signs and ids.")] = None,
    zone: Zone = None,
    ignore_offsets: Lies = False,
) -> None:
    """What is on at this moment."""
    from cli import epg as guide

    guide.show_now(guide.Place(source, zone, ignore_offsets), _settings(), find, out())


@epg.command("show")
def epg_show(
    source: Annotated[str, typer.Argument(help="An XMLTV file or URL; or a connector's id.")],
    station: Annotated[str, typer.Argument(help="A station of the guide; or a channel.")],
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; now.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="RFC 3339; a day later.")] = None,
    form: Annotated[Literal["table", "json", "xmltv"], typer.Option("--format")] = "table",
    zone: Zone = None,
    ignore_offsets: Lies = False,
    data: Data = Path("data"),
) -> None:
    """What a station shows; with a connector's id and a channel, what the service says."""
    from cli import epg as guide

    span = guide.span_of(start, end)
    if source.startswith("con_"):
        guide.show_channel(data, source, station, span, form, out())
        return
    place = guide.Place(source, zone, ignore_offsets)
    guide.show_schedule(place, _settings(), station, span, form, out())


def _with_media(allow_cidr: list[str] | None) -> Settings:
    """The settings of one job in this process; its media children's parent starts meanwhile."""
    from media.process import shared

    settings = _settings(allow_cidrs=tuple(allow_cidr or ()))
    shared(allow_unjailed=settings.allow_unjailed).start()
    return settings


def _settings(**given: object) -> Settings:
    from_env = Settings.from_env(os.environ)
    named = {name: getattr(from_env, name) for name in from_env.model_fields_set}
    return Settings.model_validate(named | {k: v for k, v in given.items() if v != ()})


def main() -> None:
    """Run a command; our own errors become one line and exit code 1, never a trace."""
    try:
        app()
    except CuttingRoomError as error:
        err().print(f"[red]{error.error_code}[/red]: ", end="")
        err().print(error.message, markup=False)
        raise SystemExit(1) from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        err().print(f"invalid: {where}: {first['msg']}", markup=False, style="red")
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        err().print("interrupted")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
