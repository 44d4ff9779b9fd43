"""Real workers of three queues, whose media store halts at a moment that a file names.

`clip_worker.py DATA_DIR SLOTS`, the settings in the environment. A file `halts/<moment>-<key>` in
the folder makes the first attempt that comes there write its process id into `reached/` and stay.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from connectors.base import Artifact, CheckFence, Control, Intent, OnBytes, Writes
from schemas.connectors import Published
from schemas.settings import Settings
from workers import handlers, registry
from workers.main import Parts, serve

MOMENTS = ("before begin", "begun", "before put", "put", "before finish", "visible")


class Halting:
    """A media store that can be made to stand still around each of its calls."""

    def __init__(self, store: Writes, data: Path) -> None:
        self._store, self._data = store, data

    def begin(self, artifact: Artifact) -> Intent:
        """As the store's."""
        self._halt("before begin", artifact.key)
        intent = self._store.begin(artifact)
        self._halt("begun", artifact.key)
        return intent

    def put(
        self,
        intent: Intent,
        artifact: Artifact,
        *,
        on_bytes: OnBytes | None = None,
        control: Control | None = None,
    ) -> Intent:
        """As the store's."""
        self._halt("before put", artifact.key)
        moved = self._store.put(intent, artifact, on_bytes=on_bytes, control=control)
        self._halt("put", artifact.key)
        return moved

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """As the store's."""
        self._halt("before finish", str(intent["key"]))
        done = self._store.finish(intent, check_fence)
        self._halt("visible", str(intent["key"]))
        return done

    def abort(self, intent: Intent) -> None:
        """As the store's."""
        self._store.abort(intent)

    def find(self, intent: Intent) -> Published | None:
        """As the store's."""
        return self._store.find(intent)

    def delete(self, key: str) -> None:
        """As the store's."""
        self._store.delete(key)

    def janitor(self, live: Iterable[Intent], older_than_ms: int) -> int:
        """As the store's."""
        return self._store.janitor(live, older_than_ms)

    def _halt(self, moment: str, key: str) -> None:
        name = f"{moment}-{key.replace('/', '_')}"
        with suppress(FileNotFoundError):
            (self._data / "halts" / name).unlink()
            part = self._data / "reached" / f"{name}.part"
            part.write_text(str(os.getpid()))
            part.rename(part.with_suffix(""))
            threading.Event().wait()


def main() -> None:
    """Serve the queues."""
    data, slots = Path(sys.argv[1]), int(sys.argv[2])
    settings = Settings.from_env(os.environ)
    works = registry.works()

    def parts() -> Parts:
        made, world = handlers.build(settings)
        store: Any = Halting(world.media_store, data)
        return Parts(works, made, replace(world, media_store=store), world.media.start)

    serve(settings, dict.fromkeys(("clip", "export", "rendition"), slots), parts)


if __name__ == "__main__":
    main()
