"""The console command `mmembed`: finds the stage that is asked for and imports nothing else."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

from lit_mmembed import __version__
from lit_mmembed.errors import InputError

LIGHTNING = {
    "fit": "train a retriever (LightningCLI: -c A.yaml -c B.yaml --key=value)",
    "validate": "score it on the validation split (LightningCLI)",
    "test": "score it on the test split (LightningCLI)",
    "predict": "embed a collection into a store (LightningCLI)",
}
STAGES = {
    "shard": "turn a source into a data directory, or verify one",
    "tokenizer": "train a BPE tokenizer on a data directory's texts",
    "encode": "embed queries or documents into a store",
    "search": "find the best documents of each query: a ranking from two stores",
    "mine": "take hard negatives from a ranking",
    "evaluate": "score a ranking against qrels, or a model on a data directory",
    "compare": "test whether two rankings differ",
    "report": "write the page of a run folder",
    "run": "run the stages of a recipe, going on where it stopped",
    "doctor": "look at this machine and say what would not work",
}
USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage; return the exit status. What the user can mend is printed as one line."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command = arguments[0] if arguments else "--help"
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
        return _fail(f"{error.filename or 'writing'}: {error.strerror} (fix: free or choose another disk; nothing is half written)")
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
