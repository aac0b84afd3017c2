"""A country's outline as SVG, in one style per split so that no split sees another's picture."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from lit_mmembed.data.sources.emoji_beir.drawings import Svg

STYLES = {
    "train": 'fill="#4c8c5a" stroke="#1d4428" stroke-width="1"',
    "val": 'fill="#f6efd9" stroke="#2b5ea8" stroke-width="2.4"',
    "test": 'fill="#d9903b" stroke="#5a3410" stroke-width="0.6"',
}
MARGIN = {"train": 6.0, "val": 12.0, "test": 9.0}
BOX = 100.0

Ring = list[tuple[float, float]]


def outline_svg(geojson: dict[str, Any], letters: str, split: str) -> Svg:
    """Draw a country's main body and larger islands, north up, width scaled by the cosine of the mid latitude."""
    rings = _fit(_main_body(_continuous(list(_outer_rings(geojson)))), MARGIN[split])
    path = "".join("M" + "L".join(f"{x:.2f} {y:.2f}" for x, y in ring) + "Z" for ring in rings)
    body = f'<path d="{path}" {STYLES[split]} stroke-linejoin="round"/>'
    text = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {BOX:g} {BOX:g}">{body}</svg>'
    return Svg(text, f"{letters} geoJSON")


def _outer_rings(geojson: dict[str, Any]) -> Iterator[Ring]:
    for feature in geojson["features"]:
        shape = feature["geometry"]
        polygons = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
        for polygon in polygons:
            yield [(float(x), float(y)) for x, y, *_ in polygon[0]]


def _continuous(rings: list[Ring]) -> list[Ring]:
    """Move the western half east by 360 degrees for a country that crosses the date line."""
    longitudes = [x for ring in rings for x, _ in ring]
    if max(longitudes) - min(longitudes) < 180:
        return rings
    return [[(x + 360 if x < 0 else x, y) for x, y in ring] for ring in rings]


def _main_body(rings: list[Ring]) -> list[Ring]:
    largest = max(rings, key=_area)
    middle_x, middle_y = _middle(largest)
    kept = []
    for ring in rings:
        x, y = _middle(ring)
        if _area(ring) > 0.01 * _area(largest) and math.hypot(x - middle_x, y - middle_y) < 30:
            kept.append(ring)
    return kept or [largest]


def _fit(rings: list[Ring], margin: float) -> list[Ring]:
    latitudes = [y for ring in rings for _, y in ring]
    squeeze = math.cos(math.radians((max(latitudes) + min(latitudes)) / 2))
    flat = [[(x * squeeze, -y) for x, y in ring] for ring in rings]
    xs, ys = [x for ring in flat for x, _ in ring], [y for ring in flat for _, y in ring]
    width, height = max(xs) - min(xs), max(ys) - min(ys)
    scale = (BOX - 2 * margin) / max(width, height)
    left, top = (BOX - width * scale) / 2, (BOX - height * scale) / 2
    return [[((x - min(xs)) * scale + left, (y - min(ys)) * scale + top) for x, y in ring] for ring in flat]


def _area(ring: Ring) -> float:
    pairs = zip(ring, ring[1:] + ring[:1], strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def _middle(ring: Ring) -> tuple[float, float]:
    return sum(x for x, _ in ring) / len(ring), sum(y for _, y in ring) / len(ring)
