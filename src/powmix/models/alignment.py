"""Audio and vision brought to the text's time steps by averaging blocks of frames, where the data are not word-aligned.

Shape suffixes: B batch, T text steps, L frames, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor


def block_average(x_BLD: Tensor, steps: int) -> Tensor:
    """(B, T, D): T blocks of ceil(L / T) frames, the last frame repeated to fill them; padding is averaged too.

    M-SENA's alignment for CH-SIMS (400 and 55 frames to 39 steps), for any L and T. Source: thuiar/MMSA, AlignNets.
    """
    frames = x_BLD.shape[1]
    if frames == steps:
        return x_BLD
    pool = -(-frames // steps)
    filling_BFD = x_BLD[:, -1:].expand(-1, pool * steps - frames, -1)
    return torch.cat([x_BLD, filling_BFD], dim=1).unflatten(1, (steps, pool)).mean(2)


def masked_block_average(x_BLD: Tensor, frames_B: Tensor, tokens_B: Tensor, steps: int) -> Tensor:
    """(B, T, D): the same blocks for each example alone, its valid frames onto its valid tokens.

    x is padded on the right; frames_B and tokens_B count what is valid, at least 1. Steps after an example's last token
    repeat its last frame. The result does not depend on how far anything is padded.
    """
    pool_B11 = (-(-frames_B // tokens_B)).view(-1, 1, 1)
    start_BT1 = torch.arange(steps, device=x_BLD.device).view(1, -1, 1) * pool_B11
    frame_L, frames_B11 = torch.arange(x_BLD.shape[1], device=x_BLD.device), frames_B.view(-1, 1, 1)
    inside_BTL = (frame_L >= start_BT1) & (frame_L < start_BT1 + pool_B11) & (frame_L < frames_B11)
    repeats_BT1 = (start_BT1 + pool_B11 - start_BT1.maximum(frames_B11)).clamp_min(0)
    weight_BTL = inside_BTL + repeats_BT1 * (frame_L == frames_B11 - 1)
    return (weight_BTL / pool_B11).to(x_BLD.dtype) @ x_BLD
