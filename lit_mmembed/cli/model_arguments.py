"""The flags of the stages that turn models into other models, and of all that embed. Only argparse is imported."""

from __future__ import annotations

import argparse
from pathlib import Path

PROMPTS = ("first", "random", "all", "none")


def stage(stages: argparse._SubParsersAction, name: str, about: str) -> argparse.ArgumentParser:
    """Add a stage, whose help shows every default."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    return stages.add_parser(name, help=about, description=about, formatter_class=formatter)


def model_flags(stage: argparse.ArgumentParser) -> None:
    """Add what every stage that embeds takes."""
    stage.add_argument(
        "--prompts", choices=PROMPTS, default="first", help="which wording of the instruction queries carry"
    )
    stage.add_argument(
        "--precision", choices=("32-true", "16-mixed", "bf16-mixed"), default="32-true", help="precision to embed in"
    )
    stage.add_argument("--rows", type=int, default=256, help="rows per forward pass, at most")
    stage.add_argument("--tokens", type=int, help="tokens per forward pass, images expanded (default: only rows count)")
    stage.add_argument("--workers", type=int, default=0, help="worker processes that decode")
    stage.add_argument(
        "--seed", type=int, default=0, help="seed of what is drawn, e.g. wordings under --prompts random"
    )
    stage.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    stage.add_argument("--allow-imports", nargs="*", default=[], help="packages that a model's class_path may name")


def convert(stages: argparse._SubParsersAction) -> None:
    """`mmembed convert`."""
    flags = stage(stages, "convert", "Turn a released checkpoint into a model folder.")
    flags.add_argument("--out", type=Path, required=True, help="model folder to make")
    flags.add_argument("--uniir", type=Path, metavar="FILE", help="UniIR's clip_sf_large.pth")
    flags.add_argument(
        "--architecture", default="ViT-L-14-quickgelu", help="uniir: open_clip's name of what was trained"
    )
    flags.add_argument("--config", type=Path, help="uniir, in its place: an open_clip model config in JSON")
    flags.add_argument(
        "--tokenizer", type=Path, help="uniir: tokenizer.json, where the architecture's own is not meant"
    )
    flags.add_argument("--mm-embed", metavar="FOLDER_OR_NAME", help="nvidia/MM-Embed")
    flags.add_argument(
        "--nv-embed", metavar="FOLDER_OR_NAME", help="nvidia/NV-Embed-v1; with --mm-embed only its configuration"
    )
    flags.add_argument("--llava", metavar="FOLDER_OR_NAME", help="llava-hf/llava-v1.6-mistral-7b-hf, not fine-tuned")
    flags.add_argument("--style", choices=("eos", "one_word", "zero_shot"), help="llava: which prompts")
    flags.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of a language model (default: the checkpoint's)"
    )


def merge(stages: argparse._SubParsersAction) -> None:
    """`mmembed merge`."""
    flags = stage(stages, "merge", "Merge a trained model's adapters: a whole model folder, or a checkpoint.")
    flags.add_argument("--model", type=Path, required=True, help="model folder of a multimodal LLM: RUN/model")
    flags.add_argument("--out", type=Path, required=True, help="folder to make")
    flags.add_argument(
        "--checkpoint",
        action="store_true",
        help="write the backbone's own layout (LLaVA-Next's, NV-Embed's or MM-Embed's), to build other models on",
    )
    flags.add_argument("--allow-imports", nargs="*", default=[], help="packages that a model's class_path may name")
