"""A grouped bar chart on a log scale as a plain SVG text."""

from __future__ import annotations

import math
from html import escape

COLORS = ("#0b6e4f", "#08a045", "#6b9080", "#bc4b51", "#f4a259", "#8d99ae", "#5b8e7d")
BAR, GAP, LABEL, WIDTH = 18, 14, 150, 760


def bars(title: str, groups: dict[str, dict[str, float]]) -> str:
    """One bar a value, grouped; a bar's length is the logarithm of its value."""
    values = [v for group in groups.values() for v in group.values() if v > 0]
    low, high = math.log10(min(values)) - 0.15, math.log10(max(values))
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    parts, y = [f'<text x="8" y="22" font-size="15">{escape(title)}</text>'], 40
    for label, group in groups.items():
        parts.append(f'<text x="8" y="{y + 13}" font-weight="bold">{escape(label)}</text>')
        for name, value in group.items():
            length = (WIDTH - LABEL - 90) * (math.log10(value) - low) / (high - low)
            color = COLORS[names.index(name) % len(COLORS)]
            parts.append(
                f'<text x="{LABEL - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
                f'<rect x="{LABEL}" y="{y}" width="{max(length, 1):.0f}" height="{BAR - 3}" '
                f'fill="{color}"/>'
                f'<text x="{LABEL + max(length, 1) + 6:.0f}" y="{y + 13}">{value:.2f}</text>'
            )
            y += BAR
        y += GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}"'
    style = 'font-family="sans-serif" font-size="12"'
    return f'{head} {style}><rect width="100%" height="100%" fill="white"/>{"".join(parts)}</svg>\n'
