"""From a vendor's SVG to a 64 x 64 picture: look-up by code points, rasterising, one identity for equal pixels."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lit_mmembed.data.sources.emoji_beir.fetch import (
    CIRCLE_FLAGS,
    COUNTRYINFO,
    FLAG,
    FLUENT,
    NOTO,
    OPENMOJI,
    TWEMOJI,
    Archive,
    Package,
    package_folder,
)

SIDE = 64
"""Pixels, both ways."""
EMOJI_VENDORS = ("openmoji", "twemoji", "noto", "fluent")
FLAG_VENDORS = ("openmoji", "twemoji", "flag", "square-flag", "circle-flag")
ORIGIN = {
    "openmoji": OPENMOJI,
    "twemoji": TWEMOJI,
    "noto": NOTO,
    "fluent": FLUENT,
    "flag": FLAG,
    "square-flag": FLAG,
    "circle-flag": CIRCLE_FLAGS,
    "outline": COUNTRYINFO,
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing as pixels; two with the same `pixels` are one file and one document."""

    path: str
    """Within the benchmark, beginning with `mbeir_images/`."""
    webp: bytes
    pixels: str
    """SHA-256 of the RGB values."""
    package: Package
    source: str
    """The drawing's name within its package."""


@dataclass(frozen=True, slots=True)
class Svg:
    """A drawing as published."""

    text: str
    source: str


class Drawings:
    """All vendors' drawings, by vendor and key (code points in lower case without FE0F, or a country's two letters)."""

    def __init__(self, packages: str | Path) -> None:
        self._icons = {
            vendor: IconSet(Archive(packages, ORIGIN[vendor]))
            for vendor in ("twemoji", "noto", "fluent", "flag", "circle-flag")
        }

    def has(self, vendor: str, key: str) -> bool:
        """Tell whether a vendor draws this."""
        if vendor == "openmoji":
            return _code_points(key) in self._openmoji
        icons, name = self._named(vendor, key)
        return name in icons.names

    def svg(self, vendor: str, key: str) -> Svg:
        """Return a vendor's drawing as SVG."""
        if vendor == "openmoji":
            file = self._openmoji[_code_points(key)]
            return Svg(file.read_text(encoding="utf-8"), f"openmoji/svg/{file.name}")
        icons, name = self._named(vendor, key)
        return Svg(icons.svg(name), name)

    def picture(self, vendor: str, key: str) -> Picture:
        """Rasterise a vendor's drawing."""
        return rasterise(self.svg(vendor, key), vendor, key)

    def _named(self, vendor: str, key: str) -> tuple[IconSet, str]:
        if vendor == "flag":
            return self._icons["flag"], f"{key}-4x3"
        if vendor == "square-flag":
            return self._icons["flag"], f"{key}-1x1"
        icons = self._icons[vendor]
        return (icons, key) if vendor == "circle-flag" else (icons, icons.name_of.get(_code_points(key), ""))

    @cached_property
    def _openmoji(self) -> Mapping[str, Path]:
        folder = package_folder(OPENMOJI) / "openmoji" / "svg"
        return {without_fe0f(file.stem): file for file in sorted(folder.glob("*.svg"))}


class IconSet:
    """One Iconify package: named SVG bodies, and aliases that may turn or mirror their parent."""

    def __init__(self, archive: Archive) -> None:
        self._set = archive.json("icons.json")
        self.name_of: dict[str, str] = {without_fe0f(k): name for k, name in archive.json("chars.json").items()}
        """Code points to name."""

    @cached_property
    def names(self) -> set[str]:
        """Every icon and alias."""
        return {*self._set["icons"], *self._set.get("aliases", {})}

    def svg(self, name: str) -> str:
        """Return a complete square SVG, the drawing centred in it."""
        body, icon, flips = self._resolve(name)
        width = icon.get("width", self._set.get("width", 16))
        height = icon.get("height", self._set.get("height", 16))
        side = max(width, height)
        if flips % 2:
            body = f'<g transform="translate({width} 0) scale(-1 1)">{body}</g>'
        box = f"{(width - side) / 2:g} {(height - side) / 2:g} {side} {side}"
        return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">{body}</svg>'

    def _resolve(self, name: str) -> tuple[str, dict, int]:
        flips = 0
        while name not in self._set["icons"]:
            alias = self._set["aliases"][name]
            flips += bool(alias.get("hFlip"))
            name = alias["parent"]
        icon = self._set["icons"][name]
        return icon["body"], icon, flips


def rasterise(svg: Svg, vendor: str, key: str) -> Picture:
    """Draw an SVG on white, 64 x 64, as lossless WebP."""
    import resvg_py
    from PIL import Image

    png = resvg_py.svg_to_bytes(
        svg_string=svg.text, width=SIDE, height=SIDE, background="#ffffff", skip_system_fonts=True
    )
    image = Image.open(io.BytesIO(png)).convert("RGB")
    file = io.BytesIO()
    image.save(file, "WEBP", lossless=True, quality=80, method=4)
    return Picture(
        path=f"mbeir_images/emoji_images/{vendor}/{key}.webp",
        webp=file.getvalue(),
        pixels=hashlib.sha256(image.tobytes()).hexdigest(),
        package=ORIGIN[vendor],
        source=svg.source,
    )


def _code_points(key: str) -> str:
    """Spell a country's two letters as the code points of its flag; leave other keys alone."""
    if len(key) != 2:
        return key
    return "-".join(f"{0x1F1E6 + ord(letter) - ord('a'):x}" for letter in key)


def without_fe0f(code_points: str) -> str:
    """Write code points in lower case without the variation selector, which vendors use differently."""
    return "-".join(part for part in code_points.lower().split("-") if part != "fe0f")
