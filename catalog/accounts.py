"""Repositories of tenants, users and API keys; the tenant is the first argument of every call."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Select, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from catalog import keys
from catalog.ids import new_id
from catalog.keys import NewSecret
from catalog.models import ApiKeyRow, TenantRow, UserRow
from schemas.accounts import ApiKey, KeyCheck, Role, Scope, Tenant, User
from schemas.errors import Conflict, NotFound

LAST_USED_STEP_MS = 60_000
_KEPT_HASHES = 4


class Tenants:
    """Tenants."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def any(self) -> bool:
        """Whether there is any tenant yet."""
        return self._session.scalar(select(func.count()).select_from(TenantRow)) != 0

    def create(self, name: str) -> Tenant:
        """A new tenant; Conflict where the name is taken."""
        now = self._clock()
        row = TenantRow(id=new_id("ten", now), name=name, created_ms=now, version=1)
        _insert(self._session, row, f"a tenant is named {name!r} already")
        return _tenant(row)

    def get(self, tenant_id: str) -> Tenant:
        """The tenant, or NotFound."""
        row = self._session.get(TenantRow, tenant_id)
        if row is None:
            raise NotFound("no such tenant")
        return _tenant(row)


class Users:
    """Users of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def create(
        self, tenant_id: str, email: str, name: str, role: Role, password_hash: str | None
    ) -> User:
        """A new user; Conflict where the address is taken within the tenant."""
        now = self._clock()
        row = UserRow(
            id=new_id("usr", now),
            tenant_id=tenant_id,
            email=email.strip().lower(),
            name=name,
            role=role,
            password_hash=password_hash,
            must_change_password=False,
            mfa_required=False,
            enabled=True,
            created_ms=now,
            version=1,
        )
        _insert(self._session, row, "a user has this address already")
        return _user(row)

    def by_email(self, tenant_id: str, email: str) -> User:
        """The user with this address, or NotFound."""
        row = self._session.scalar(_user_of(tenant_id, email))
        if row is None:
            raise NotFound("no such user")
        return _user(row)

    def password_hash(self, tenant_id: str, email: str) -> str | None:
        """The stored hash of an enabled user's password, None where there is none."""
        row = self._session.scalar(_user_of(tenant_id, email))
        return row.password_hash if row is not None and row.enabled else None


class ApiKeys:
    """API keys of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def create(
        self, tenant_id: str, name: str, scopes: tuple[Scope, ...], expires_ms: int | None = None
    ) -> tuple[ApiKey, NewSecret]:
        """A new key with its secret, which is not kept; Conflict where the name is taken."""
        now, secret = self._clock(), keys.mint()
        row = ApiKeyRow(
            id=new_id("key", now),
            tenant_id=tenant_id,
            name=name,
            public_id=secret.public_id,
            secret_hash=secret.hash,
            previous_hashes=[],
            scopes=list(scopes),
            enabled=True,
            created_ms=now,
            expires_ms=expires_ms,
            version=1,
        )
        _insert(self._session, row, f"an API key is named {name!r} already")
        return _key(row), secret

    def page(self, tenant_id: str, after: str | None, limit: int) -> tuple[ApiKey, ...]:
        """Up to `limit` keys in the order they were made, after an id."""
        query = select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(ApiKeyRow.id > after)
        rows = self._session.scalars(query.order_by(ApiKeyRow.id).limit(limit))
        return tuple(_key(row) for row in rows)

    def get(self, tenant_id: str, key_id: str) -> ApiKey:
        """The key, or NotFound."""
        return _key(self._row(tenant_id, key_id))

    def change(
        self, tenant_id: str, key_id: str, *, name: str | None = None, enabled: bool | None = None
    ) -> ApiKey:
        """The key with another name or switched on or off; Conflict where the name is taken."""
        row = self._row(tenant_id, key_id)
        row.name = row.name if name is None else name
        row.enabled = row.enabled if enabled is None else enabled
        row.version += 1
        _flush(self._session, f"an API key is named {name!r} already")
        return _key(row)

    def rotate(self, tenant_id: str, key_id: str, grace_ms: int) -> tuple[ApiKey, NewSecret]:
        """The key with a new secret; the old one lives on for the grace."""
        row, now = self._row(tenant_id, key_id), self._clock()
        secret = keys.mint(row.public_id)
        living = [pair for pair in row.previous_hashes if pair[1] > now]
        if grace_ms > 0:
            living = [[row.secret_hash, now + grace_ms], *living]
        row.previous_hashes = living[:_KEPT_HASHES]
        row.secret_hash = secret.hash
        row.version += 1
        self._session.flush()
        return _key(row), secret

    def check(self, public_id: str) -> KeyCheck | None:
        """What judges a presented key: before it is believed there is no tenant to ask for."""
        row = self._session.scalar(select(ApiKeyRow).where(ApiKeyRow.public_id == public_id))
        if row is None:
            return None
        older = tuple((str(pair[0]), int(pair[1])) for pair in row.previous_hashes)
        return KeyCheck(key=_key(row), hashes=((row.secret_hash, None), *older))

    def used(self, tenant_id: str, key_id: str) -> None:
        """Note that a key was used, at most once a minute."""
        now = self._clock()
        self._session.execute(
            update(ApiKeyRow)
            .where(ApiKeyRow.tenant_id == tenant_id, ApiKeyRow.id == key_id)
            .where(func.coalesce(ApiKeyRow.last_used_ms, 0) <= now - LAST_USED_STEP_MS)
            .values(last_used_ms=now)
        )

    def _row(self, tenant_id: str, key_id: str) -> ApiKeyRow:
        row = self._session.scalar(
            select(ApiKeyRow).where(ApiKeyRow.tenant_id == tenant_id, ApiKeyRow.id == key_id)
        )
        if row is None:
            raise NotFound("no such API key")
        return row


def _insert(session: Session, row: object, message: str) -> None:
    session.add(row)
    _flush(session, message)


def _flush(session: Session, message: str) -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(message, code="name_taken") from error


def _user_of(tenant_id: str, email: str) -> Select[UserRow]:
    return select(UserRow).where(
        UserRow.tenant_id == tenant_id, UserRow.email == email.strip().lower()
    )


def _tenant(row: TenantRow) -> Tenant:
    return Tenant(id=row.id, name=row.name, created_ms=row.created_ms, version=row.version)


def _user(row: UserRow) -> User:
    return User.model_validate(
        {name: getattr(row, name) for name in User.model_fields}, strict=False
    )


def _key(row: ApiKeyRow) -> ApiKey:
    return ApiKey.model_validate(
        {
            "id": row.id,
            "tenant_id": row.tenant_id,
            "name": row.name,
            "prefix": f"{keys.PREFIX}{row.public_id}",
            "scopes": tuple(row.scopes),
            "enabled": row.enabled,
            "created_ms": row.created_ms,
            "last_used_ms": row.last_used_ms,
            "expires_ms": row.expires_ms,
            "version": row.version,
        }
    )
