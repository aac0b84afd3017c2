"""The LightningModule that teaches a LLaVA-Next to tell answers from mined documents: Table 13, two logits."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lit_mmembed.encoders.adapters import Lora, add_lora, is_adapter, merge_lora
from lit_mmembed.encoders.checkpoints import Checkpoint, canonical, local_folder
from lit_mmembed.encoders.generation import WEIGHTS
from lit_mmembed.encoders.mllm_backbone import DType
from lit_mmembed.errors import InputError
from lit_mmembed.reranking.llava import LlavaPrompts, LlavaReranker
from lit_mmembed.reranking.prompts import TemplateName
from lit_mmembed.training.lean_checkpoint import LeanCheckpoint
from lit_mmembed.training.optimization import Optimization
from lit_mmembed.training.unused import idle

Objective = Literal["listwise", "pointwise"]


class RerankerModule(LeanCheckpoint):
    """A LLaVA-Next checkpoint trained to answer True for a query's positive and False for its negatives.

    The output head stays as it is. A list is one pass, the shared prefix once, as when reranking.

    Args:
        checkpoint: The folder to start from: `mmembed pretrain`'s, or a released LLaVA-Next.
        objective: `listwise`: cross-entropy of the positive among its list, of the differences of both logits;
            `pointwise`: binary cross-entropy of each difference, positives and negatives of a list weighing the same.
        lora: Adapters on the language model; null trains all of it but its embedding.
        projector: Whether the projector is trained too. The vision tower never is.
        template: Chat template around the questions; rerank with the same.
        dtype: Of the weights; what is trained is fp32.
        max_tokens: Longest prompt; the model's context by default.
        optimization: Learning rate and schedule.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        objective: Objective = "listwise",
        lora: Lora | None = None,
        projector: Literal["frozen", "trained"] = "frozen",
        template: TemplateName = "none",
        dtype: DType = "float32",
        max_tokens: int | None = None,
        optimization: Optimization | None = None,
    ) -> None:
        super().__init__()
        self.reranker = LlavaReranker(checkpoint, template=template, dtype=dtype, max_tokens=max_tokens)
        self.objective = objective
        self.optimization = optimization or Optimization()
        self.seed = 0
        self._right: list[Tensor] = []
        self._train_only(lora, projector)

    @property
    def generator(self) -> RerankerModule:
        """What `ExportCheckpoint` saves."""
        return self

    @property
    def preprocess(self) -> LlavaReranker:
        """What prepares the data's questions."""
        return self.reranker

    def configure_optimizers(self) -> Any:
        """AdamW over the trainable parameters."""
        return self.optimization.configure((self.reranker,), int(self.trainer.estimated_stepping_batches))

    def on_fit_start(self) -> None:
        """Refuse the precisions in which all weights are half or double ones, those that are trained too."""
        precision = str(self.trainer.precision)
        if precision.endswith("-true") and precision != "32-true":
            dtype = {"bf16-true": "bfloat16", "16-true": "float16"}.get(precision, "float32")
            fix = f"set model.dtype={dtype}: what is trained stays fp32; and trainer.precision=32-true or bf16-mixed"
            raise InputError(f"no reranker is trained in trainer.precision={precision}", fix=fix)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed dropout by (seed, step, process), so that a resumed run draws what an uninterrupted one draws."""
        torch.manual_seed((self.seed * 1_000_003 + self.global_step) * 1009 + self.global_rank)

    def training_step(self, batch: Sequence[LlavaPrompts], batch_idx: int) -> Tensor:
        """Return the mean over lists."""
        lists = self._differences(batch)
        loss = torch.stack([self._loss(one) for one in lists]).mean()
        if not any(one.images for one in batch):
            loss = loss + idle(self.reranker.backbone.projector().parameters())
        first = torch.stack([one[0] >= one.max() for one in lists]).float().mean()
        size = len(batch)
        self.log("train/loss", loss.detach(), prog_bar=True, sync_dist=True, batch_size=size)
        self.log("train/first", first, sync_dist=True, batch_size=size)
        return loss

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient norm before any clipping."""
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        self.log("train/grad_norm", torch.nn.utils.get_total_norm(gradients))
        self.log("train/lr", optimizer.param_groups[0]["lr"])

    def validation_step(self, batch: Sequence[LlavaPrompts], batch_idx: int) -> None:
        """Note the lists whose positive is first, and those in which it would be by chance."""
        for one in self._differences(batch):
            outcome = [float(one[0] > one[1:].max()), 1 / len(one), float(self._loss(one)), 1.0]
            self._right.append(torch.tensor(outcome, device=self.device))

    def on_validation_epoch_end(self) -> None:
        """Log the share of lists whose positive is first, chance, and the loss."""
        if not self._right:
            return
        sums = self.trainer.strategy.reduce(torch.stack(self._right).sum(0), reduce_op="sum")
        self._right = []
        for place, name in enumerate(("first", "first_by_chance", "loss")):
            self.log(f"val/{name}", sums[place] / sums[3], prog_bar=name == "first", rank_zero_only=True)

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder that `mmembed rerank --model` and transformers load; adapters are merged in."""
        from safetensors.torch import save_file

        merge_lora(self.reranker.backbone.language_model)
        source = self.reranker.source
        shutil.copytree(
            local_folder(source), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(*WEIGHTS, "record.json")
        )
        own = {canonical(name): tensor for name, tensor in self.reranker.backbone.state_dict().items()}
        checkpoint = Checkpoint(source)
        of_file = {in_file: name for name, in_file in checkpoint.names().items()}
        kept: dict[str, Tensor] = {}
        for in_file, before in checkpoint.tensors(of_file):
            trained = own.get(of_file[in_file], before)
            kept[in_file] = trained.detach().to("cpu", before.dtype).contiguous()
        save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})

    def _train_only(self, lora: Lora | None, projector: str) -> None:
        backbone = self.reranker.backbone
        backbone.requires_grad_(False)
        if lora is None:
            backbone.language_model.requires_grad_(True).float()
            backbone.language_model.get_input_embeddings().requires_grad_(False)  # type: ignore[operator]
        else:
            add_lora(backbone.language_model, lora)
            for name, parameter in backbone.language_model.named_parameters():
                parameter.requires_grad_(is_adapter(name))
        if projector == "trained":
            trained: nn.Module = backbone.projector()
            trained.requires_grad_(True).float()

    def _differences(self, batch: Sequence[LlavaPrompts]) -> list[Tensor]:
        """Return for each list the differences of its questions' logits, the positive's first."""
        flat = self.reranker.differences(batch)
        return list(flat.split([len(one.prompts.suffixes) for one in batch]))

    def _loss(self, differences: Tensor) -> Tensor:
        if self.objective == "listwise":
            return -F.log_softmax(differences, dim=0)[0]
        positive, negatives = F.softplus(-differences[0]), F.softplus(differences[1:]).mean()
        return (positive + negatives) / 2
