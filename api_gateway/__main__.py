"""The gateway process: environment -> settings -> application, served by uvicorn."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from api_gateway.app import create_app
from api_gateway.compose import NO_KEYS, compose, sql_url
from catalog.engine import migrate
from schemas.errors import CuttingRoomError
from schemas.settings import Settings

GRACE_S = 3
_KEEP_ALIVE_S = 30
_BACKLOG = 1024


def main() -> int:
    """Serve until told to stop."""
    try:
        settings = Settings.from_env(os.environ)
        configure_logs(settings.log_level)
        serve(settings)
    except (CuttingRoomError, ValueError) as error:
        sys.stderr.write(f"the gateway cannot start: {error}\n")
        return 2
    return 0


def serve(settings: Settings) -> None:
    """Bring the catalogue up to date and answer requests; ends after SIGTERM or SIGINT."""
    if not settings.secret_keys.get_secret_value():
        raise ValueError(NO_KEYS)
    Path(settings.data_dir).mkdir(parents=True, exist_ok=True)
    migrate(sql_url(settings))
    uvicorn.Server(server_config(create_app(compose(settings, now_ms)), settings)).run()


def server_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """How the server is set: bounded in time, quiet about itself."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="httptools",
        loop="uvloop",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        # Whoever may write this header chooses its own address, and with it its rate limit.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        date_header=True,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )


def configure_logs(level: str) -> None:
    """One JSON object a line on standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
