"""The console command `mmembed`: finds the stage that is asked for and imports nothing else."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence

from lit_mmembed import __version__
from lit_mmembed.cli.commands import LIGHTNING, STAGES
from lit_mmembed.errors import InputError

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; return the exit status. What the user can mend is printed as one line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = arguments[0] if arguments else "--help"
    # OpenMP's threads spin while they wait; as long as by default, a busy machine makes two of them 20 times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # What transformers warns of while loading, our own loading checks and raises.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if command in ("-h", "--help"):
        print(_help())
        return 0
    if command == "--version":
        print(__version__)
        return 0
    if command not in LIGHTNING and command not in STAGES:
        return _fail(f"there is no stage {command!r} (fix: one of {', '.join([*STAGES, *LIGHTNING])})")
    module = "lit_mmembed.cli.lightning" if command in LIGHTNING else "lit_mmembed.cli.stages"
    try:
        return importlib.import_module(module).main(arguments) or 0
    except InputError as error:
        return _fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.EFBIG):
            raise
        fix = "free or choose another disk; nothing is half written"
        return _fail(f"{error.filename or 'writing'}: {error.strerror} (fix: {fix})")
    except KeyboardInterrupt:
        print("mmembed: stopped; the same command goes on where it was", file=sys.stderr)
        return 130


def _fail(line: str) -> int:
    print(f"mmembed: error: {line}", file=sys.stderr)
    return USAGE_ERROR


def _help() -> str:
    stages = [f"  {name:<10} {about}" for name, about in {**STAGES, **LIGHTNING}.items()]
    return "\n".join(
        [
            "usage: mmembed STAGE [options]        `mmembed STAGE --help` explains every option of a stage",
            "",
            "Universal multimodal retrieval: train, mine, evaluate, rerank.",
            "",
            *stages,
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
