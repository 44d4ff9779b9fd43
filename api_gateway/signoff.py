"""Where a browser that came by sign-on goes to end its session there too."""

from __future__ import annotations

import anyio.to_thread
import structlog

from api_gateway.deps import Gateway
from api_gateway.oidc import logout_address
from schemas.accounts import Principal
from schemas.errors import CuttingRoomError

ID_TOKEN_FIELD = "id_token"  # noqa: S105 - the name of a field
_log = structlog.get_logger("sso")


async def logout_url(gateway: Gateway, who: Principal) -> str | None:
    """The provider's log-out, told which session; None for a session of our own."""
    return await anyio.to_thread.run_sync(_url, gateway, who, limiter=gateway.probes)


def _url(gateway: Gateway, who: Principal) -> str | None:
    session_id = str(who.session_id)
    with gateway.catalog.read() as tx:
        link = tx.sessions.sso_link(who.tenant_id, session_id)
        config = tx.sso.config(who.tenant_id)
    if link is None or config is None:
        return None
    try:
        provider = gateway.oidc.provider(config.issuer)
        token = gateway.sealer.open(who.tenant_id, session_id, ID_TOKEN_FIELD, link.sealed_id_token)
    except CuttingRoomError as error:
        # Logging out here never waits for, or fails with, somebody else's server.
        _log.warning("no log-out at the provider", code=error.error_code)
        return None
    back_to = gateway.settings.public_url
    return logout_address(provider, config.client_id, token.get_secret_value(), back_to)
