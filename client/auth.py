"""Logging in: passwords, second factors, recovery, single sign-on."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from pydantic import Field

from client.calls import Calls, decoded
from client.credentials import Tokens
from client.errors import ChallengePending, Unreadable
from client.transport import Reply
from client.values import Told, present, read


class Challenge(Told):
    """What logging in asks for before there are tokens."""

    challenge: str
    session: str = Field(repr=False)


class Enrolment(Told):
    """A second factor about to be set up."""

    otpauth_uri: str = Field(repr=False)
    qr: str = Field(repr=False)
    secret: str = Field(repr=False)


class RecoveryCodes(Told):
    """Codes for the day the second factor is lost, shown once."""

    recovery_codes: tuple[str, ...] = Field(repr=False)


class Verified(Told):
    """Whether a credential is good, and whose it is."""

    valid: bool
    subject: str | None = None
    tenant: str | None = None
    expires_at: str | None = None


class LoggedOut(Told):
    """What ended."""

    ended_sessions: int
    logout_url: str | None = None


class Sso(Told):
    """Whether a tenant signs on elsewhere."""

    enabled: bool
    protocol: str | None = None
    issuer: str | None = None
    authorize_url: str | None = None


class KeySet(Told):
    """The keys that access tokens are signed with."""

    keys: tuple[dict[str, Any], ...]


class Auth:
    """What leads to tokens; `Client.login` is the short way."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def login(
        self,
        email: str,
        password: str,
        *,
        tenant: str | None = None,
        code: str | None = None,
        new_password: str | None = None,
    ) -> Tokens:
        """Tokens of a user: `code` is of a second factor, `new_password` replaces a temporary one.

        ChallengePending where one of them is asked for and missing.
        """
        told = self.authenticate(email, password, tenant=tenant)
        if isinstance(told, Challenge) and told.challenge == "newPassword" and new_password:
            told = self.change_temporary_password(email, password, new_password, tenant=tenant)
        if isinstance(told, Challenge) and told.challenge == "mfa" and code:
            return self.answer_mfa(told.session, code)
        if isinstance(told, Challenge):
            raise ChallengePending(told.challenge, told.session)
        return told

    def authenticate(
        self, email: str, password: str, *, tenant: str | None = None
    ) -> Tokens | Challenge:
        """Tokens, or a challenge that leads to them."""
        return self._let_in("authenticate", email=email, password=password, tenant=tenant)

    def answer_mfa(self, session: str, code: str) -> Tokens:
        """Tokens for the code of a second factor."""
        body = present(session=session, code=code)
        return self._calls.value(Tokens, "answerMfa", body=body, signed=False)

    def change_temporary_password(
        self,
        email: str,
        temporary_password: str,
        new_password: str,
        *,
        tenant: str | None = None,
    ) -> Tokens | Challenge:
        """Exchange a temporary password for one's own."""
        return self._let_in(
            "changeTemporaryPassword",
            email=email,
            temporary_password=temporary_password,
            new_password=new_password,
            tenant=tenant,
        )

    def recover_password(self, email: str, *, tenant: str | None = None) -> str:
        """Have a code mailed; the answer says the same for every address."""
        body = present(email=email, tenant=tenant)
        reply = self._calls.reply("recoverPassword", body=body, signed=False)
        return str(decoded(reply).get("detail", ""))

    def confirm_recovery(
        self, email: str, code: str, new_password: str, *, tenant: str | None = None
    ) -> None:
        """Set a new password by the mailed code; every session ends."""
        body = present(email=email, code=code, new_password=new_password, tenant=tenant)
        self._calls.reply("confirmRecoverPassword", body=body, signed=False)

    def refresh(self, refresh_token: str) -> Tokens:
        """The next pair of tokens; a session of `Client.login` does this by itself."""
        body = present(refresh_token=refresh_token)
        return self._calls.value(Tokens, "refreshToken", body=body, signed=False)

    def verify(self) -> Verified:
        """Whether the credential is good, and whose it is."""
        return self._calls.value(Verified, "verifyToken")

    def logout(self, *, everywhere: bool = False) -> LoggedOut:
        """End this session, or all of the user's."""
        return self._calls.value(LoggedOut, "logout", body={"everywhere": everywhere})

    def enrol_mfa(self) -> Enrolment:
        """Begin to set up a second factor."""
        return self._calls.value(Enrolment, "enrolMfa")

    def confirm_mfa(self, code: str) -> RecoveryCodes:
        """Finish setting it up with its first code."""
        return self._calls.value(RecoveryCodes, "confirmMfa", body={"code": code})

    def remove_mfa(self) -> None:
        """Go without a second factor."""
        self._calls.reply("removeMfa")

    def jwks(self) -> KeySet:
        """The keys that access tokens are signed with."""
        return self._calls.value(KeySet, "getJwks", signed=False)

    def sso(self, tenant: str) -> Sso:
        """Whether a tenant signs on elsewhere."""
        return self._calls.value(Sso, "getSsoConfig", query={"tenant": tenant}, signed=False)

    def start_sso(self, tenant: str) -> str:
        """The address at which a person signs on, in a browser."""
        reply = self._calls.reply("startSso", {"tenant": tenant}, signed=False)
        return _location(reply)

    def finish_sso(self, tenant: str, state: str, code: str) -> Tokens:
        """Tokens for what the sign-on gave back; only the client that began it may ask."""
        query = {"state": state, "code": code}
        return self._calls.value(Tokens, "finishSso", {"tenant": tenant}, query=query, signed=False)

    def sso_backchannel_logout(self, tenant: str, logout_token: str) -> None:
        """End the sessions a sign-on provider's token names; for providers."""
        form = urlencode({"logout_token": logout_token})
        self._calls.reply("backchannelLogout", {"tenant": tenant}, body=form, signed=False)

    def _let_in(self, operation_id: str, **said: str | None) -> Tokens | Challenge:
        reply = self._calls.reply(operation_id, body=present(**said), signed=False)
        told = decoded(reply)
        asked = isinstance(told, dict) and "challenge" in told
        return read(Challenge, told) if asked else read(Tokens, told)


def _location(reply: Reply) -> str:
    found = reply.headers.get("location")
    if found is None:
        raise Unreadable("the answer leads nowhere")
    return found
