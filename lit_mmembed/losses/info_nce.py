"""The contrastive loss of Eq. 1, over every document of the global batch.

Shapes: B queries, N documents, P labelled positives of a query (padded), D dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class InfoNCE(nn.Module):
    """InfoNCE with a fixed or learned temperature, and a mask for what is no negative.

    Eq. 1 of the paper, for a query q, its drawn positive d+ and the documents of the batch D_b (positives of all
    queries and mined negatives): L = -log( exp(q.d+ / t) / sum over d in D_b of exp(q.d / t) ).

    Args:
        temperature: t; where learning starts if it is learned.
        learn_temperature: Learn log(1 / t), as CLIP does and as UniIR trains CLIP_SF.
        mask_known_positives: Leave out of the sum, for each query, every document that is labelled positive for it
            apart from its drawn positive, and copies of the drawn positive at other positions. Off is Eq. 1 to the
            letter, which pushes such documents away.
        max_scale: Upper limit of a learned 1 / t (CLIP's 100).
    """

    log_scale: Tensor

    def __init__(
        self,
        temperature: float = 0.01,
        *,
        learn_temperature: bool = False,
        mask_known_positives: bool = True,
        max_scale: float = 100.0,
    ) -> None:
        super().__init__()
        log_scale = torch.tensor(-math.log(temperature))
        if learn_temperature:
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale, persistent=False)
        self.mask_known_positives = mask_known_positives
        self.max_log_scale = math.log(max_scale) if learn_temperature else math.inf

    @property
    def temperature(self) -> Tensor:
        """The temperature in use: a scalar tensor."""
        return self.log_scale.clamp(max=self.max_log_scale).neg().exp()

    def forward(
        self, query_BD: Tensor, document_ND: Tensor, *, positive: Tensor, document_ids: Tensor, known_positives: Tensor
    ) -> Tensor:
        """Return the loss of each query [B], in fp32 whatever the embeddings' type.

        Args:
            query_BD: Unit vectors.
            document_ND: Unit vectors.
            positive: [B] int64, the position in `document_ND` of each query's drawn positive.
            document_ids: [N] int64.
            known_positives: [B, P] int64, padded with an id that no document has.
        """
        self._limit_scale()
        with torch.autocast(query_BD.device.type, enabled=False):
            score_BN = query_BD.float() @ document_ND.float().T * self.log_scale.exp()
            if self.mask_known_positives:
                excluded_BN = other_positives(positive, document_ids, known_positives)
                score_BN = score_BN.masked_fill(excluded_BN, -torch.inf)
            return F.cross_entropy(score_BN, positive, reduction="none")

    @torch.no_grad()
    def _limit_scale(self) -> None:
        # In place, as CLIP does: a clamp inside the graph would have no gradient beyond the limit and never come back.
        if self.max_log_scale < math.inf:
            self.log_scale.clamp_(max=self.max_log_scale)


def other_positives(positive: Tensor, document_ids: Tensor, known_positives: Tensor) -> Tensor:
    """Return [B, N] bool: documents that are positives of the query other than its drawn one, or copies of that one.

    A binary search in each query's sorted positives: memory is B x N, not B x N x P (OVEN has queries with hundreds).
    """
    drawn_B1 = document_ids[positive].unsqueeze(1)
    known_BP = torch.cat([drawn_B1, known_positives], dim=1).sort(dim=1).values
    ids_BN = document_ids.expand(len(positive), -1).contiguous()
    place_BN = torch.searchsorted(known_BP, ids_BN).clamp_(max=known_BP.shape[1] - 1)
    excluded_BN = known_BP.gather(1, place_BN) == ids_BN
    return excluded_BN.scatter(1, positive.unsqueeze(1), False)
