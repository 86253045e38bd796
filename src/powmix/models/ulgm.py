"""The unimodal label generation module (ULGM) of Self-MM (Yu et al. 2021): pseudo labels for text, audio and vision.

Shape suffixes: N training examples, B batch, T tasks (fusion, text, audio, vision), U = T - 1, F all features together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-8


class ULGM(nn.Module):
    """What is remembered of every training example: features and labels of each task, and the centres of two classes.

    widths: feature width by task, fusion first. bound: pseudo labels are clamped to [-bound, bound]. exclude_zero: the
    positive class is y > 0, otherwise y >= 0; the negative one is y < 0. A class that is empty keeps its last centre
    (zero at first), where the published code divides by zero. All of it lives in buffers, saved with the model; their
    sizes come from `prepare` or from the state that is loaded.
    """

    block_TF: Tensor
    labels_TN: Tensor
    bank_NF: Tensor
    centres_2F: Tensor
    epoch: Tensor

    def __init__(self, widths: Mapping[str, int], bound: float, exclude_zero: bool = True):
        super().__init__()
        self.tasks, self.bound, self.exclude_zero = tuple(widths), bound, exclude_zero
        assert self.tasks[0] == "fusion"
        task_of_F = torch.repeat_interleave(torch.arange(len(widths)), torch.tensor(list(widths.values())))
        block_TF = torch.arange(len(widths)).unsqueeze(1) == task_of_F
        self.register_buffer("block_TF", block_TF.float(), persistent=False)
        self.register_buffer("centres_2F", torch.zeros(2, len(task_of_F)))
        self.register_buffer("labels_TN", torch.zeros(len(widths), 0))
        self.register_buffer("bank_NF", torch.zeros(0, len(task_of_F)))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.last_epoch = 0
        """`epoch`, the last one observed, as the host knows it: read without waiting for the device."""

    def prepare(self, target_N: Tensor) -> None:
        """Before epoch 1: every task's label is the multimodal one; features and centres are zero."""
        self.labels_TN = target_N.float().repeat(len(self.tasks), 1)
        self.bank_NF = target_N.new_zeros(len(target_N), self.block_TF.shape[1], dtype=torch.float32)
        self.centres_2F = self.bank_NF.new_zeros(2, self.block_TF.shape[1])
        self.epoch, self.last_epoch = torch.zeros_like(self.epoch), 0

    @torch.no_grad()
    def update(self, features: Mapping[str, Tensor], index_B: Tensor, epoch: int) -> None:
        """After a batch of epoch 1, 2, ...: its labels move (from epoch 2), then features and centres are written."""
        feature_BF = torch.cat([features[task].float() for task in self.tasks], dim=-1)
        if epoch > 1:
            self.labels_TN[1:, index_B] = self.relabel(feature_BF, self.labels_TN[:, index_B], epoch)
        self.bank_NF[index_B] = feature_BF
        self.recentre()
        self.epoch.fill_(epoch)
        self.last_epoch = epoch

    def relabel(self, feature_BF: Tensor, label_TB: Tensor, epoch: int) -> Tensor:
        """The unimodal labels (U, B) after the momentum update of `epoch`, from the centres as they are."""
        squares_2BF = (feature_BF - self.centres_2F.unsqueeze(1)).square()
        positive_TB, negative_TB = (squares_2BF @ self.block_TF.T).sqrt().transpose(1, 2)  # D_p and D_n of the paper
        delta_TB = (negative_TB - positive_TB) / (positive_TB + EPSILON)  # its relative distance alpha
        fusion_B, unimodal_UB, y_B = delta_TB[0], delta_TB[1:], label_TB[0]
        ratio_UB = unimodal_UB / (fusion_B + EPSILON)
        # half the labels' ratio, half their difference: y_s = y_m/2 * alpha_s/alpha_m + (y_m + alpha_s - alpha_m)/2
        label_UB = (0.5 * ratio_UB * y_B + 0.5 * (y_B + unimodal_UB - fusion_B)).clamp(-self.bound, self.bound)
        return (epoch - 1) / (epoch + 1) * label_TB[1:] + 2 / (epoch + 1) * label_UB  # the momentum-based update policy

    def recentre(self) -> None:
        """Each task's two class centres: means of its features over its own positive and negative labels."""
        positive_TN = self.labels_TN > 0 if self.exclude_zero else self.labels_TN >= 0
        member_CN = torch.cat([positive_TN, self.labels_TN < 0]).float()
        sums_2TF = (member_CN @ self.bank_NF).unflatten(0, (2, -1))
        counts_2F = member_CN.sum(-1).view(2, -1) @ self.block_TF
        centres_2F = (sums_2TF * self.block_TF).sum(1) / counts_2F.clamp_min(1)
        self.centres_2F = torch.where(counts_2F > 0, centres_2F, self.centres_2F)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        for name in ("labels_TN", "bank_NF"):
            saved, own = state_dict.get(prefix + name), getattr(self, name)
            if saved is not None and saved.shape != own.shape:
                setattr(self, name, own.new_zeros(saved.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)
        self.last_epoch = int(self.epoch)
