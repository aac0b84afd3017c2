"""`mmembed plan`: what an experiment needs, before it is started. Nothing is built, nothing is downloaded."""

from lit_mmembed.cli.planning.command import plan
from lit_mmembed.cli.planning.configs import merged_config

__all__ = ["merged_config", "plan"]
