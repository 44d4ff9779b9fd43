"""How many bits a second the segments of a track take: at most, and on the whole."""

from __future__ import annotations

from collections.abc import Sequence


def average_bps(sizes: Sequence[int], lengths_us: Sequence[int]) -> int:
    """All bits over all time."""
    return sum(sizes) * 8_000_000 // max(1, sum(lengths_us))


def peak_bps(sizes: Sequence[int], lengths_us: Sequence[int]) -> int:
    """The most that segments in a row take which last about as long as the longest one.

    A short last segment does not count alone (RFC 8216bis 4.4.6.2): it would tell of a rate that
    nobody needs. Whoever buffers twice the longest segment plays on at this rate.

    >>> peak_bps([1000, 2000, 500], [1_000_000, 1_000_000, 40_000])
    19231
    """
    longest = max(lengths_us, default=0)
    most = average_bps(sizes, lengths_us)
    for first in range(len(sizes)):
        size = length = 0
        for at in range(first, len(sizes)):
            size, length = size + sizes[at], length + lengths_us[at]
            if 2 * length > 3 * longest:
                break
            if 2 * length >= longest:
                most = max(most, -(-size * 8_000_000 // max(1, length)))
    return most
