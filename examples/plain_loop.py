"""The mixer alone, in anybody's training loop (plain PyTorch or a LightningModule's training_step), with padding masks.

python plain_loop.py
"""

import torch
from torch import nn

from powmix import PowMix

torch.manual_seed(0)
lengths = torch.randint(4, 12, (256,))
words = torch.randn(256, 12, 8)
sound = torch.randn(256, 12, 5)
target = words[:, :3].mean((1, 2), keepdim=True)[:, 0] * 4 + sound[:, 0, :1]  # (N, 1)
real = torch.arange(12) < lengths[:, None]  # (N, L): which steps are no padding


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.sound = nn.Linear(8, 16), nn.Linear(5, 16)
        self.attention, self.head = nn.Linear(32, 1), nn.Linear(32, 1)

    def encode(self, words, sound):
        return {"words": self.words(words).relu(), "sound": self.sound(sound).relu()}  # each (B, L, 16)

    def fuse(self, hidden, mask):
        steps = torch.cat([hidden["words"], hidden["sound"]], dim=-1)
        weight = self.attention(steps).squeeze(-1).masked_fill(~mask, -torch.inf).softmax(-1)
        return self.head((weight.unsqueeze(-1) * steps).sum(1))


def train(mixer, epochs=30):
    """The mean absolute error on the last 64 examples."""
    torch.manual_seed(1)
    model, generator = Model(), torch.Generator().manual_seed(1111)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for epoch in range(epochs):
        for index in torch.randperm(192, generator=generator).split(32):
            hidden = model.encode(words[index], sound[index])
            mixed = mixer(hidden, target[index], generator=generator, epoch=epoch)
            # A row mixes sequences of several lengths: it is real where any of them is.
            prediction = model.fuse(mixed.hidden, mixed.mask("words", real[index]))
            loss = ((prediction - mixed.target).abs().mean(-1) * mixed.row_weight).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return (model.fuse(model.encode(words[192:], sound[192:]), real[192:]) - target[192:]).abs().mean().item()


print(f"without mixing {train(PowMix(p_mix=0)):.3f}, with PowMix {train(PowMix(n_out=64, p_mix=0.5)):.3f}")
