"""Second factors: enrolled, confirmed, asked for at log-in, removed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from api_gateway import logins, totp
from api_gateway.answers import answer
from api_gateway.deps import Caller, Deps, Gateway, in_thread
from api_gateway.logins import From, TokensView
from api_gateway.params import KeyOfLogin
from api_gateway.problems import Problem
from api_gateway.routing import operation, router
from catalog.challenges import new_code
from catalog.engine import Transaction
from schemas.accounts import Challenge, TotpState
from schemas.base import WireValue

mfa: APIRouter = router("authentication")
SEALED_FIELD = "totp"
_RECOVERY_CODES = 10
Code = Annotated[str, Field(min_length=1, max_length=64)]


class AnswerMfaBody(WireValue):
    """The challenge of a log-in, and a code of the app or a recovery code."""

    session: str = Field(min_length=1, max_length=200)
    code: Code


class EnrolView(WireValue):
    """A secret for an authenticator app, as a URI and as a QR code (SVG in a data URI)."""

    otpauth_uri: str
    secret: str
    qr: str


class CodeBody(WireValue):
    """A code of the app."""

    code: Code


class RecoveryCodesView(WireValue):
    """Codes that stand in for the app, each once; they are not shown again."""

    recovery_codes: tuple[str, ...]


@mfa.post(
    "/v1/auth/mfa",
    operation_id="answerMfa",
    summary="Answer the challenge of a log-in with a code",
    response_model=TokensView,
    **operation(
        None,
        *(400, 401, 410, 413, 415, 422),
        example={"session": "crc_…", "code": "123456"},
        limited=True,
    ),
)
async def answer_mfa(
    request: Request, deps: Deps, body: AnswerMfaBody, _: KeyOfLogin = None
) -> Response:
    """Five tries a challenge; a code works once."""
    challenge = await in_thread(_taken, deps, body.session)
    await logins.admit(deps, _name(challenge.user_id))
    started = await in_thread(_answered, deps, From.of(request), challenge, body)
    return answer(await in_thread(logins.tokens, deps, started)).response


@mfa.post(
    "/v1/auth/mfa/enrol",
    operation_id="enrolMfa",
    summary="Get a secret for an authenticator app",
    response_model=EnrolView,
    **operation("session", 409, 415, 422, meanwhile=("enrolling",)),
)
async def enrol_mfa(deps: Deps, caller: Caller, _: KeyOfLogin = None) -> Response:
    """It is asked for from the moment it is confirmed; an older factor is in force until then,
    and has to be removed first."""

    def propose() -> EnrolView:
        secret = totp.new_secret()
        with deps.catalog.write() as tx:
            user = tx.users.get(caller.tenant_id, str(caller.user_id))
            if user.mfa_enrolled:
                raise Problem(409, "a second factor is in force; remove it first", code="enrolled")
            sealed = deps.sealer.seal(user.tenant_id, user.id, SEALED_FIELD, secret)
            tx.factors.propose(user.tenant_id, user.id, sealed)
        uri = totp.uri(secret, account=user.email, issuer="cuttingroom")
        return EnrolView(otpauth_uri=uri, secret=secret, qr=totp.qr(uri))

    return answer(await in_thread(propose)).response


@mfa.post(
    "/v1/auth/mfa/enrol/confirm",
    operation_id="confirmMfa",
    summary="Put the enrolled factor in force",
    response_model=RecoveryCodesView,
    **operation(
        "session",
        *(400, 409, 413, 415, 422),
        example={"code": "123456"},
        meanwhile=("enrolling",),
    ),
)
async def confirm_mfa(deps: Deps, caller: Caller, body: CodeBody, _: KeyOfLogin = None) -> Response:
    """Every other session of the user ends: nobody stays in who logged in without the factor."""
    tenant_id, user_id = caller.tenant_id, str(caller.user_id)
    await logins.admit(deps, _name(user_id))
    codes = tuple(new_code() for _ in range(_RECOVERY_CODES))

    def confirm(tx: Transaction) -> tuple[str, ...]:
        state = tx.factors.state(tenant_id, user_id)
        if state.sealed_pending is None:
            raise Problem(409, "nothing to confirm; enrol first", code="not_enrolling")
        step = _step(deps, tenant_id, user_id, state.sealed_pending, body.code)
        if step is None:
            raise Problem(400, "the code is wrong", code="code_invalid")
        tx.factors.confirm(tenant_id, user_id, step, codes)
        tx.attempts.clear(_name(user_id))
        return tx.sessions.end_all(tenant_id, user_id, but=caller.session_id)

    logins.forget_sessions(deps, (*await deps.write(confirm), str(caller.session_id)))
    return answer(RecoveryCodesView(recovery_codes=codes)).response


@mfa.delete(
    "/v1/auth/mfa",
    operation_id="removeMfa",
    summary="Remove one's second factor",
    status_code=204,
    response_class=Response,
    **operation("session", 409),
)
async def remove_mfa(deps: Deps, caller: Caller) -> Response:
    """Refused where the tenant or an admin requires one."""
    tenant_id, user_id = caller.tenant_id, str(caller.user_id)

    def remove(tx: Transaction) -> None:
        user, tenant = tx.users.get(tenant_id, user_id), tx.tenants.get(tenant_id)
        if user.mfa_required or tenant.mfa_required:
            raise Problem(409, "a second factor is required here", code="mfa_required")
        tx.factors.remove(tenant_id, user_id)

    await deps.write(remove)
    return Response(status_code=204)


def _taken(gateway: Gateway, session: str) -> Challenge:
    with gateway.catalog.write() as tx:
        challenge = tx.challenges.take(session, "mfa")
    if challenge is None:
        raise Problem(401, "there is no such challenge; log in again", code="session_invalid")
    if challenge.expired:
        detail = "the challenge has run out; log in again"
        raise Problem(410, detail, code="session_expired")
    return challenge


def _answered(
    gateway: Gateway, origin: From, asked: Challenge, body: AnswerMfaBody
) -> logins.Started:
    with gateway.catalog.write() as tx:
        state = tx.factors.state(asked.tenant_id, asked.user_id)
        if _is_right(gateway, tx, asked, state, body.code):
            tx.challenges.done(body.session)
            tx.attempts.clear(_name(asked.user_id))
            logins.note(tx, asked.tenant_id, asked.user_id, "answerMfa", origin)
            return logins.start(gateway, tx, asked.tenant_id, asked.user_id)
        logins.note(tx, asked.tenant_id, asked.user_id, "answerMfaFailed", origin)
    detail = f"the code is wrong; {asked.tries_left} tries are left"
    raise Problem(401, detail, code="code_invalid")


def _is_right(
    gateway: Gateway, tx: Transaction, asked: Challenge, state: TotpState, code: str
) -> bool:
    if state.sealed is None:
        return False
    step = _step(gateway, asked.tenant_id, asked.user_id, state.sealed, code)
    if step is not None:
        return tx.factors.use_step(asked.tenant_id, asked.user_id, step)
    return tx.factors.use_code(asked.tenant_id, asked.user_id, code)


def _step(gateway: Gateway, tenant_id: str, user_id: str, sealed: str, code: str) -> int | None:
    secret = gateway.sealer.open(tenant_id, user_id, SEALED_FIELD, sealed)
    return totp.step_of(secret.get_secret_value(), code, gateway.clock())


def _name(user_id: str) -> str:
    return f"mfa:{user_id}"
