"""The mixer alone, in a training loop of one's own: plain PyTorch, two sensors of ragged lengths, padding masks.

python plain_loop.py      ten seconds on one core
"""

import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot
from torch.nn.utils.rnn import pad_sequence

from powmix import PowMix

CLASSES, DIMS, WIDTH = 4, {"motion": 3, "sound": 5}, 32


def recordings(examples, source):
    """Padded sequences (N, L, D) by sensor, which of their steps are real (N, L), and targets (N, C)."""
    action = torch.randint(CLASSES, (examples,), generator=source)
    padded, real = {}, {}
    for name, dim in DIMS.items():
        lengths = torch.randint(12, 30, (examples,), generator=source)
        phases = [torch.arange(n)[:, None] * (0.3 + 0.2 * a) + torch.arange(dim) for n, a in zip(lengths, action)]
        waves = [phase.sin() + torch.randn(phase.shape, generator=source) for phase in phases]
        padded[name] = pad_sequence(waves, batch_first=True)
        real[name] = torch.arange(padded[name].shape[1]) < lengths[:, None]
    return padded, real, one_hot(action, CLASSES).float()


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoders = nn.ModuleDict({name: nn.GRU(dim, WIDTH, batch_first=True) for name, dim in DIMS.items()})
        self.head = nn.Linear(WIDTH * len(DIMS), CLASSES)

    def encode(self, padded, real):
        return {name: gru(padded[name])[0] * real[name][..., None] for name, gru in self.encoders.items()}

    def fuse(self, hidden, real):
        means = [h.sum(1) / real[name].sum(1, keepdim=True) for name, h in hidden.items()]
        return self.head(torch.cat(means, -1))


if __name__ == "__main__":
    torch.manual_seed(0)
    mixer, network = PowMix(n_out=64, subset=(2, 4), p_mix=0.5), Network()
    padded, real, target = recordings(200, torch.Generator().manual_seed(1))
    optimizer, draws = torch.optim.Adam(network.parameters(), 3e-3), torch.Generator().manual_seed(2)
    for epoch in range(20):
        for rows in torch.randperm(len(target)).split(32):
            seen = {name: mask[rows] for name, mask in real.items()}
            hidden = network.encode({name: x[rows] for name, x in padded.items()}, seen)
            mixed = mixer(hidden, target[rows], generator=draws, epoch=epoch)
            prediction = network.fuse(mixed.hidden, {name: mixed.mask(name, seen[name]) for name in seen})
            loss = (cross_entropy(prediction, mixed.target, reduction="none") * mixed.row_weight).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    padded, real, target = recordings(500, torch.Generator().manual_seed(3))
    right = network.fuse(network.encode(padded, real), real).argmax(1) == target.argmax(1)
    print(f"{right.float().mean():.3f} of {len(right)} test recordings are told right")
