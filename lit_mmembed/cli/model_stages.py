"""The stages that turn models into other models. Heavy modules are imported by the stage that needs them."""

from __future__ import annotations

import argparse

from lit_mmembed.errors import InputError


def initial(flags: argparse.Namespace) -> None:
    """`mmembed initial`."""
    from transformers.utils.logging import disable_progress_bar

    from lit_mmembed.encoders.initial import write_initial

    disable_progress_bar()
    write_initial(
        flags.kind,
        config=flags.config,
        tokenizer=flags.tokenizer,
        out=flags.out,
        seed=flags.seed,
        vision=flags.vision,
        language=flags.language,
    )


def convert(flags: argparse.Namespace) -> None:
    """`mmembed convert`."""
    from lit_mmembed.cli.converting import convert as convert_checkpoint

    convert_checkpoint(flags)


def merge(flags: argparse.Namespace) -> None:
    """`mmembed merge`."""
    from lit_mmembed.cli.merging import merge as merge_model

    merge_model(flags)


def require(flags: argparse.Namespace, *names: str) -> None:
    """Raise InputError where a flag that the stage needs this time is missing."""
    missing = [f"--{name.replace('_', '-')}" for name in names if getattr(flags, name) is None]
    if missing:
        raise InputError(
            f"`mmembed {flags.stage}` needs {', '.join(missing)}", fix=f"see `mmembed {flags.stage} --help`"
        )
