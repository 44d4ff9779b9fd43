"""Where a browser that came by sign-on goes to end its session there too."""

from __future__ import annotations

from api_gateway.deps import Gateway
from schemas.accounts import Principal


async def logout_url(gateway: Gateway, who: Principal) -> str | None:
    """The provider's log-out, told which session; None for a session of our own."""
    del gateway, who
    return None
