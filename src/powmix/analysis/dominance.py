"""Figure 7: how the test metrics fall as examples lose their text.

`drop`: the text is zero; of token ids [CLS] [SEP] are left. MISA as published reads audio and vision only as far as the
text has tokens (protocol.own_lengths), so it loses more than the text. `mean`: every real time step of the text is the
training split's mean step; a model that reads token ids gets the training mean of its hidden text vectors in their
place; MAG-BERT, which has no hidden vector of the text alone, has no `mean`.

Shape suffixes: N examples, C outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from powmix.analysis.damage import Damaged, over_probabilities
from powmix.analysis.hidden import hidden_vectors, of_modality
from powmix.data.corruption import drop_text, training_mean
from powmix.training import Solver


def measure(solver: Solver, settings: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Rows {repetition, kind: drop | mean, p, metrics}; at p = 0 the run's own test metrics.

    An example's prediction knows nothing of its batch: the test split is predicted with and without its texts, once
    each, and the examples that lose theirs are drawn.
    """
    test = solver.splits.test
    clean, with_NC = solver.evaluate(test)
    without = {"drop": solver.predict(drop_text(test, 1.0)), "mean": _with_mean_text(solver)}

    def losing(without_NC: Tensor) -> Damaged:
        def damaged(p: float, generator: Generator) -> dict[str, float]:
            lost_N1 = torch.rand(len(test), 1, generator=generator) < p
            return solver.score(test, torch.where(lost_N1, without_NC, with_NC))

        return damaged

    kinds = {kind: losing(found) for kind, found in without.items() if found is not None}
    return over_probabilities(clean, kinds, settings["p"], settings["repetitions"])


def _with_mean_text(solver: Solver) -> Tensor | None:
    """Predictions (N, C) from the training mean in place of the text; None where no hidden vector is the text's."""
    train, test = solver.splits.train, solver.splits.test
    if "text" in test.features:
        return solver.predict(drop_text(test, 1.0, replacement_D=training_mean(train)))
    hidden = hidden_vectors(solver, test)
    names = of_modality(hidden, "text")
    if not names:
        return None
    trained = hidden_vectors(solver, train)
    hidden |= {name: trained[name].mean(0).expand_as(hidden[name]) for name in names}
    with torch.no_grad(), solver.precision():
        return solver.model.fuse(hidden).float().cpu()
