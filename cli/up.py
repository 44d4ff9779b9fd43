"""`cuttingroom up`: the whole service in the foreground, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from types import FrameType

from rich.console import Console

from api_gateway.mail import mail_folder
from cli.stack import Stack
from schemas.settings import Settings

TEND_S = 0.5


def up(settings: Settings, console: Console) -> None:
    """Run everything until SIGINT or SIGTERM, be it while it starts; drain and end within 5 s."""
    stopping, started = threading.Event(), threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        again = stopping.is_set()
        stopping.set()
        if not started.is_set() and not again:
            raise KeyboardInterrupt  # whatever it is that the start waits for

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    stack = Stack(settings, lambda text: console.print(text, style="yellow"))
    fresh = not stack.credentials_file.exists()
    with stack:
        started.set()
        _welcome(console, stack, fresh=fresh)
        while not stopping.wait(TEND_S):
            stack.tend()
        console.print("Draining…")
    console.print("Stopped; everything is kept in", str(stack.data))


def _welcome(console: Console, stack: Stack, *, fresh: bool) -> None:
    console.print(
        f"[bold]cuttingroom[/bold] answers at {stack.url}  (documentation: {stack.url}/docs)"
    )
    written = "Credentials were written to" if fresh else "Credentials stand in"
    console.print(f"{written} {stack.credentials_file}")
    if stack.settings.smtp_url is None:
        console.print(f"Mail is not sent but written to {mail_folder(stack.settings)}")
    console.print(f"Logs: {stack.data / 'logs'}   Stop: Ctrl-C")
