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
from schemas.accounts import ApiKey, Candidate, KeyCheck, Role, Scope, Tenant, User
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
        self._refuse_id(name)
        row = TenantRow(
            id=new_id("ten", now), name=name, created_ms=now, mfa_required=False, version=1
        )
        _insert(self._session, row, f"a tenant is named {name!r} already")
        return _tenant(row)

    def get(self, tenant_id: str) -> Tenant:
        """The tenant, or NotFound."""
        return _tenant(self._row(tenant_id))

    def find(self, name_or_id: str) -> Tenant | None:
        """The tenant with this id, else with this name."""
        row = self._session.get(TenantRow, name_or_id) or self._session.scalar(
            select(TenantRow).where(TenantRow.name == name_or_id)
        )
        return None if row is None else _tenant(row)

    def lock(self, tenant_id: str) -> None:
        """Let no other transaction change the tenant's users until this one ends."""
        self._session.execute(
            select(TenantRow.id).where(TenantRow.id == tenant_id).with_for_update()
        )

    def change(
        self, tenant_id: str, *, name: str | None = None, mfa_required: bool | None = None
    ) -> Tenant:
        """The tenant with another name or rule; Conflict where the name is taken."""
        row = self._row(tenant_id)
        if name is not None and name != tenant_id:
            self._refuse_id(name)
        row.name = row.name if name is None else name
        row.mfa_required = row.mfa_required if mfa_required is None else mfa_required
        row.version += 1
        _flush(self._session, f"a tenant is named {name!r} already")
        return _tenant(row)

    def mark(self, tenant_id: str, due_ms: int | None) -> Tenant:
        """The tenant, to be deleted at an instant, or not at all."""
        row = self._row(tenant_id)
        row.deletion_due_ms = due_ms
        row.deletion_asked_ms = None if due_ms is None else self._clock()
        row.version += 1
        self._session.flush()
        return _tenant(row)

    def due(self) -> tuple[str, ...]:
        """The ids of tenants whose deletion is due."""
        return tuple(
            self._session.scalars(
                select(TenantRow.id).where(TenantRow.deletion_due_ms <= self._clock())
            )
        )

    def _refuse_id(self, name: str) -> None:
        # Whoever logs in may say the name or the id, and means one tenant.
        if self._session.get(TenantRow, name) is not None:
            raise Conflict(f"a tenant is named {name!r} already", code="name_taken")

    def _row(self, tenant_id: str) -> TenantRow:
        row = self._session.get(TenantRow, tenant_id)
        if row is None:
            raise NotFound("no such tenant")
        return row


class Users:
    """Users of a tenant."""

    def __init__(self, session: Session, clock: Callable[[], int]) -> None:
        self._session, self._clock = session, clock

    def create(
        self,
        tenant_id: str,
        email: str,
        name: str,
        role: Role,
        password_hash: str | None,
        *,
        temporary_until_ms: int | None = None,
        mfa_required: bool = False,
    ) -> User:
        """A new user; Conflict where the address is taken within the tenant."""
        now = self._clock()
        row = UserRow(
            id=new_id("usr", now),
            tenant_id=tenant_id,
            email=normal_email(email),
            name=name,
            role=role,
            password_hash=password_hash,
            must_change_password=temporary_until_ms is not None,
            temporary_until_ms=temporary_until_ms,
            mfa_required=mfa_required,
            enabled=True,
            created_ms=now,
            version=1,
        )
        _insert(self._session, row, "a user has this address already", "email_taken")
        return _user(row)

    def by_email(self, tenant_id: str, email: str) -> User:
        """The user with this address, or NotFound."""
        row = self._session.scalar(_user_of(tenant_id, email))
        if row is None:
            raise NotFound("no such user")
        return _user(row)

    def get(self, tenant_id: str, user_id: str) -> User:
        """The user, or NotFound."""
        return _user(self._row(tenant_id, user_id))

    def page(self, tenant_id: str, after: str | None, limit: int) -> tuple[User, ...]:
        """Up to `limit` users in the order they were made, after an id."""
        query = select(UserRow).where(UserRow.tenant_id == tenant_id)
        if after is not None:
            query = query.where(UserRow.id > after)
        return tuple(
            _user(row) for row in self._session.scalars(query.order_by(UserRow.id).limit(limit))
        )

    def change(
        self,
        tenant_id: str,
        user_id: str,
        *,
        email: str | None = None,
        name: str | None = None,
        role: Role | None = None,
        enabled: bool | None = None,
        mfa_required: bool | None = None,
    ) -> User:
        """The user with what is given; Conflict `last_admin` where nobody could rule any more."""
        row = self._row(tenant_id, user_id)
        if (
            row.role == "admin"
            and row.enabled
            and (enabled is False or role not in (None, "admin"))
        ):
            self._keep_an_admin(tenant_id, user_id)
        row.email = row.email if email is None else normal_email(email)
        row.name = row.name if name is None else name
        row.role = row.role if role is None else role
        row.enabled = row.enabled if enabled is None else enabled
        row.mfa_required = row.mfa_required if mfa_required is None else mfa_required
        row.version += 1
        _flush(self._session, "a user has this address already", "email_taken")
        return _user(row)

    def delete(self, tenant_id: str, user_id: str) -> None:
        """Delete a user with every session; Conflict `last_admin` as in `change`."""
        row = self._row(tenant_id, user_id)
        if row.role == "admin" and row.enabled:
            self._keep_an_admin(tenant_id, user_id)
        self._session.delete(row)
        self._session.flush()

    def password_hash(self, tenant_id: str, email: str) -> str | None:
        """The stored hash of an enabled user's password, None where there is none."""
        row = self._session.scalar(_user_of(tenant_id, email))
        return row.password_hash if row is not None and row.enabled else None

    def set_password(
        self, tenant_id: str, user_id: str, password_hash: str, *, until_ms: int | None = None
    ) -> None:
        """Store another password; a temporary one lives until an instant."""
        row = self._row(tenant_id, user_id)
        row.password_hash = password_hash
        row.must_change_password = until_ms is not None
        row.temporary_until_ms = until_ms
        row.version += 1

    def rehash(self, tenant_id: str, user_id: str, password_hash: str) -> None:
        """The same password at another price."""
        self._row(tenant_id, user_id).password_hash = password_hash

    def logged_in(self, tenant_id: str, user_id: str) -> None:
        """Note a log-in."""
        self._row(tenant_id, user_id).last_login_ms = self._clock()

    def candidates(self, email: str, tenant: str | None, limit: int) -> tuple[Candidate, ...]:
        """The enabled users a log-in may mean: before it is believed there is no tenant to ask
        for, unless it names one."""
        query = (
            select(UserRow, TenantRow)
            .join(TenantRow, TenantRow.id == UserRow.tenant_id)
            .where(UserRow.email == normal_email(email), UserRow.enabled)
        )
        if tenant is not None:
            query = query.where((TenantRow.id == tenant) | (TenantRow.name == tenant))
        found = self._session.execute(query.order_by(UserRow.id).limit(limit))
        return tuple(_candidate(user, owner) for user, owner in found)

    def _keep_an_admin(self, tenant_id: str, user_id: str) -> None:
        # Two admins who remove each other at once must meet here, one after the other.
        Tenants(self._session, self._clock).lock(tenant_id)
        others = self._session.scalar(
            select(func.count())
            .select_from(UserRow)
            .where(UserRow.tenant_id == tenant_id, UserRow.id != user_id)
            .where(UserRow.role == "admin", UserRow.enabled)
        )
        if not others:
            raise Conflict("this is the last admin; make another one first", code="last_admin")

    def _row(self, tenant_id: str, user_id: str) -> UserRow:
        row = self._session.scalar(
            select(UserRow).where(UserRow.tenant_id == tenant_id, UserRow.id == user_id)
        )
        if row is None:
            raise NotFound("no such user")
        return row


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
        """The key with a new secret; older ones live on for the grace at most."""
        row, now = self._row(tenant_id, key_id), self._clock()
        secret, until = keys.mint(row.public_id), now + grace_ms
        older = [[row.secret_hash, until], *row.previous_hashes]
        living = [[told, min(ends, until)] for told, ends in older if min(ends, until) > now]
        row.previous_hashes = living[:_KEPT_HASHES]
        row.secret_hash = secret.hash
        row.version += 1
        self._session.flush()
        return _key(row), secret

    def check(self, public_id: str) -> KeyCheck | None:
        """What judges a presented key: before it is believed there is no tenant to ask for."""
        found = self._session.execute(
            select(ApiKeyRow, TenantRow.deletion_due_ms)
            .join(TenantRow, TenantRow.id == ApiKeyRow.tenant_id)
            .where(ApiKeyRow.public_id == public_id)
        ).one_or_none()
        if found is None:
            return None
        row, due_ms = found
        older = tuple((str(pair[0]), int(pair[1])) for pair in row.previous_hashes)
        return KeyCheck(
            key=_key(row), hashes=((row.secret_hash, None), *older), deleting=due_ms is not None
        )

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


def normal_email(email: str) -> str:
    """An address as it is kept and looked up."""
    return email.strip().lower()


def _insert(session: Session, row: object, message: str, code: str = "name_taken") -> None:
    session.add(row)
    _flush(session, message, code)


def _flush(session: Session, message: str, code: str = "name_taken") -> None:
    try:
        session.flush()
    except IntegrityError as error:
        raise Conflict(message, code=code) from error


def _user_of(tenant_id: str, email: str) -> Select[UserRow]:
    return select(UserRow).where(
        UserRow.tenant_id == tenant_id, UserRow.email == normal_email(email)
    )


def _tenant(row: TenantRow) -> Tenant:
    return Tenant(
        id=row.id,
        name=row.name,
        created_ms=row.created_ms,
        mfa_required=row.mfa_required,
        deletion_due_ms=row.deletion_due_ms,
        version=row.version,
    )


def _user(row: UserRow) -> User:
    plain = {name: getattr(row, name) for name in User.model_fields if name != "mfa_enrolled"}
    return User.model_validate({**plain, "mfa_enrolled": row.sealed_totp is not None})


def _candidate(user: UserRow, tenant: TenantRow) -> Candidate:
    return Candidate(
        user=_user(user),
        tenant=_tenant(tenant),
        password_hash=user.password_hash,
        temporary_until_ms=user.temporary_until_ms,
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
