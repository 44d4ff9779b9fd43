"""Letters are sent to an SMTP server or written to a folder, and carry nothing of a visitor's."""

from __future__ import annotations

import email
import socket
import threading
from pathlib import Path

import pytest
from pydantic import SecretStr

from api_gateway.mail import FolderMailer, Letter, SmtpMailer, mailer
from schemas.errors import InvalidCommand
from schemas.settings import Settings

LETTER = Letter(to="robin@example.com", subject="Hello", text="Temporary password: x\n")


class SmtpPeer:
    """A server that takes one letter, without TLS."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._listening.accept()
        with peer, peer.makefile("rwb") as both:
            both.write(b"220 here\r\n")
            both.flush()
            inside = False
            for raw in both:
                line = raw.decode().rstrip("\r\n")
                self.heard.append(line)
                inside, reply = self._answer(line, inside=inside)
                if reply:
                    both.write(reply)
                    both.flush()
                if line == "QUIT":
                    return

    def _answer(self, line: str, *, inside: bool) -> tuple[bool, bytes]:
        if inside:
            return (False, b"250 kept\r\n") if line == "." else (True, b"")
        if line.upper() == "DATA":
            return True, b"354 go on\r\n"
        return False, b"221 bye\r\n" if line == "QUIT" else b"250 fine\r\n"

    def finish(self) -> None:
        self._thread.join(10)
        self._listening.close()


def test_a_letter_is_handed_to_the_server() -> None:
    peer = SmtpPeer()

    SmtpMailer(f"smtp://127.0.0.1:{peer.port}", "room@example.com").send(LETTER)

    peer.finish()
    assert any(line.upper().startswith("RCPT TO:<ROBIN@EXAMPLE.COM>") for line in peer.heard)
    assert "Temporary password: x" in peer.heard


def test_a_password_never_travels_in_the_clear() -> None:
    peer = SmtpPeer()

    SmtpMailer(f"smtp://user:pw@127.0.0.1:{peer.port}", "room@example.com").send(LETTER)

    peer.finish()
    assert not any("auth" in line.lower() or "pw" in line for line in peer.heard)
    assert "data" not in peer.heard


def test_a_server_that_is_away_fails_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    SmtpMailer(f"smtp://127.0.0.1:{port}", "room@example.com").send(LETTER)


def test_without_a_server_letters_are_written_for_the_operator_alone(tmp_path: Path) -> None:
    chosen = mailer(Settings(data_dir=str(tmp_path)))

    chosen.send(LETTER)

    [path] = (tmp_path / "mail").glob("*.eml")
    message = email.message_from_bytes(path.read_bytes())
    assert isinstance(chosen, FolderMailer)
    assert (message["To"], message["Subject"]) == ("robin@example.com", "Hello")
    assert path.stat().st_mode & 0o077 == 0


def test_a_setting_chooses_the_server() -> None:
    given = Settings(smtp_url=SecretStr("smtps://user:pw@mail.example.com"))

    assert isinstance(mailer(given), SmtpMailer)
    assert "pw" not in repr(given)
    with pytest.raises(InvalidCommand):
        SmtpMailer("http://mail.example.com", "room@example.com")
