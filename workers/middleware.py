"""The dramatiq middleware we choose, in place of its defaults."""

from __future__ import annotations

from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import Middleware


class LogContext(Middleware):
    """Binds the bell to every log line written while it is answered."""

    def before_process_message(
        self, _broker: dramatiq.Broker, message: dramatiq.MessageProxy
    ) -> None:
        """Begin."""
        structlog.contextvars.bind_contextvars(bell=message.message_id)

    def after_process_message(
        self,
        _broker: dramatiq.Broker,
        _message: dramatiq.MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """End."""
        structlog.contextvars.unbind_contextvars("bell")


def chosen() -> list[Middleware]:
    """All of it: no time limits, retries, age limits, pipelines, callbacks or results."""
    return [LogContext()]
