"""Loading checkpoints of other projects tensor by tensor: none may be missing, left over or of another shape.

Names of the same weight differ between versions of transformers and between releases. `canonical` maps all of them to
one spelling; both the file's names and the module's go through it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_mmembed.errors import InputError
from lit_mmembed.files import read_json

INDEX_FILES = ("model.safetensors.index.json", "model.safetensors")
DOWNLOADED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.yaml", "*.jinja")
"""Of a folder on the hub; the last are a model folder's prompts and a chat template."""
NOT_WEIGHTS = re.compile(r"rotary_emb\.inv_freq$|position_ids$")
"""Constants that older files carry among the weights."""
_RENAMES = (
    (re.compile(r"^model\.(?=vision_tower|multi_modal_projector|image_newline|language_model|visual\.)"), ""),
    (re.compile(r"^language_model\.lm_head\."), "lm_head."),
    (re.compile(r"^language_model\.model\."), "language_model."),
    (re.compile(r"^embedding_model\.model\."), "embedding_model."),
    (re.compile(r"^vision_tower\.vision_model\."), "vision_tower."),
)


def canonical(name: str) -> str:
    """Return a weight's name in the one spelling: "language_model.layers...", "vision_tower.encoder...", "lm_head"."""
    for pattern, replacement in _RENAMES:
        name = pattern.sub(replacement, name)
    return name


class Checkpoint:
    """The safetensors of a folder or of a name on the hub, read one tensor at a time.

    Args:
        source: A folder, or "owner/name" (downloaded through huggingface_hub).

    Raises:
        InputError: there are no safetensors, or a file of the index is missing or damaged.
    """

    def __init__(self, source: str | Path) -> None:
        self.source = source
        self.folder = local_folder(source)
        self._file_of = self._files()

    def names(self) -> dict[str, str]:
        """Return {canonical name: name in the file} of every weight; InputError where two are the same one."""
        names: dict[str, str] = {}
        for name in self._file_of:
            if NOT_WEIGHTS.search(name):
                continue
            if (other := names.setdefault(canonical(name), name)) != name:
                raise InputError(f"has {other} and {name}, which are one weight", file=self.folder, fix="remove one")
        return names

    def tensors(self, names: Iterable[str]) -> Iterable[tuple[str, Tensor]]:
        """Yield (name in the file, tensor), file by file."""
        from safetensors import SafetensorError, safe_open

        wanted = list(names)
        for file in sorted({self._file_of[name] for name in wanted}):
            try:
                with safe_open(str(file), framework="pt") as stream:
                    for name in wanted:
                        if self._file_of[name] == file:
                            yield name, stream.get_tensor(name)
            except (SafetensorError, OSError) as broken:
                raise InputError(f"is damaged: {broken}", file=file, fix="download it again") from None

    def _files(self) -> dict[str, Path]:
        from safetensors import SafetensorError, safe_open

        index, whole = (self.folder / name for name in INDEX_FILES)
        if index.exists():
            named = {
                name: self.folder / file for name, file in sub_config(read_json(index), "weight_map", index).items()
            }
            for file in sorted(set(named.values())):
                if not file.exists():
                    raise InputError("does not exist, and the index names it", file=file, fix="download it again")
            return named
        if not whole.exists():
            raise InputError(f"has no {whole.name}", file=self.folder, fix="give a folder with safetensors")
        try:
            with safe_open(str(whole), framework="pt") as stream:
                return dict.fromkeys(stream.keys(), whole)
        except (SafetensorError, OSError) as broken:
            raise InputError(f"is damaged: {broken}", file=whole, fix="download it again") from None


def local_folder(source: str | Path) -> Path:
    """Return the folder of a checkpoint, downloading one that is named by the hub's name."""
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise InputError("does not exist", file=source, fix="give a folder, or a name such as llava-hf/...-hf")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(source), allow_patterns=[*DOWNLOADED]))
    except Exception as failed:  # offline, no such name, no permission: the library has a class for each
        fix = "give a local folder, or correct the name"
        raise InputError(f"can't be downloaded: {str(failed).splitlines()[0]}", file=source, fix=fix) from None


def config_of(source: str | Path) -> dict[str, Any]:
    """Return a checkpoint's config.json."""
    return read_json(local_folder(source) / "config.json")


def with_own_rules(tokenizer: Any, source: str | Path) -> Any:
    """Give a tokenizer the normalizer and pre-tokenizer that its tokenizer.json holds.

    transformers 5 builds those of a `LlamaTokenizer` anew, from a flag in tokenizer_config.json. Without the flag a
    text has a piece less behind each special token, "<image>" too, than the released weights were trained with.
    """
    from tokenizers import Tokenizer

    file = local_folder(source) / "tokenizer.json"
    if file.exists():
        shipped = Tokenizer.from_file(str(file))
        tokenizer.backend_tokenizer.normalizer = shipped.normalizer
        tokenizer.backend_tokenizer.pre_tokenizer = shipped.pre_tokenizer
    return tokenizer


def load_strictly(
    module: nn.Module,
    source: str | Path,
    *,
    rename: Callable[[str], str | None] = lambda name: name,
    unused: Iterable[str] = (),
) -> None:
    """Copy a checkpoint into a module; every weight of the module must be there, and every one there must be used.

    Args:
        module: What gets the weights, in its own dtypes.
        source: Folder or hub name.
        rename: From the file's canonical name to the module's canonical name; None leaves a weight out on purpose.
        unused: Patterns of canonical names in the file that the module has no use for (a head).

    Raises:
        InputError: naming the weights that are missing, unexpected or of another shape.
    """
    checkpoint = Checkpoint(source)
    own = {canonical(name): tensor for name, tensor in module.state_dict(keep_vars=True).items()}
    skipped = [re.compile(pattern) for pattern in unused]
    wanted: dict[str, str] = {}
    stray = []
    for name, in_file in checkpoint.names().items():
        if any(pattern.search(name) for pattern in skipped) or (target := rename(name)) is None:
            continue
        if target in own:
            wanted[in_file] = target
        else:
            stray.append(name)
    fix = "use the architecture that the checkpoint was made with"
    if missing := sorted(own.keys() - set(wanted.values())):
        raise InputError(f"lacks {some(missing)}", file=checkpoint.folder, fix=fix)
    if stray:
        raise InputError(f"has weights that the model has not: {some(sorted(stray))}", file=checkpoint.folder, fix=fix)
    with torch.no_grad():
        for in_file, tensor in checkpoint.tensors(wanted):
            into = own[wanted[in_file]]
            if into.shape != tensor.shape:
                problem = f"{in_file} is {list(tensor.shape)}, the model has {list(into.shape)}"
                raise InputError(problem, file=checkpoint.folder, fix=fix)
            into.copy_(tensor)


def load_prefixed(module: nn.Module, source: str | Path, *, prefix: str) -> None:
    """Copy the weights whose names begin with `prefix`, all of them, into a module; the others are not its."""
    load_strictly(module, source, rename=lambda name: name.removeprefix(prefix) if name.startswith(prefix) else None)


def some(names: list[str]) -> str:
    """Name the first three."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def without_weights(build: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """Build a module of transformers in a dtype without drawing its weights, which are loaded next."""
    from transformers.initialization import no_init_weights

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with no_init_weights():
            return build()
    finally:
        torch.set_default_dtype(before)


def sub_config(config: Mapping[str, Any], name: str, source: str | Path) -> dict[str, Any]:
    """Return a part of a config.json; InputError where it lacks it."""
    if not isinstance(config.get(name), dict):
        fix = "give a checkpoint of the architecture that the encoder is for"
        where = "" if str(source).endswith(".json") else "config.json "
        raise InputError(f"{where}has no {name}", file=source, fix=fix)
    return dict(config[name])
