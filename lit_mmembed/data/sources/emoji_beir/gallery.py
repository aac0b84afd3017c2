"""All pictures of the benchmark: each drawn once, equal pixels kept once, and what each one shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lit_mmembed.data.sources.emoji_beir.drawings import Drawings, Picture, rasterise
from lit_mmembed.data.sources.emoji_beir.outlines import outline_svg


class Gallery:
    """Draws on demand; a picture with the pixels of an earlier one is the earlier one."""

    def __init__(self, drawings: Drawings) -> None:
        self._drawings = drawings
        self._by_pixels: dict[str, Picture] = {}
        self._drawn: dict[tuple[str, str], str] = {}
        self._shown: dict[str, set[str]] = defaultdict(set)
        self.repeated = 0
        """How many drawings had the pixels of an earlier one."""

    def draw(self, vendor: str, key: str) -> str:
        """Return the path of a vendor's picture of a concept."""
        if (vendor, key) not in self._drawn:
            self._keep(vendor, key, self._drawings.picture(vendor, key))
        return self._drawn[vendor, key]

    def draw_outline(self, geojson: dict, letters: str, split: str) -> str:
        """Return the path of a country's outline in the style of a split."""
        key = f"{letters}-{split}"
        if ("outline", key) not in self._drawn:
            self._keep("outline", key, rasterise(outline_svg(geojson, letters, split), "outline", key), letters)
        return self._drawn["outline", key]

    def shows(self, path: str) -> frozenset[str]:
        """Return the keys of every concept that this very picture was drawn for."""
        return frozenset(self._shown[path])

    def pictures(self, paths: Iterable[str]) -> list[Picture]:
        """Return the pictures of these paths, by path."""
        by_path = {picture.path: picture for picture in self._by_pixels.values()}
        return [by_path[path] for path in sorted(set(paths))]

    def look_alikes(self) -> list[frozenset[str]]:
        """Return the sets of two or more concepts that share a picture."""
        return [frozenset(keys) for keys in self._shown.values() if len(keys) > 1]

    def _keep(self, vendor: str, key: str, picture: Picture, shown: str = "") -> None:
        first = self._by_pixels.setdefault(picture.pixels, picture)
        self.repeated += first is not picture
        self._drawn[vendor, key] = first.path
        self._shown[first.path].add(shown or key)
