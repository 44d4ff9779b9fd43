"""Log-in with a password, tokens, recovery by mail, log-out."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal, NoReturn

import anyio.to_thread
from fastapi import APIRouter
from pydantic import Field, StrictBool
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import auth as credentials
from api_gateway import logins
from api_gateway.answers import answer, conditional
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.logins import From, TokensView
from api_gateway.mail import Letter
from api_gateway.params import KeyOfLogin
from api_gateway.policy import Email, Secret, TenantRef, check_password
from api_gateway.problems import Problem, TenantChoice, wrong
from api_gateway.routing import operation, router
from api_gateway.signoff import logout_url
from catalog import passwords
from catalog.accounts import normal_email
from catalog.engine import Transaction
from schemas.accounts import Candidate
from schemas.base import WireValue
from schemas.errors import StoreUnavailable
from schemas.times import rfc3339

auth: APIRouter = router("authentication")
Handle = Annotated[str, Field(min_length=1, max_length=200)]
Code = Annotated[str, Field(min_length=1, max_length=64)]
_WRONG = "the mail address or the password is wrong"
_RECOVERIES_AN_HOUR = 5
_HOUR_MS = 3600_000


class LoginBody(WireValue):
    """Who logs in; `tenant` (name or id) where the address is known in several."""

    email: Email
    password: Secret
    tenant: TenantRef | None = None


class ChallengeView(WireValue):
    """What is missing before there are tokens."""

    challenge: Literal["mfa", "newPassword"]
    session: str


class TemporaryBody(WireValue):
    """A temporary password exchanged for one of the user's own."""

    email: Email
    temporary_password: Secret
    new_password: Secret
    tenant: TenantRef | None = None


class RecoverBody(WireValue):
    """Whose password is forgotten."""

    email: Email
    tenant: TenantRef | None = None


class RecoverView(WireValue):
    """The same for every address."""

    detail: str


class ConfirmBody(WireValue):
    """The mailed code, and a password of the user's own."""

    email: Email
    code: Code
    new_password: Secret
    tenant: TenantRef | None = None


class RefreshBody(WireValue):
    """The refresh token of the last answer."""

    refresh_token: Handle


class VerifyView(WireValue):
    """Whether a credential is good, and whose it is."""

    valid: bool
    subject: str | None = None
    tenant: str | None = None
    expires_at: str | None = None


class LogoutBody(WireValue):
    """Whether every session of the user ends, or this one."""

    everywhere: StrictBool = False


class LogoutView(WireValue):
    """What ended; a browser that came by sign-on goes on to `logoutUrl` to end it there too."""

    ended_sessions: int
    logout_url: str | None = None


class KeysView(WireValue):
    """A JSON Web Key Set."""

    keys: tuple[dict[str, str], ...]


@auth.post(
    "/v1/auth/token",
    operation_id="authenticate",
    summary="Log in with a password",
    response_model=TokensView | ChallengeView,
    **operation(
        None,
        *(400, 401, 409, 413, 415, 422),
        example={"email": "admin@example.com", "password": "correct horse battery"},
        limited=True,
    ),
)
async def authenticate(
    request: Request, deps: Deps, body: LoginBody, _: KeyOfLogin = None
) -> Response:
    """Tokens, or a challenge that leads to them."""
    async with logins.floor(deps):
        one = await _proven(deps, From.of(request), body.email, _plain(body.password), body.tenant)
        if _is_temporary(one):
            _refuse_stale(one, deps.clock())
        better = await _rehashed(deps, one, _plain(body.password))
        shown = await in_thread(_let_in, deps, From.of(request), one, better)
    return answer(shown).response


@auth.post(
    "/v1/auth/password/temporary",
    operation_id="changeTemporaryPassword",
    summary="Exchange a temporary password for one's own",
    response_model=TokensView | ChallengeView,
    **operation(
        None,
        *(400, 401, 409, 413, 415, 422),
        example={
            "email": "new@example.com",
            "temporaryPassword": "as it was mailed",
            "newPassword": "correct horse battery",
        },
        limited=True,
    ),
)
async def change_temporary_password(
    request: Request, deps: Deps, body: TemporaryBody, _: KeyOfLogin = None
) -> Response:
    """The temporary one is used up by this."""
    given, wanted = _plain(body.temporary_password), _plain(body.new_password)
    async with logins.floor(deps):
        one = await _proven(deps, From.of(request), body.email, given, body.tenant)
        if not _is_temporary(one):
            raise Problem(
                409, "this password is not temporary; log in with it", code="not_temporary"
            )
        _refuse_stale(one, deps.clock())
        check_password(wanted, body.email)
        if given == wanted:
            told = "the new password is the temporary one"
            raise wrong("/newPassword", told, "password_policy")
        hashed = await logins.hashing(deps, lambda: deps.passwords.hashed(wanted))
        shown = await in_thread(_changed, deps, From.of(request), one, hashed)
    return answer(shown).response


@auth.post(
    "/v1/auth/password/recover",
    operation_id="recoverPassword",
    summary="Have a code mailed, for a password that is forgotten",
    status_code=202,
    response_model=RecoverView,
    **operation(None, *(400, 413, 415, 422), example={"email": "admin@example.com"}, limited=True),
)
async def recover_password(
    request: Request, deps: Deps, body: RecoverBody, _: KeyOfLogin = None
) -> Response:
    """The same answer, as fast, whether the address is known or not: the work is done after it."""
    await _admit_recovery(deps, body.email)
    deps.behind(_recover(deps, From.of(request), body.email, body.tenant))
    shown = RecoverView(detail="if this address is known here, a letter is on its way to it")
    return answer(shown, 202).response


@auth.post(
    "/v1/auth/password/confirm",
    operation_id="confirmRecoverPassword",
    summary="Set a new password with a mailed code",
    status_code=204,
    response_class=Response,
    **operation(
        None,
        *(400, 410, 413, 415, 422),
        example={
            "email": "admin@example.com",
            "code": "ABCDE23456",
            "newPassword": "correct horse battery",
        },
        limited=True,
    ),
)
async def confirm_recover_password(
    request: Request, deps: Deps, body: ConfirmBody, _: KeyOfLogin = None
) -> Response:
    """Every session of the user ends; a second factor stays."""
    wanted = _plain(body.new_password)
    check_password(wanted, body.email)
    async with logins.floor(deps):
        hashed = await logins.hashing(deps, lambda: deps.passwords.hashed(wanted))
        ended = await in_thread(_redeemed, deps, From.of(request), body, hashed)
    logins.forget_sessions(deps, ended)
    return Response(status_code=204)


@auth.post(
    "/v1/auth/refresh",
    operation_id="refreshToken",
    summary="Exchange a refresh token for a new pair",
    response_model=TokensView,
    **operation(None, *(400, 401, 413, 415, 422), example={"refreshToken": "crr_…"}, limited=True),
)
async def refresh_token(
    request: Request, deps: Deps, body: RefreshBody, _: KeyOfLogin = None
) -> Response:
    """Each works once; one that is shown again later ends its whole family."""
    return answer(await in_thread(_refreshed, deps, From.of(request), body.refresh_token)).response


@auth.get(
    "/v1/auth/verify",
    operation_id="verifyToken",
    summary="Whether a credential is good",
    response_model=VerifyView,
    **operation(None, 422, limited=True),
)
async def verify_token(request: Request, deps: Deps) -> Response:
    """Of the credential the request carries; one that is not good is an answer, not an error."""
    token = credentials.bearer(request)
    if token is not None:
        return answer(await _verified(deps, token)).response
    who = await credentials.believed(request, deps)
    if who is None or who.deleting:
        return answer(VerifyView(valid=False)).response
    return answer(VerifyView(valid=True, subject=who.subject, tenant=who.tenant_id)).response


@auth.post(
    "/v1/auth/logout",
    operation_id="logout",
    summary="End this session, or every session of the user",
    response_model=LogoutView,
    **operation(
        "session",
        *(400, 413, 415, 422),
        example={"everywhere": True},
        meanwhile=("enrolling", "deleting"),
    ),
)
async def logout(
    deps: Deps, caller: Caller, body: LogoutBody | None = None, _: KeyOfLogin = None
) -> Response:
    """The access token is refused within seconds, the refresh token at once."""
    url = await logout_url(deps, caller)
    everywhere = body is not None and body.everywhere

    def end(tx: Transaction) -> tuple[str, ...]:
        if everywhere:
            return tx.sessions.end_all(caller.tenant_id, str(caller.user_id))
        return tx.sessions.end(caller.tenant_id, str(caller.session_id))

    ended = await deps.write(end)
    logins.forget_sessions(deps, ended)
    return answer(LogoutView(ended_sessions=len(ended), logout_url=url)).response


@auth.get(
    "/.well-known/jwks.json",
    operation_id="getJwks",
    summary="The public keys access tokens are signed with",
    response_model=KeysView,
    **operation(None, 503),
)
async def get_jwks(request: Request, deps: Deps) -> Response:
    """An unknown `kid` is a reason to ask again: keys are rotated every month."""
    keys = KeysView.model_validate(await in_thread(deps.tokens.jwks))
    return conditional(request, keys)


async def _proven(
    gateway: Gateway, origin: From, email: str, password: str, tenant: str | None
) -> Candidate:
    """The one user whose password this is."""
    await logins.admit(gateway, logins.login_name(email))
    found, matched = await logins.matching(gateway, email, password, tenant)
    if not matched:
        await in_thread(_note_failure, gateway, origin, found)
        raise Problem(401, _WRONG, code="credentials_invalid")
    await in_thread(_clear, gateway, logins.login_name(email))
    if len(matched) > 1:
        by_name = sorted(matched, key=lambda candidate: candidate.tenant.name)
        choices = tuple(TenantChoice(id=c.tenant.id, name=c.tenant.name) for c in by_name)
        raise Problem(
            409, "say which tenant: by name or id", code="tenant_required", tenants=choices
        )
    return matched[0]


async def _rehashed(gateway: Gateway, one: Candidate, password: str) -> str | None:
    """The password hashed at today's price, where the stored hash was made at another."""
    if one.password_hash is None or not gateway.passwords.is_dated(one.password_hash):
        return None
    return await logins.hashing(gateway, lambda: gateway.passwords.hashed(password))


def _let_in(
    gateway: Gateway, origin: From, one: Candidate, better: str | None
) -> TokensView | ChallengeView:
    with gateway.catalog.write() as tx:
        if better is not None:
            tx.users.rehash(one.tenant.id, one.user.id, better)
        if _is_temporary(one):
            session = tx.challenges.ask(one.tenant.id, one.user.id, "newPassword")
            return ChallengeView(challenge="newPassword", session=session)
        shown = _next(gateway, tx, origin, one)
    return shown if isinstance(shown, ChallengeView) else logins.tokens(gateway, shown)


def _next(
    gateway: Gateway, tx: Transaction, origin: From, one: Candidate
) -> ChallengeView | logins.Started:
    if one.user.mfa_enrolled:
        session = tx.challenges.ask(one.tenant.id, one.user.id, "mfa")
        return ChallengeView(challenge="mfa", session=session)
    logins.note(tx, one.tenant.id, one.user.id, "authenticate", origin)
    return logins.start(gateway, tx, one.tenant.id, one.user.id)


def _changed(
    gateway: Gateway, origin: From, one: Candidate, hashed: str
) -> TokensView | ChallengeView:
    with gateway.catalog.write() as tx:
        # Of two at once that both hold the temporary password, one is first.
        if not tx.users.get(one.tenant.id, one.user.id).must_change_password:
            raise Problem(409, "this password is not temporary any more", code="not_temporary")
        tx.users.set_password(one.tenant.id, one.user.id, hashed)
        tx.sessions.end_all(one.tenant.id, one.user.id)
        logins.note(tx, one.tenant.id, one.user.id, "changeTemporaryPassword", origin)
        shown = _next(gateway, tx, origin, one)
    return shown if isinstance(shown, ChallengeView) else logins.tokens(gateway, shown)


def _refreshed(gateway: Gateway, origin: From, token: str) -> TokensView:
    with gateway.catalog.write() as tx:
        done = tx.sessions.refresh(token, gateway.settings.refresh_grace_s * 1000)
        if done.reused and done.session is not None:
            who = done.session
            logins.note(
                tx, who.tenant_id, who.user_id, "refreshTokenReused", origin, session=who.id
            )
    if done.session is None or done.reused:
        if done.session is not None:
            logins.forget_sessions(gateway, (done.session.id,))
        raise Problem(401, "this refresh token is unknown, used or expired; log in again")
    return logins.tokens(gateway, logins.Started(done.session, done.token))


async def _verified(gateway: Gateway, token: str) -> VerifyView:
    found = await credentials.judged(gateway, token)
    if found is None or found[1].deleting:
        return VerifyView(valid=False)
    claims, check = found
    return VerifyView(
        valid=True,
        subject=f"user:{check.session.user_id}",
        tenant=check.session.tenant_id,
        expires_at=rfc3339(claims.expires_ms),
    )


async def _admit_recovery(gateway: Gateway, email: str) -> None:
    def take() -> int:
        with gateway.catalog.write() as tx:
            name = f"recover:{normal_email(email)}"
            return tx.attempts.take(name, _RECOVERIES_AN_HOUR, _HOUR_MS)

    wait_ms = await in_thread(take)
    if wait_ms > 0:
        raise Problem(
            429,
            "too many letters to this address; wait",
            headers={"Retry-After": str(max(1, wait_ms // 1000))},
        )


async def _recover(gateway: Gateway, origin: From, email: str, tenant: str | None) -> None:
    temporary = passwords.generate()
    hash_it = partial(gateway.passwords.hashed, temporary)
    # Not `logins.hashing`: behind the answer there is nobody to be told to come back later.
    hashed = await anyio.to_thread.run_sync(hash_it, limiter=gateway.hashing)
    try:
        letters = await in_thread(_letters, gateway, origin, email, tenant, temporary, hashed)
    except StoreUnavailable:
        return
    for letter in letters:
        await logins.send(gateway, letter)


def _letters(
    gateway: Gateway, origin: From, email: str, tenant: str | None, temporary: str, hashed: str
) -> list[Letter]:
    with gateway.catalog.write() as tx:
        found = tx.users.candidates(email, tenant, logins.MAX_TENANTS)
        # Who only comes by sign-on has no password that could be recovered.
        known = [one for one in found if one.password_hash is not None]
        if not known:
            tx.recoveries.open(email, None)
        for one in known:
            logins.note(tx, one.tenant.id, one.user.id, "recoverPassword", origin)
        return [_letter(gateway, tx, one, temporary, hashed) for one in known]


def _letter(
    gateway: Gateway, tx: Transaction, one: Candidate, temporary: str, hashed: str
) -> Letter:
    if not _is_temporary(one):
        return _code_letter(gateway, one, tx.recoveries.open(one.user.email, one.user.id))
    until_ms = gateway.clock() + logins.TEMPORARY_MS
    tx.users.set_password(one.tenant.id, one.user.id, hashed, until_ms=until_ms)
    # A code is answered for this address as for every other.
    tx.recoveries.open(one.user.email, None)
    return logins.temporary_password_letter(gateway, one.user.email, one.tenant.name, temporary)


def _code_letter(gateway: Gateway, one: Candidate, code: str) -> Letter:
    return Letter(
        to=one.user.email,
        subject="Your recovery code for cuttingroom",
        text=(
            f"Somebody asked for a new password for {one.tenant.name} at "
            f"{gateway.settings.public_url}.\n\nRecovery code: {code}\n\n"
            "It works once, for thirty minutes. If it was not you, do nothing.\n"
        ),
    )


def _redeemed(gateway: Gateway, origin: From, body: ConfirmBody, hashed: str) -> tuple[str, ...]:
    with gateway.catalog.write() as tx:
        found = tx.users.candidates(body.email, body.tenant, logins.MAX_TENANTS)
        try:
            allowed = frozenset(one.user.id for one in found)
            user_id = tx.recoveries.redeem(body.email, body.code, allowed)
        except LookupError as error:
            detail = "every code sent to this address has run out; ask for another"
            raise Problem(410, detail, code="code_expired") from error
        if user_id is not None:
            tenant_id = next(one.tenant.id for one in found if one.user.id == user_id)
            tx.recoveries.close(body.email)
            tx.attempts.clear(logins.login_name(body.email))
            tx.users.set_password(tenant_id, user_id, hashed)
            logins.note(tx, tenant_id, user_id, "confirmRecoverPassword", origin)
            return tx.sessions.end_all(tenant_id, user_id)
    # After the commit: the try that was used up has to stay used up.
    raise Problem(400, "the code is wrong", code="code_invalid")


def _note_failure(gateway: Gateway, origin: From, found: tuple[Candidate, ...]) -> None:
    with gateway.catalog.write() as tx:
        for one in found:
            logins.note(tx, one.tenant.id, one.user.id, "authenticateFailed", origin)


def _clear(gateway: Gateway, name: str) -> None:
    with gateway.catalog.write() as tx:
        tx.attempts.clear(name)


def _is_temporary(one: Candidate) -> bool:
    return one.user.must_change_password


def _refuse_stale(one: Candidate, now_ms: int) -> None:
    if one.temporary_until_ms is not None and one.temporary_until_ms <= now_ms:
        _refuse(401, "the temporary password has expired; recover it by mail", "temporary_expired")


def _refuse(status: int, detail: str, code: str) -> NoReturn:
    raise Problem(status, detail, code=code)


def _plain(secret: Secret) -> str:
    return secret.get_secret_value()
