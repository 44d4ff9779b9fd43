"""The gateway process: environment -> settings -> application, served by uvicorn."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from api_gateway.app import create_app
from api_gateway.compose import NO_KEYS, compose, sql_url
from api_gateway.deps import Gateway
from catalog.engine import migrate
from schemas.errors import CuttingRoomError
from schemas.settings import Settings

GRACE_S = 3
_KEEP_ALIVE_S = 30
_BACKLOG = 1024
_JSON = structlog.processors.JSONRenderer()


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
    gateway = compose(settings, now_ms)
    Server(server_config(create_app(gateway), settings), gateway).run()


class Server(uvicorn.Server):
    """Tells the gateway that it closes, before it waits for what is still being answered."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what was asked, end the streams, and stop."""
        self._gateway.closing = True
        await super().shutdown(sockets)


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
    """One JSON object a line on standard error, of what libraries say too."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    final = (structlog.stdlib.ProcessorFormatter.remove_processors_meta, _JSON)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(processors=final, foreign_pre_chain=shared)
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _JSON,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def now_ms() -> int:
    """The wall clock."""
    return time.time_ns() // 1_000_000


if __name__ == "__main__":
    sys.exit(main())
