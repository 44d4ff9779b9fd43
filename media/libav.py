"""The libav that PyAV carries: its versions and which encoders of ours it has."""

from __future__ import annotations

import importlib

from schemas.base import Value
from schemas.errors import UnsupportedMedia

# What the edges of an exact cut are encoded with.
EDGE_ENCODERS = ("libx264", "libx265")


class Libav(Value):
    """What the installed PyAV can do."""

    pyav: str
    libavcodec: str
    encoders: frozenset[str]

    @property
    def lacking(self) -> tuple[str, ...]:
        """The edge encoders it does not have."""
        return tuple(name for name in EDGE_ENCODERS if name not in self.encoders)


def libav() -> Libav:
    """The PyAV of this environment; UnsupportedMedia where it is absent or does not load."""
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise UnsupportedMedia(f"PyAV does not load: {type(error).__name__}") from error
    version = av.library_versions["libavcodec"]
    return Libav(
        pyav=av.__version__,
        libavcodec=".".join(str(part) for part in version),
        encoders=frozenset(av.codecs_available),
    )
