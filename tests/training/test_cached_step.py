"""The cached step gives the loss and the gradients of the plain one, in any chunks, with dropout, in any processes."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from lit_mmembed.encoders.adapters import Lora
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.nv_embed import NvEmbedLlavaBackbone
from lit_mmembed.encoders.packing import chunks_by_tokens
from lit_mmembed.encoders.pooling import LastTokenPooling, LatentAttentionPooling
from lit_mmembed.encoders.prompts import OneWordPrompts
from lit_mmembed.losses.info_nce import InfoNCE
from lit_mmembed.training.cached_step import cached_loss
from lit_mmembed.training.contrastive import contrastive_loss, global_loss
from lit_mmembed.training.sharding import average_whole_gradients, shard_encoder, whole_weights
from lit_mmembed.types import NO_ID, Batch, EncoderRow, Side
from tests.encoders.small import jpeg, own_small
from tests.encoders.small_mllm import POOLING, llava_folder, nv_embed_folder, with_drawn_adapters
from tests.processes import in_processes

QUERIES = 9
BUDGETS = (1, 40, 90, 300, 100_000)
"""From one row per chunk to one chunk per side."""


class PATHS:
    """What a process is given: transformers saves nothing in a process whose rank is not 0."""

    llava = nv_embed = None


def clip(folder, **options):
    return own_small(folder)


def llava_e(folder, **options):
    return MllmEncoder(LlavaNextBackbone(PATHS.llava or llava_folder()), **options)


def llava_p(folder, **options):
    prompts = OneWordPrompts()
    return MllmEncoder(
        LlavaNextBackbone(llava_folder("pieces")), pooling=LastTokenPooling(), prompts=prompts, **options
    )


def nv_embed(folder, **options):
    return MllmEncoder(
        NvEmbedLlavaBackbone(PATHS.llava or llava_folder(), PATHS.nv_embed or nv_embed_folder()),
        pooling=LatentAttentionPooling(**POOLING, checkpoint=PATHS.nv_embed or nv_embed_folder()),
        attention="bidirectional",
        instruction_mask="clean",
        **options,
    )


ENCODERS = {"CLIP_SF": clip, "LLaVA-E": llava_e, "LLaVA-P": llava_p, "NV-Embed": nv_embed}


def build(name, folder, *, dropout=0.0, gradient_checkpointing=False):
    torch.manual_seed(0)
    lora = Lora(r=2, alpha=8, dropout=dropout)
    encoder = ENCODERS[name](folder, lora=lora, gradient_checkpointing=gradient_checkpointing).train()
    if isinstance(encoder, MllmEncoder):
        with_drawn_adapters(encoder)
    return encoder, InfoNCE(0.1, learn_temperature=True)


def row(place, side, kinds):
    words = ["a", "red", "fox", "on", "a", "mat", "two", "cats"]
    kind = kinds[place % len(kinds)]
    text = " ".join(words[: 1 + (place * 5) % 8]) if kind != "image" else None
    image = jpeg(place) if kind != "text" else None
    return EncoderRow(text, image, side, "Find what is asked for" if side is Side.QUERY and place % 2 else None)


def batch_of(encoder, queries, *, kinds=("text", "image", "both")):
    """A slice of one global batch: each query with its positive and a mined negative."""
    places = range(QUERIES)[queries]
    ids = torch.arange(2 * QUERIES)
    documents = [*places, *(QUERIES + place for place in places)]
    return Batch(
        query=encoder.preprocess([row(place, Side.QUERY, kinds) for place in places]),
        document=encoder.preprocess([row(place, Side.CANDIDATE, kinds) for place in documents]),
        positive=torch.arange(len(places)),
        document_ids=ids[documents],
        known_positives=torch.full((len(places), 1), NO_ID),
        task=torch.zeros(len(places), dtype=torch.int64),
    )


def gradients_of(encoder, loss):
    named = [*encoder.named_parameters(), *loss.named_parameters()]
    return {name: parameter.grad for name, parameter in named if parameter.requires_grad}


def after(step, encoder, loss):
    encoder.zero_grad()
    loss.zero_grad()
    value = step()
    value.backward()
    return value.item(), {name: gradient.clone() for name, gradient in gradients_of(encoder, loss).items()}


def difference(found, expected):
    """Relative, over all gradients together; a single one may differ by fp32's rounding, not by more."""
    assert found.keys() == expected.keys()
    for name in expected:
        assert (found[name] - expected[name]).norm() <= 2e-4 * expected[name].norm(), name
    total = torch.cat([gradient.flatten() for gradient in expected.values()])
    return float((torch.cat([found[name].flatten() for name in expected]) - total).norm() / total.norm())


@pytest.mark.parametrize("name", ENCODERS)
def test_gradients_are_those_of_the_plain_step_for_every_chunking(name, tmp_path):
    encoder, loss = build(name, tmp_path)
    batch = batch_of(encoder, slice(None))
    value, expected = after(lambda: contrastive_loss(encoder, loss, batch), encoder, loss)
    for budget in BUDGETS:
        found_value, found = after(lambda b=budget: cached_loss(encoder, loss, batch, chunk_tokens=b), encoder, loss)
        assert found_value == pytest.approx(value, rel=1e-5)
        assert difference(found, expected) <= 1e-5


def step_that_keeps_all_graphs(encoder, loss, batch, budget):
    """The same chunks in the same order, so that dropout draws the same, with one graph through all of them."""
    vectors = []
    for features in (batch.query, batch.document):
        chunks = chunks_by_tokens(encoder.costs(features), budget)
        if encoder.costs(features).sum() <= budget:
            chunks = [torch.arange(len(encoder.costs(features)))]
        parts = torch.cat([encoder(encoder.select(features, rows)) for rows in chunks])
        vectors.append(parts[torch.cat(chunks).argsort()])
    return global_loss(loss, *vectors, batch)


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "CLIP_SF"])
def test_dropout_drops_the_same_when_a_chunk_is_embedded_again(name, tmp_path):
    encoder, loss = build(name, tmp_path, dropout=0.3)
    batch = batch_of(encoder, slice(None))
    for budget in BUDGETS:
        torch.manual_seed(5)
        value, expected = after(lambda b=budget: step_that_keeps_all_graphs(encoder, loss, batch, b), encoder, loss)
        drawn_next = torch.rand(1)
        torch.manual_seed(5)
        found_value, found = after(lambda b=budget: cached_loss(encoder, loss, batch, chunk_tokens=b), encoder, loss)
        assert found_value == pytest.approx(value, rel=1e-5)
        assert difference(found, expected) <= 1e-5
        assert torch.equal(torch.rand(1), drawn_next)


def test_dropout_is_there_to_be_replayed(tmp_path):
    encoder, loss = build("LLaVA-E", tmp_path, dropout=0.3)
    batch = batch_of(encoder, slice(None))
    once, again = (cached_loss(encoder, loss, batch, chunk_tokens=90).item() for _ in range(2))
    assert once != again


def test_layers_that_are_computed_again_give_the_same_gradients(tmp_path):
    encoder, loss = build("NV-Embed", tmp_path)
    batch = batch_of(encoder, slice(None))
    _, expected = after(lambda: contrastive_loss(encoder, loss, batch), encoder, loss)
    checkpointed, loss = build("NV-Embed", tmp_path, gradient_checkpointing=True)
    _, found = after(lambda: cached_loss(checkpointed, loss, batch, chunk_tokens=90), checkpointed, loss)
    assert difference(found, expected) <= 1e-5


def test_the_factor_of_gradient_scaling_does_not_change_the_gradients(tmp_path):
    encoder, loss = build("LLaVA-E", tmp_path)
    batch = batch_of(encoder, slice(None))
    _, expected = after(lambda: cached_loss(encoder, loss, batch, chunk_tokens=90), encoder, loss)
    _, found = after(lambda: cached_loss(encoder, loss, batch, chunk_tokens=90, scale=1024.0), encoder, loss)
    assert difference(found, expected) <= 1e-5


def test_what_backward_is_multiplied_by_multiplies_the_gradients(tmp_path):
    """Accumulation divides the loss, gradient scaling multiplies it."""
    encoder, loss = build("LLaVA-E", tmp_path)
    batch = batch_of(encoder, slice(None))
    _, expected = after(lambda: cached_loss(encoder, loss, batch, chunk_tokens=90), encoder, loss)
    _, found = after(lambda: cached_loss(encoder, loss, batch, chunk_tokens=90) / 4, encoder, loss)
    assert difference({name: gradient * 4 for name, gradient in found.items()}, expected) <= 1e-5


def test_the_frozen_vision_tower_runs_once_a_step(tmp_path, monkeypatch):
    encoder, loss = build("LLaVA-E", tmp_path)
    batch = batch_of(encoder, slice(None))
    seen = []
    tower = encoder.backbone.vision

    def counted(features):
        seen.append(len(features["pixels"]))
        return tower(features)

    monkeypatch.setattr(encoder.backbone, "vision", counted)
    cached_loss(encoder, loss, batch, chunk_tokens=60).backward()
    assert sorted(seen) == sorted(len(features["pixels"]) for features in (batch.query, batch.document))


@pytest.mark.parametrize("kinds", [("text",), ("image",), ("both",)])
def test_a_batch_of_one_modality_gives_every_parameter_a_gradient(kinds, tmp_path):
    encoder, loss = build("LLaVA-E", tmp_path)
    cached_loss(encoder, loss, batch_of(encoder, slice(None), kinds=kinds), chunk_tokens=60).backward()
    assert all(gradient is not None for gradient in gradients_of(encoder, loss).values())


# -- several processes ------------------------------------------------------------------------------------------------

CUTS = {"equal parts": (0, 5, 9), "unequal parts": (0, 2, 9)}
MIXES = {"mixed": ("text", "image", "both"), "texts in the first process": None}


class Step(torch.nn.Module):
    """What DDP wraps."""

    def __init__(self, encoder, loss):
        super().__init__()
        self.encoder, self.loss = encoder, loss

    def forward(self, batch, budget):
        return cached_loss(self.encoder, self.loss, batch, chunk_tokens=budget)


def parts_of(encoder, cuts, mix):
    """Two processes' parts; in the second mix the first has texts only."""
    kinds = MIXES[mix] or ("text",)
    first = batch_of(encoder, slice(cuts[0], cuts[1]), kinds=kinds)
    return first, batch_of(encoder, slice(cuts[1], cuts[2]), kinds=MIXES[mix] or ("image", "both"))


def joined(encoder, cuts, mix):
    """The global batch that the two parts make, for one process."""
    kinds = [MIXES[mix] or ("text",), MIXES[mix] or ("image", "both")]
    sides = {Side.QUERY: [], Side.CANDIDATE: []}
    ids, positive = [], []
    for (start, end), kind in zip(pairwise(cuts), kinds, strict=True):
        places = range(start, end)
        documents = [*places, *(QUERIES + place for place in places)]
        positive += [len(ids) + at for at in range(len(places))]
        ids += documents
        sides[Side.QUERY] += [row(place, Side.QUERY, kind) for place in places]
        sides[Side.CANDIDATE] += [row(place, Side.CANDIDATE, kind) for place in documents]
    return Batch(
        query=encoder.preprocess(sides[Side.QUERY]),
        document=encoder.preprocess(sides[Side.CANDIDATE]),
        positive=torch.tensor(positive),
        document_ids=torch.tensor(ids),
        known_positives=torch.full((QUERIES, 1), NO_ID),
        task=torch.zeros(QUERIES, dtype=torch.int64),
    )


CASES = [(name, cuts, mix) for name in ("CLIP_SF", "LLaVA-E", "NV-Embed") for cuts in CUTS for mix in MIXES]
SHARDED_CASES = [case for case in CASES if case[0] != "CLIP_SF"]
"""CLIP has no blocks that are sharded one by one."""


def under_ddp(rank, folder, *paths):
    """Every case in one start of the processes."""
    PATHS.llava, PATHS.nv_embed = paths
    return [one_ddp_step(rank, folder / f"{rank}{name}", *case) for name, case in enumerate(CASES)]


def one_ddp_step(rank, folder, name, cuts, mix):
    folder.mkdir()
    encoder, loss = build(name, folder)
    step = DistributedDataParallel(Step(encoder, loss))
    value = step(parts_of(encoder, CUTS[cuts], mix)[rank], 60)
    value.backward()
    return value.item(), gradients_of(encoder, loss)


class StepThatKeepsAllGraphs(Step):
    def forward(self, batch, budget):
        return step_that_keeps_all_graphs(self.encoder, self.loss, batch, budget)


def under_ddp_with_dropout(rank, folder, *paths):
    """Gradients of the cached step and of the one with all graphs, both drawing from one seed."""
    PATHS.llava, PATHS.nv_embed = paths
    return [dropping(rank, *case) for case in SHARDED_CASES]


def dropping(rank, name, cuts, mix):
    found = []
    for kind in (Step, StepThatKeepsAllGraphs):
        encoder, loss = build(name, None, dropout=0.3)
        step = DistributedDataParallel(kind(encoder, loss))
        torch.manual_seed(11 + rank)
        step(parts_of(encoder, CUTS[cuts], mix)[rank], 60).backward()
        found.append({name: gradient.clone() for name, gradient in gradients_of(encoder, loss).items()})
    return found


def test_dropout_drops_the_same_in_every_process(tmp_path):
    paths = (llava_folder(), nv_embed_folder())
    for process in in_processes(2, under_ddp_with_dropout, tmp_path, tmp_path, *paths):
        for case, (found, expected) in zip(SHARDED_CASES, process, strict=True):
            assert difference(found, expected) <= 1e-5, case


def under_fsdp(rank, folder, *paths):
    PATHS.llava, PATHS.nv_embed = paths
    return [one_sharded_step(rank, folder / f"{rank}{place}", *case) for place, case in enumerate(SHARDED_CASES)]


def one_sharded_step(rank, folder, name, cuts, mix):
    folder.mkdir()
    encoder, loss = build(name, folder)
    part = parts_of(encoder, CUTS[cuts], mix)[rank]
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    shard_encoder(encoder, torch.distributed.device_mesh.init_device_mesh("cpu", (2,)))
    value = cached_loss(encoder, loss, part, chunk_tokens=60)
    value.backward()
    whole = whole_weights(encoder)
    assert all(torch.equal(tensor, before[name]) for name, tensor in whole.items())
    average_whole_gradients(loss)
    gradients = gradients_of(encoder, loss)
    return value.item(), {
        name: gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
        for name, gradient in gradients.items()
    }


@pytest.mark.parametrize(("work", "cases"), [(under_ddp, CASES), (under_fsdp, SHARDED_CASES)], ids=["DDP", "FSDP2"])
def test_two_processes_give_the_loss_and_gradients_of_one(work, cases, tmp_path):
    (tmp_path / "encoders").mkdir()
    results = in_processes(2, work, tmp_path / "processes", tmp_path / "encoders", llava_folder(), nv_embed_folder())
    for place, (name, cuts, mix) in enumerate(cases):
        encoder, loss = build(name, tmp_path)
        batch = joined(encoder, CUTS[cuts], mix)
        value, expected = after(partial(contrastive_loss, encoder, loss, batch), encoder, loss)
        assert sum(process[place][0] for process in results) / 2 == pytest.approx(value, rel=1e-5)
        for process in results:
            assert difference(process[place][1], expected) <= 1e-5, (name, cuts, mix)
