"""My own mixer beside the built-in ones: every option of it can be swept and searched like theirs.

python own_mixer.py -m mixer=none,swap,powmix model=lf_dnn seeds=5
python own_mixer.py -m mixer=swap mixer.rate=0.1,0.3,0.5 hydra/sweeper=comparison hydra.sweeper.baseline=[mixer=none]
"""

import torch

import powmix


@powmix.register_mixer("swap", title="Modality swap")
class Swap(powmix.Mixer):
    """Gives a share of the examples one modality of another example, and the label between the two.

    The fields of a mixer are its options. p_mix and start_epoch are every mixer's.
    """

    p_mix: float = 0.5
    rate: float = 0.3

    def draw(self, hidden, target, generator):
        """Everything random, from the run's own generator: the same seed draws the same."""
        rows = len(target)
        partner = torch.randperm(rows, generator=generator)
        modality = torch.randint(len(hidden), (rows,), generator=generator)
        swapped = torch.rand(rows, generator=generator) < self.rate
        return partner, modality, swapped

    def apply(self, parameters, hidden, target):
        """The mixing itself, as one row-stochastic matrix (B, B) for each modality: weights, mixed vectors, labels."""
        partner, modality, swapped = (x.to(target.device) for x in parameters)
        own = torch.eye(len(target), device=target.device)
        weights = {
            name: torch.where((swapped & (modality == m))[:, None], own[partner], own) for m, name in enumerate(hidden)
        }
        mixed = {name: torch.einsum("rb,b...->r...", weights[name], h) for name, h in hidden.items()}
        share = sum(weights.values()) / len(weights)
        row_weight = torch.full((len(target),), 1 / len(target), device=target.device)
        return powmix.Mixed(mixed, share @ target, row_weight, weights)


if __name__ == "__main__":
    powmix.main()
