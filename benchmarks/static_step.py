"""A training step whose shapes never change and that asks the device nothing, so that a CUDA graph can hold it whole.

An experiment beside `powmix.training.Solver`, equal to it in numbers within rounding where nothing is dropped out: the
last batch is padded with rows of weight 0, mixed rows are computed in every step, and the weights of the loss say
whether the clean or the mixed rows count. Statistics of the mixing are not kept.
Shape suffixes: B batch, O mixed rows, D features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from powmix import mixing
from powmix.mixing.multimix import MultiMix
from powmix.mixing.powmix import Factors, PowMix
from powmix.models.lf_dnn import BatchNorm1d, SubnetModel
from powmix.training import Solver, checkpoint
from powmix.training.optimisation import Adam

MODELS = ("mult", "lf_dnn", "tfn")
"""Those that ask the device nothing: the text encoder and Self-MM's LSTMs read the batch's longest length."""
WARM_UP = 3


class StaticStep:
    """The steps of a solver that has begun. `capture` turns them into CUDA graphs; until then they run eagerly.

    ValueError for a model or a mixer whose step has other shapes from batch to batch.
    """

    def __init__(self, solver: Solver, name: str):
        mixer = solver.mixer
        if name not in MODELS or (not isinstance(mixer, mixing.NoMixer) and not has_fixed_rows(mixer)):
            raise ValueError(
                f"model={name}, mixer={type(mixer).__name__}: the step has fixed shapes with {', '.join(MODELS)} and "
                "without mixing, with MultiMix, or with PowMix as far as its draws depend on no hidden vector"
            )
        self.solver, self.device, size = solver, solver.device, solver.settings.batch_size
        self.index_B = torch.zeros(size, dtype=torch.int64, device=self.device)
        self.real_B = torch.zeros(size, device=self.device)
        self.clean_weight_B = torch.zeros(size, device=self.device)
        self.lam: Tensor | None = None
        if not isinstance(mixer, mixing.NoMixer):
            self.lam = torch.ones_like(self.draw(size, torch.Generator()), device=self.device)
            self.mixed_weight_O = torch.zeros(self.lam.shape[-2], device=self.device)
        if isinstance(solver.model, SubnetModel):
            for subnet in solver.model.averaging().values():
                subnet.norm.__class__ = NormOfRealRows
                subnet.norm.real_B = self.real_B
        self.parameters = solver.optimisation.parameters
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        self.scale = torch.ones((), device=self.device)
        self.adam = Adam(self.groups(), fused=True, capturable=self.device.type == "cuda")
        self.step: Callable[[], None] = self.forward_and_backward
        self.update: Callable[[], None] = self.update_weights
        self.pending = 0

    # --- what the host does -------------------------------------------------------------------------------------------

    def train_pass(self) -> float:
        """Trains on every batch once, as `Solver.train_pass`; the mean of the optimised losses."""
        solver, losses = self.solver, []
        solver.model.train()
        for index_B in solver.batches():
            self.fill(index_B)
            self.step()
            losses.append(self.loss.clone())
            self.pending += 1
            if self.pending == solver.settings.accumulate:
                self.end_group()
        if self.pending and not solver.optimisation.sums:
            self.end_group()
        self.pending = 0
        torch._foreach_zero_([p.grad for p in self.parameters])
        return torch.stack(losses).double().mean().item()

    def fill(self, index_B: Tensor) -> None:
        """Writes a batch's rows and weights, and mixing factors if the coin says so."""
        size, solver = len(index_B), self.solver
        mixes = solver.mixer.flip(solver.generators.mixing, size, solver.epoch)
        self.choose(index_B, mixes)
        if mixes:
            assert self.lam is not None
            self.lam.zero_()[..., :size] = self.draw(size, solver.generators.mixing).to(self.device, non_blocking=True)

    def choose(self, index_B: Tensor, mixes: bool) -> None:
        """Writes which rows are the batch, and whether the loss is of them or of the mixed ones."""
        size = len(index_B)
        self.index_B.zero_()[:size] = index_B
        self.real_B.zero_()[:size] = 1
        self.clean_weight_B.zero_()[:size] = 0 if mixes else 1 / size
        if self.lam is not None:
            self.mixed_weight_O.fill_(1 / len(self.mixed_weight_O) if mixes else 0)

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """The mixing factors of a batch: (..., O, size)."""
        target = torch.empty(size)
        drawn = self.solver.mixer.draw(dict.fromkeys(self.modalities(), target), target, generator)
        return drawn.lam_GOB if isinstance(drawn, Factors) else drawn

    def modalities(self) -> tuple[str, ...]:
        """Of the hidden vectors."""
        model: Any = self.solver.model
        return tuple(model.widths) if isinstance(model, SubnetModel) else model.modalities

    def end_group(self) -> None:
        self.scale.fill_(1.0 if self.solver.optimisation.sums else 1 / self.pending)
        self.update()
        self.pending = 0

    # --- what the device does -----------------------------------------------------------------------------------------

    def forward_and_backward(self) -> None:
        """Adds a batch's gradient to the group's."""
        solver = self.solver
        batch = solver.splits.train.batch(self.index_B)
        encoded = solver.encode(batch)
        hidden, target, weight = encoded.hidden, batch.target, self.clean_weight_B
        if self.lam is not None:
            parameters = Factors(self.lam) if isinstance(solver.mixer, PowMix) else self.lam
            mixed = solver.mixer.apply(parameters, hidden, target)
            hidden = {name: torch.cat([h, mixed.hidden[name]]) for name, h in hidden.items()}
            target = torch.cat([target, mixed.target])
            weight = torch.cat([weight, self.mixed_weight_O])
        with solver.precision():
            prediction = solver.model.fuse(hidden, solver.noise)
        loss = solver.task_loss(prediction.float(), target, weight)
        loss.backward()
        if solver.optimisation.sums:
            self.clip()
        solver.model.observe(encoded, batch, solver.epoch + 1, solver.noise)
        self.loss = loss.detach()

    def update_weights(self) -> None:
        """Adam's step, then gradients of 0."""
        gradients = [p.grad for p in self.parameters]
        if not self.solver.optimisation.sums:
            torch._foreach_mul_(gradients, self.scale)
            self.clip()
        self.adam.step()
        torch._foreach_zero_(gradients)

    def clip(self) -> None:
        if (bound := self.solver.optimisation.clip_value) is not None:
            torch.nn.utils.clip_grad_value_(self.parameters, bound)

    def groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups; on a GPU the learning rate is a tensor, which a schedule can write under a graph."""
        groups = self.solver.model.parameter_groups(self.solver.settings.optimizer)
        if self.device.type == "cuda":
            groups = [{**group, "lr": torch.tensor(group["lr"], device=self.device)} for group in groups]
        return groups

    def capture(self) -> None:
        """From now on a batch is one replay of a CUDA graph, and an optimiser step another; before the first step."""
        assert not self.adam.state, "capture before training"
        model, generator = self.solver.model, self.solver.noise.generator
        weights, drawn = checkpoint.snapshot(model), generator.get_state()
        self.choose(torch.arange(len(self.index_B), device=self.device) % len(self.solver.splits.train), mixes=False)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):  # kernels are chosen and buffers made outside the capture
            for _ in range(WARM_UP):
                self.forward_and_backward()
                self.update_weights()
        torch.cuda.current_stream().wait_stream(stream)
        step, update = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        step.register_generator_state(generator)
        with torch.cuda.graph(step):
            self.forward_and_backward()
        with torch.cuda.graph(update):
            self.update_weights()
        model.load_state_dict(weights)
        generator.set_state(drawn)
        with torch.no_grad():
            for state in self.adam.state.values():
                for value in state.values():
                    value.zero_()
        torch._foreach_zero_([p.grad for p in self.parameters])
        self.step, self.update = step.replay, update.replay


def has_fixed_rows(mixer: mixing.Mixer) -> bool:
    """Whether its rows are as many in every batch, and drawn without a look at the hidden vectors."""
    if isinstance(mixer, MultiMix):
        return True
    return (
        isinstance(mixer, PowMix)
        and mixer.combine == "replace"
        and mixer.partners == "any"
        and mixer.label_weights != "learned"
    )


class NormOfRealRows(BatchNorm1d):
    """Batch norm whose statistics are of the rows with real_B = 1; for a single one the running ones, unchanged."""

    real_B: Tensor

    def forward(self, x_BD: Tensor, training: bool) -> tuple[Tensor, dict[str, Tensor]]:
        if not training:
            return super().forward(x_BD, training)
        count = self.real_B.sum()
        real_B1 = self.real_B.unsqueeze(-1)
        mean_D = (real_B1 * x_BD).sum(0) / count
        var_D = (real_B1 * (x_BD - mean_D).square()).sum(0) / count
        known = count > 1
        mean_D = torch.where(known, mean_D, self.running_mean)
        unbiased_D = torch.where(known, var_D.detach() * count / (count - 1).clamp(min=1), self.running_var)
        var_D = torch.where(known, var_D, self.running_var)
        return self.scale(x_BD, mean_D, var_D), {"mean": mean_D.detach(), "var": unbiased_D}
