"""EmojiBEIR: a small real benchmark in M-BEIR's form, built from registry packages of drawings and country facts.

Two datasets: Emoji (id 20: captions, drawings and edits of emoji and flags) and Atlas (id 21: facts about countries,
their flags and outlines). `build_emoji_beir` makes it, `export_mbeir_layout` expands it to all that M-BEIR publishes.
"""

from lit_mmembed.data.sources.emoji_beir.build import build_emoji_beir
from lit_mmembed.data.sources.emoji_beir.export import export_mbeir_layout
from lit_mmembed.data.sources.emoji_beir.fetch import fetch_packages

__all__ = ["build_emoji_beir", "export_mbeir_layout", "fetch_packages"]
