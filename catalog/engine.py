"""The catalogue's door: an engine for SQLite or PostgreSQL, transactions, and migrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from catalog.accounts import ApiKeys, Tenants, Users
from catalog.answers import Answers
from catalog.audit import Audit
from catalog.challenges import Attempts, Challenges, Recoveries
from catalog.connectors import Connectors
from catalog.destinations import Destinations
from catalog.factors import Factors
from catalog.metadata import Metadata
from catalog.projects import Projects
from catalog.renditions import Renditions
from catalog.service import Deletions, Invitations, SigningKeys
from catalog.sessions import Sessions
from catalog.sso import Sso
from catalog.stations import ChannelStations
from catalog.webhooks import Webhooks
from schemas.errors import FieldInvalid, StoreUnavailable

MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_TIMEOUT_MS = 5000
Clock = Callable[[], int]


class Transaction:
    """Every repository, inside one transaction."""

    def __init__(self, session: Session, clock: Clock) -> None:
        self.tenants = Tenants(session, clock)
        self.users = Users(session, clock)
        self.api_keys = ApiKeys(session, clock)
        self.connectors = Connectors(session, clock)
        self.channel_stations = ChannelStations(session, clock)
        self.renditions = Renditions(session, clock)
        self.destinations = Destinations(session, clock)
        self.projects = Projects(session, clock)
        self.metadata = Metadata(session, clock)
        self.answers = Answers(session, clock)
        self.sessions = Sessions(session, clock)
        self.attempts = Attempts(session, clock)
        self.challenges = Challenges(session, clock)
        self.recoveries = Recoveries(session, clock)
        self.factors = Factors(session, clock)
        self.sso = Sso(session, clock)
        self.audit = Audit(session, clock)
        self.signing_keys = SigningKeys(session, clock)
        self.invitations = Invitations(session, clock)
        self.deletions = Deletions(session, clock)
        self.webhooks = Webhooks(session, clock)


class Catalog:
    """The catalogue; `clock` answers epoch milliseconds."""

    def __init__(self, url: str, *, clock: Clock) -> None:
        self._engine = make_engine(url)
        self._clock = clock

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that only looks."""
        with self._session(read_only=True) as session:
            yield Transaction(session, self._clock)

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that is committed at the end, whole or not at all."""
        with self._session(read_only=False) as session:
            yield Transaction(session, self._clock)
            session.commit()

    def ping(self) -> None:
        """Raise StoreUnavailable where the catalogue does not answer."""
        with self._session(read_only=True) as session:
            session.execute(text("SELECT 1 FROM tenants LIMIT 1"))

    def close(self) -> None:
        """Give every connection back."""
        self._engine.dispose()

    @contextmanager
    def _session(self, *, read_only: bool) -> Iterator[Session]:
        with translated(), self._engine.connect() as connection:
            bound = connection.execution_options(read_only=read_only)
            with Session(bind=bound, expire_on_commit=False) as session:
                yield session


def migrate(url: str) -> None:
    """Bring the tables to the newest form; safe to call from several processes at once."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = make_engine(url)
    try:
        with translated(), engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def catalog_url(data_dir: str) -> str:
    """The SQLite URL used where none is set."""
    return f"sqlite:///{Path(data_dir).absolute() / 'catalog.sqlite3'}"


def make_engine(url: str) -> Engine:
    """An engine for a URL, set as this catalogue needs it; its errors, which are logged, hold no
    values."""
    address = make_url(url)
    if address.get_backend_name() == "postgresql":
        return create_engine(
            address.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_timeout=5,
            hide_parameters=True,
        )
    engine = create_engine(address, pool_timeout=5, hide_parameters=True)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(dbapi_connection: Any, _record: object) -> None:
    # The driver must not open transactions by itself: BEGIN IMMEDIATE below does.
    dbapi_connection.isolation_level = None
    cursor = dbapi_connection.cursor()
    for pragma in (
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get("read_only", False)
    # A deferred transaction that turns into a writer fails at once instead of waiting its turn.
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


@contextmanager
def translated() -> Iterator[None]:
    """What keeps the database from answering leaves as StoreUnavailable, what it will not be asked
    as FieldInvalid."""
    try:
        yield
    except IntegrityError:
        raise
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        raise StoreUnavailable("the catalogue does not answer; try again") from error
    except DataError as error:
        # PostgreSQL will not be asked for a NUL, nor for a number beyond its own.
        raise FieldInvalid("a text or a number is none that can be kept or looked for") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StoreUnavailable("the catalogue does not answer; try again") from error
        raise
