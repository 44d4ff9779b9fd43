"""The file a command writes: checked before the work, replaced once another is whole."""

from __future__ import annotations

from pathlib import Path

from connectors.base import CheckFence, Intent
from connectors.local import Folder
from schemas.connectors import Published
from schemas.errors import InvalidCommand


class Replacing(Folder):
    """A folder in which somebody has said that files may be replaced."""

    def finish(self, intent: Intent, check_fence: CheckFence) -> Published:
        """Take away what has the file's name at the last moment: a failure keeps it."""
        check_fence()
        if self.find(intent) is None:
            self.delete(intent["key"])
        return super().finish(intent, check_fence)


def check_output(output: Path, *, force: bool, may_be_folder: bool = False) -> None:
    """Refuse early what could not be written, or must not be taken away.

    Of a folder only the files that are made anew are replaced.
    """
    if not output.parent.is_dir():
        raise InvalidCommand(f"there is no folder {output.parent}")
    if output.exists() and not (output.is_file() or (may_be_folder and output.is_dir())):
        raise InvalidCommand(f"{output} is not a file")
    if output.exists() and not force:
        raise InvalidCommand(f"{output} is there already; --force replaces it")


def folder_of(output: Path, *, force: bool) -> Folder:
    """Where the file goes."""
    return Replacing(output.parent) if force else Folder(output.parent)
