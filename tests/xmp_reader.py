"""XMP packets as others read them: Exiv2's own library, bound for Python."""

from __future__ import annotations

import warnings
from pathlib import Path

with warnings.catch_warnings():
    # Its wrapper's types have no module of their own, which newer Pythons remark upon.
    warnings.simplefilter("ignore", DeprecationWarning)
    import exiv2  # type: ignore[import-untyped]


def read_xmp(packet: str, folder: Path) -> dict[str, str]:
    """Every property Exiv2 finds in a packet, by its path."""
    path = folder / "read.xmp"
    path.write_text(packet, encoding="utf-8")
    image = exiv2.ImageFactory.open(str(path))
    image.readMetadata()
    return {datum.key(): datum.toString() for datum in image.xmpData()}
