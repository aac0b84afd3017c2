"""Model folders: an encoder's description, its weights and its side files, enough to rebuild it without a network."""

from __future__ import annotations

import hashlib
import importlib
import os
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.bases import Base, argument_hints, at_base, is_path
from lit_mmembed.errors import InputError
from lit_mmembed.files import atomic_folder, content_hash, read_json, write_json

DESCRIPTION_FILE = "encoder.json"
WEIGHTS_FILE = "weights.safetensors"
RECORD_FILE = "record.json"
OWN_PACKAGE = "lit_mmembed."
FINGERPRINT_VALUES = 64


def save_encoder(
    encoder: Encoder,
    folder: str | Path,
    *,
    record: Mapping[str, Any] | None = None,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> None:
    """Write a model folder, replacing an older one: encoder.json, weights.safetensors, side files and record.json.

    Args:
        encoder: What to save.
        folder: The model folder.
        record: What produced the weights: the run's resolved configuration, seed, versions, data hash.
        weights: In place of the encoder's own, which may be sharded.
    """
    from safetensors.torch import save_file

    with atomic_folder(folder, replace=True) as partial:
        kept = own_weights(encoder) if weights is None else weights
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in kept.items()}, partial / WEIGHTS_FILE)
        description: dict[str, Any] = {
            "class_path": class_path(encoder),
            "init_args": encoder.init_args(partial),
            "weights_hash": weights_hash(encoder, kept),
        }
        if encoder.own_names() is not None:
            description["base"] = base_fingerprint(encoder)
        write_json(partial / DESCRIPTION_FILE, description)
        write_json(partial / RECORD_FILE, dict(record or {}))


def own_weights(encoder: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that a model folder keeps: all, or what an adapter adds to the checkpoint below it."""
    own = encoder.own_names() if isinstance(encoder, Encoder) else None
    return {name: tensor for name, tensor in encoder.state_dict().items() if own is None or name in own}


def training_record(folder: str | Path) -> dict[str, Any]:
    """What produced a model folder's weights, in short: its record with the configuration's hash in its place."""
    path = Path(folder) / RECORD_FILE
    record = read_json(path) if path.exists() else {}
    if "config" in record:
        record["config_hash"] = content_hash(record.pop("config"))
    return record


def load_encoder(folder: str | Path, *, allow: tuple[str, ...] = (), base: Base | None = None) -> Encoder:
    """Rebuild an encoder from its folder, in evaluation mode.

    Args:
        folder: What `save_encoder` wrote.
        allow: Further packages whose classes may be built, e.g. ("my_package.",): building one runs its code.
        base: Where the checkpoint of an adapter is, if not where the folder says; see `bases.at_base`.

    Raises:
        InputError: the folder or its base checkpoint is missing, damaged or another than the adapter was trained on.
    """
    folder = Path(folder)
    allowed = (OWN_PACKAGE, *allow)
    description = _description(folder)
    if "base" in description:
        backbone = _class(description["init_args"]["backbone"]["class_path"], folder, allowed)
        description = at_base(description, backbone, base, folder)
    elif base is not None:
        raise InputError("is of a model that keeps all of its weights", file=folder, fix="leave `base` out")
    with torch.random.fork_rng():  # the weights drawn here are overwritten: the caller's draws must not shift
        encoder = cast(Encoder, _built(description, folder, allowed))
    load_weights(encoder, folder)
    return encoder.eval()


def load_weights(encoder: nn.Module, folder: str | Path) -> None:
    """Load a folder's weights into an encoder of the same shape; every name must fit.

    Raises:
        InputError: the folder lacks weights, they are of another encoder, or they were damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(folder)
    file = folder / WEIGHTS_FILE
    if not file.is_file():
        raise InputError("does not exist", file=file, fix="name a model folder that `fit` or `save_encoder` wrote")
    description = _description(folder)
    if "base" in description and description["base"] != base_fingerprint(encoder):
        fix = "use the checkpoint that it was trained on"
        raise InputError("was trained on other base weights than the encoder has", file=file, fix=fix)
    try:
        weights = load_file(file)
        unfit = _unfit(weights, own_weights(encoder))
    except SafetensorError as broken:
        raise InputError(f"is damaged: {broken}", file=file, fix="copy or train it again") from None
    if unfit:
        fix = "use the configuration that the folder was made with"
        raise InputError(f"does not fit this encoder: {unfit}", file=file, fix=fix)
    encoder.load_state_dict(weights, strict=False)
    if weights_hash(encoder) != description["weights_hash"]:
        raise InputError("is not what encoder.json was written with", file=file, fix="copy or train it again")


def weights_hash(encoder: nn.Module, weights: Mapping[str, torch.Tensor] | None = None) -> str:
    """SHA-256 over name, type, shape and bytes of every weight, names sorted, in hexadecimal.

    Of an encoder whose folder leaves weights to a checkpoint, those enter by `base_fingerprint`.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted((own_weights(encoder) if weights is None else weights).items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(flat.view(torch.uint8).numpy().data)
    if isinstance(encoder, Encoder) and encoder.own_names() is not None:
        digest.update(base_fingerprint(encoder).encode())
    return digest.hexdigest()


def base_fingerprint(encoder: nn.Module) -> str:
    """SHA-256 over name, shape and 64 evenly spaced values of every weight that a model folder leaves out.

    It tells checkpoints apart without reading all of 15 GB.
    """
    if isinstance(encoder, Encoder) and encoder.base is not None:
        return encoder.base
    own = own_weights(encoder)
    digest = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        if name not in own:
            flat = tensor.detach().reshape(-1)
            some = flat[:: max(1, len(flat) // FINGERPRINT_VALUES)].float().cpu()
            digest.update(f"{name}\0{tuple(tensor.shape)}\0".encode())
            digest.update(some.numpy().tobytes())
    return digest.hexdigest()


def described(instance: object, init_args: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a YAML would write of an object."""
    return {"class_path": class_path(instance), "init_args": dict(init_args)}


def referenced(arguments: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return arguments whose local folders are written relative to a model folder, so that both can move together."""
    return {
        name: os.path.relpath(Path(value).resolve(), folder.resolve())
        if isinstance(value, str) and Path(value).is_dir()
        else value
        for name, value in arguments.items()
    }


def class_path(instance: object) -> str:
    """Return what a YAML would name: "package.module.Class"."""
    kind: type = type(instance)
    if torch.distributed.is_available():
        from torch.distributed.fsdp import FSDPModule

        kind = next(one for one in kind.__mro__ if not issubclass(one, FSDPModule))  # sharding puts its own in front
    return f"{kind.__module__}.{kind.__qualname__}"


def _description(folder: Path) -> dict[str, Any]:
    description = read_json(folder / DESCRIPTION_FILE)
    if not isinstance(description, dict) or not {"class_path", "init_args", "weights_hash"} <= description.keys():
        raise InputError("is no encoder description", file=folder / DESCRIPTION_FILE, fix="name a model folder")
    return description


def _built(description: dict[str, Any], folder: Path, allowed: tuple[str, ...]) -> Any:
    """Build a class from {class_path, init_args}, nested ones first."""
    kind = _class(description["class_path"], folder, allowed)
    return kind(**_arguments(kind, description.get("init_args", {}), folder, allowed))


def _class(named: str, folder: Path, allowed: tuple[str, ...]) -> type:
    file = folder / DESCRIPTION_FILE
    if not named.startswith(allowed):
        raise InputError(
            f"names {named}, which is outside {', '.join(allowed)}",
            file=file,
            fix="if you trust it, allow its package",
        )
    module, _, name = named.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as missing:
        raise InputError(f"names {named}: {missing}", file=file, fix="install the version it was made with") from None


def _arguments(kind: type, given: dict[str, Any], folder: Path, allowed: tuple[str, ...]) -> dict[str, Any]:
    hints = argument_hints(kind)
    return {name: _argument(value, hints.get(name), folder, allowed) for name, value in given.items()}


def _argument(value: Any, hint: Any, folder: Path, allowed: tuple[str, ...]) -> Any:
    if isinstance(value, dict) and "class_path" in value:
        return _built(value, folder, allowed)
    if not isinstance(value, str) or not is_path(hint):
        return value
    beside = folder / value
    # A name on the hub looks like a path too.
    return beside if beside.exists() or str not in typing.get_args(hint) else value


def _unfit(given: Mapping[str, torch.Tensor], own: Mapping[str, torch.Tensor]) -> str | None:
    """Say what of a file's weights does not fit; None where all do."""
    if missing := sorted(own.keys() - given.keys()):
        return f"it lacks {', '.join(missing[:3])}"
    if stray := sorted(given.keys() - own.keys()):
        return f"it has {', '.join(stray[:3])}, which the encoder has not"
    unlike = sorted(name for name in own if own[name].shape != given[name].shape)
    return f"{', '.join(unlike[:3])} have another shape" if unlike else None
