"""Mail: sent by SMTP where the operator set a server, else written to a folder."""

from __future__ import annotations

import os
import smtplib
import ssl
import time
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

import structlog

from catalog.ids import new_id
from schemas.base import Value
from schemas.errors import InvalidCommand
from schemas.settings import Settings

_TIMEOUT_S = 20.0
_log = structlog.get_logger("mail")


class Letter(Value):
    """Plain words to one address."""

    to: str
    subject: str
    text: str


class Mailer(Protocol):
    """What sends letters; blocking."""

    def send(self, letter: Letter) -> None:
        """Send one, or log that it could not be: nobody waits for it."""


class FolderMailer:
    """Writes every letter to a file of its own, readable by the operator alone."""

    def __init__(self, folder: Path, sender: str) -> None:
        self._folder, self._sender = folder, sender

    def send(self, letter: Letter) -> None:
        """Write it."""
        message = _message(letter, self._sender)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{new_id('mail', _now_ms())}.eml"
        part = path.with_suffix(".part")
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as out:
            out.write(bytes(message))
        part.replace(path)


class SmtpMailer:
    """Sends by `smtp://user:password@host:587` with STARTTLS, or `smtps://host:465`.
    Without a user STARTTLS is used where the server offers it."""

    def __init__(self, url: str, sender: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
            raise InvalidCommand("the SMTP setting is smtp://user:password@host:port or smtps://…")
        self._host, self._sender = parts.hostname, sender
        self._tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls else 587)
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")

    def send(self, letter: Letter) -> None:
        """Hand it to the server."""
        try:
            with self._connected() as server:
                if self._user:
                    server.login(self._user, self._password)
                server.send_message(_message(letter, self._sender))
        except (OSError, smtplib.SMTPException) as error:
            # Without the address: logs are read by more people than mail is.
            _log.error("a letter was not sent", error=type(error).__name__, host=self._host)

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self._tls:
            return smtplib.SMTP_SSL(self._host, self._port, timeout=_TIMEOUT_S, context=context)
        server = smtplib.SMTP(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            server.ehlo()
            # A password never travels in the clear.
            if self._user or server.has_extn("starttls"):
                server.starttls(context=context)
        except BaseException:
            server.close()
            raise
        return server


def mailer(settings: Settings) -> Mailer:
    """What the settings say."""
    if settings.smtp_url is not None:
        return SmtpMailer(settings.smtp_url.get_secret_value(), settings.mail_from)
    return FolderMailer(mail_folder(settings), settings.mail_from)


def mail_folder(settings: Settings) -> Path:
    """Where letters are written when there is no SMTP server."""
    return Path(settings.data_dir) / "mail"


def _message(letter: Letter, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = sender, letter.to, letter.subject
    message["Date"] = formatdate(usegmt=True)
    message["Message-ID"] = make_msgid(domain=sender.rpartition("@")[2] or "localhost")
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    return message


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
