"""The catalogue, the key ring and users are kept from the command line."""

from __future__ import annotations

import sqlite3
import threading
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from catalog import upkeep
from catalog.bootstrap import bootstrap
from catalog.engine import Catalog, catalog_url, migrate
from cli import db, keys, users
from cli.catalogs import ring_of
from cli.main import app
from connectors.sealing import Sealer, new_key
from schemas.errors import AccessDenied, InvalidCommand, NotFound
from schemas.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    migrate(catalog_url(str(tmp_path)))
    (tmp_path / "keyring").write_text(new_key().get_secret_value())
    return Settings(data_dir=str(tmp_path), password_memory_kib=8, password_rounds=1)


def said() -> tuple[Console, StringIO]:
    text = StringIO()
    return Console(file=text, width=200, highlight=False), text


def opened(settings: Settings) -> Catalog:
    return Catalog(catalog_url(settings.data_dir), clock=lambda: 1_700_000_000_000)


def with_secrets(settings: Settings) -> str:
    """A tenant with a sealed secret and a signing key."""
    catalog, sealer = opened(settings), Sealer(ring_of(settings))
    with catalog.write() as tx:
        tenant = tx.tenants.create("newsroom").id
        user = tx.users.create(tenant, "a@example.com", "A", "admin", None)
        tx.factors.propose(tenant, user.id, sealer.seal(tenant, user.id, "totp", "secret"))
    catalog.close()
    keys.sign(settings, said()[0])
    return tenant


def sealed_texts(settings: Settings) -> list[str]:
    raw = sqlite3.connect(Path(settings.data_dir) / "catalog.sqlite3")
    found = raw.execute(
        "select sealed_totp_pending from users union select sealed from signing_keys"
    ).fetchall()
    raw.close()
    return [row[0] for row in found]


def test_a_copy_is_whole_while_others_write(settings: Settings, tmp_path: Path) -> None:
    catalog, done = opened(settings), threading.Event()

    def write() -> None:
        number = 0
        while not done.is_set():
            number += 1
            with catalog.write() as tx:
                tenant = tx.tenants.create(f"t{number}").id
                tx.users.create(tenant, "a@example.com", "A", "admin", None)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(3):
            db.backup(settings, tmp_path / f"copy{number}.sqlite3", said()[0])
    finally:
        done.set()
        writer.join()
        catalog.close()

    for number in range(3):
        copy = tmp_path / f"copy{number}.sqlite3"
        assert upkeep.check(f"sqlite:///{copy}").wrong == ()
        assert copy.stat().st_mode & 0o077 == 0
        raw = sqlite3.connect(copy)
        tenants, people = raw.execute(
            "select (select count(*) from tenants), (select count(*) from users)"
        ).fetchone()
        raw.close()
        assert tenants == people
    with pytest.raises(InvalidCommand, match="never replaces"):
        db.backup(settings, tmp_path / "copy0.sqlite3", said()[0])


def test_a_catalogue_is_checked(settings: Settings, tmp_path: Path) -> None:
    console, text = said()
    assert db.check(settings, console)
    raw = sqlite3.connect(tmp_path / "catalog.sqlite3")
    raw.execute("insert into identities values ('ten_gone', 'h', 's', 'usr_gone', 1)")
    raw.execute("update alembic_version set version_num = '0001'")
    raw.commit()
    raw.close()

    well = db.check(settings, console)

    assert not well
    assert "belongs to a row of tenants that does not exist" in text.getvalue()
    assert "run db upgrade" in text.getvalue()


def test_secrets_move_to_a_new_key(settings: Settings) -> None:
    with_secrets(settings)
    old = ring_of(settings)

    keys.rotate(settings, said()[0])
    ring = ring_of(settings)
    with pytest.raises(AccessDenied):
        keys.prune(settings, said()[0])
    keys.reseal(settings, said()[0])
    keys.prune(settings, said()[0])

    assert ring.endswith(f",{old}")
    assert ring_of(settings) == ring.split(",")[0]
    texts = sealed_texts(settings)
    assert len(texts) == 2
    for text in texts:
        Sealer(ring_of(settings)).rotate(text)
        with pytest.raises(AccessDenied):
            Sealer(old).rotate(text)
    assert (Path(settings.data_dir) / "keyring").stat().st_mode & 0o077 == 0


def test_every_sealed_column_is_resealed() -> None:
    found = {f"{table.name}.{column}" for table, column in upkeep.sealed_columns()}

    assert {
        "connectors.sealed_auth",
        "users.sealed_totp",
        "users.sealed_totp_pending",
        "signing_keys.sealed",
        "sso_configs.sealed_secret",
        "sso_states.sealed_verifier",
        "sessions.sealed_id_token",
        "answers.sealed",
    } <= found


def test_a_ring_of_the_environment_is_changed_there(settings: Settings) -> None:
    given = settings.model_copy(update={"secret_keys": new_key()})

    with pytest.raises(InvalidCommand, match="SECRET_KEYS"):
        keys.rotate(given, said()[0])


def test_users_are_made_and_let_in_again(settings: Settings) -> None:
    catalog = opened(settings)
    bootstrap(catalog, tenant="newsroom", email="admin@localhost", keep=lambda _: None)
    console, text = said()

    users.create(settings, "newsroom", "robin@example.com", "editor", console)
    users.reset(settings, "newsroom", "admin@localhost", console, mfa=True)
    users.show_list(settings, "newsroom", console)
    with pytest.raises(NotFound):
        users.create(settings, "elsewhere", "x@example.com", "viewer", console)

    assert text.getvalue().count("temporary password") == 2
    assert "robin@example.com  editor  enabled  -" in text.getvalue()
    with catalog.read() as tx:
        found = tx.users.candidates("admin@localhost", "newsroom", 1)[0]
    catalog.close()
    assert found.user.must_change_password


def test_an_invitation_is_printed(settings: Settings) -> None:
    console, text = said()

    users.invite(settings, "a@example.com", 14, console)

    assert text.getvalue().startswith("cri_")


@pytest.mark.parametrize(
    "words",
    [["db", "check"], ["db", "upgrade"], ["db", "deletions"], ["keys", "new"], ["users", "invite"]],
    ids=" ".join,
)
def test_every_command_is_wired(settings: Settings, words: list[str]) -> None:
    more = [] if words == ["keys", "new"] else ["--data", settings.data_dir]

    done = CliRunner().invoke(app, [*words, *more])

    assert done.exit_code == 0, done.output
    assert done.output
