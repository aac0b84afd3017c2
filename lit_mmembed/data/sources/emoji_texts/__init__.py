"""Small text-to-text sets for the continual stage: three that ship, and WordNet's, built on demand.

None of them asks what EmojiBEIR's Atlas asks: no capital, no largest city and no fact about a country.
"""

from lit_mmembed.data.sources.emoji_texts.build import build_emoji_texts, build_wordnet_texts

__all__ = ["build_emoji_texts", "build_wordnet_texts"]
