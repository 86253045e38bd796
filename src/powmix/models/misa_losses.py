"""The three auxiliary losses of MISA (Hazarika et al. 2020, section "Learning"), over stacks of vectors.

Shape suffixes: M modalities (text, vision, audio), P pairs, K moments, B batch, H width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

MOMENTS = 5
_PAIRS = ((0, 1), (0, 2), (2, 1))
"""Pairs among text 0, vision 1, audio 2."""


def difference_loss(private_MBH: Tensor, shared_MBH: Tensor) -> Tensor:
    """How far subspaces are from orthogonal, the paper's L_diff: a sum over six pairs of mean (X1^T X2)^2.

    Pairs: each modality's private and shared vectors, and the private vectors of two modalities. X is centred over the
    batch, each row divided by its norm, through which no gradient flows.
    """
    x = torch.cat([private_MBH, shared_MBH])
    x = x - x.mean(1, keepdim=True)
    x = x / (torch.linalg.vector_norm(x, dim=2, keepdim=True).detach() + 1e-6)
    first, second = zip(*[(m, m + 3) for m in range(3)], *_PAIRS)
    correlation_PHH = torch.bmm(x[list(first)].transpose(1, 2), x[list(second)])
    return correlation_PHH.pow(2).mean((1, 2)).sum()


def similarity_loss(shared_MBH: Tensor) -> Tensor:
    """Central moment discrepancy of the shared vectors, the paper's L_sim, moments 1 to 5, mean over three pairs.

    Gradients stay finite where two moments are equal, as in a batch of one.
    """
    mean_M1H = shared_MBH.mean(1, keepdim=True)
    centred = shared_MBH - mean_M1H
    moments_KMH = torch.stack([mean_M1H.squeeze(1), *(centred.pow(k).mean(1) for k in range(2, MOMENTS + 1))])
    first, second = zip(*_PAIRS)
    gaps_KPH = moments_KMH[:, list(first)] - moments_KMH[:, list(second)]
    return torch.linalg.vector_norm(gaps_KPH, dim=2).sum(0).mean()


def reconstruction_loss(reconstruction_MBH: Tensor, projection_MBH: Tensor) -> Tensor:
    """The paper's L_recon: squared error, mean over modalities; the target gets its gradient too, as published."""
    return F.mse_loss(reconstruction_MBH, projection_MBH)
