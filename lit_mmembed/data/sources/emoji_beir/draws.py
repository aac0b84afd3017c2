"""Random choices as pure functions of a seed and a name.

No generator has a state, so nothing depends on the order of calls.
"""

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

Item = TypeVar("Item")


def number(seed: int, *name: object) -> int:
    """Draw a 64-bit number that depends on the seed and the name only."""
    key = "\x1f".join(str(part) for part in (seed, *name))
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")


def fraction(seed: int, *name: object) -> float:
    """Draw a number in [0, 1)."""
    return number(seed, *name) / 2**64


def shuffled(items: Iterable[Item], seed: int, purpose: str, key: Callable[[Item], object] = str) -> list[Item]:
    """Order items by a draw on their keys: adding an item does not move the others."""
    return sorted(items, key=lambda item: (number(seed, purpose, key(item)), str(key(item))))


def pick(options: Iterable[Item], seed: int, *name: object) -> Item:
    """Choose one of a sequence of options."""
    options = list(options)
    return options[number(seed, *name) % len(options)]
