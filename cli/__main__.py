"""Where `cuttingroom` begins: Ctrl-C ends it without a word while its modules are still read."""

from __future__ import annotations

import os
import signal

INTERRUPTED = 130


def main() -> None:
    """Read the command line's modules, then run it."""
    # Who started us may have chosen that it is ignored.
    impatient = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if impatient:
        signal.signal(signal.SIGINT, _leave)
    from cli.main import main as run

    if impatient:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _leave(*_: object) -> None:
    # Nothing has begun that would have to be ended, and an exception here is one of some import.
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    main()
