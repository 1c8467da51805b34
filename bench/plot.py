"""Bar charts as SVG, without a plotting library."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 760, 360, 64, 56, 64
COLOURS = {
    "kamailio": "#9aa0a6",
    "imc": "#1a73e8",
    "edge": "#1a73e8",
    "worker": "#34a1a8",
    "redis": "#d9593d",
}


@dataclass(frozen=True)
class Bar:
    """One bar: its label, and its parts from the bottom up."""

    name: str
    parts: dict[str, float]

    @property
    def height(self) -> float:
        return sum(self.parts.values())


def bars(title: str, unit: str, groups: dict[str, list[Bar]]) -> str:
    """Groups of stacked bars, with the sum above each bar."""
    top = max((bar.height for group in groups.values() for bar in group), default=1.0) or 1.0
    scale = (HEIGHT - TOP - BOTTOM) / top
    step = (WIDTH - LEFT - 16) / max(len(groups), 1)
    lines = [_text(16, 26, title, size=16, weight="600"), _text(16, 46, unit, fill="#5f6368")]
    for number, (label, group) in enumerate(groups.items()):
        left = LEFT + number * step
        lines.append(_text(left + step / 2, HEIGHT - 12, label, anchor="middle", weight="600"))
        width = min(72.0, step * 0.8 / max(len(group), 1))
        start = left + (step - width * len(group)) / 2
        for place, bar in enumerate(group):
            lines += _bar(bar, start + place * width, width - 8, scale)
    lines += _legend(groups)
    body = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="system-ui, sans-serif" font-size="12" role="img" aria-label="{escape(title)}">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _bar(bar: Bar, left: float, width: float, scale: float) -> list[str]:
    lines, bottom = [], float(HEIGHT - BOTTOM)
    for part, value in bar.parts.items():
        height = value * scale
        bottom -= height
        colour = COLOURS.get(part, "#5f6368")
        place = f'x="{left:.1f}" y="{bottom:.1f}" width="{width:.1f}" height="{height:.1f}"'
        lines.append(f'<rect {place} fill="{colour}"/>')
    middle = left + width / 2
    lines.append(_text(middle, bottom - 5, _number(bar.height), anchor="middle"))
    lines.append(_text(middle, HEIGHT - BOTTOM + 16, bar.name, anchor="middle", fill="#5f6368"))
    return lines


def _legend(groups: dict[str, list[Bar]]) -> list[str]:
    names = dict.fromkeys(part for group in groups.values() for bar in group for part in bar.parts)
    lines, left = [], WIDTH - 16 - 88 * len(names)
    for name in names:
        colour = COLOURS.get(name, "#5f6368")
        lines.append(f'<rect x="{left}" y="17" width="10" height="10" fill="{colour}"/>')
        lines.append(_text(left + 15, 26, name))
        left += 88
    return lines


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "400",
    fill: str = "#202124",
) -> str:  # fmt: skip
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'font-weight="{weight}" fill="{fill}">{escape(text)}</text>'
    )


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
