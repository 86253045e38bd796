"""What a mixer's options may be: one rule for each option's name. No torch.

`Mixer` checks itself with `mistakes`, and so does the command line before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from powmix.mistakes import (
    PROBABILITY,
    SWITCH,
    Rule,
    broken,
    choice,
    count,
    is_count,
    is_list,
    is_number,
    is_pair,
    optional,
)

MOST = 65_536
"""Upper bound of every number of examples: far above any mini-batch, and a slip of a key does not fill the memory."""

FAINT = 0.01
"""Lower bound of a concentration: below it most Gamma variates are too small for float32."""


def is_concentration(value: Any) -> bool:
    """A number, or two in ascending order, that Gamma variates can have as their shape."""
    return all(is_number(bound) and FAINT <= bound <= MOST for bound in (value if is_pair(value) else [value]))


def within(low: float, high: float) -> Rule:
    """A number from low to high."""
    return Rule(lambda value: is_number(value) and low <= value <= high, f"a number within [{low:g}, {high:g}]")


def are_label_weights(value: Any) -> bool:
    """A word, or numbers for the modalities, by place or by name, that can be divided by their sum."""
    if isinstance(value, str):
        return value in LABEL_WORDS
    numbers = list(value.values()) if isinstance(value, Mapping) else value
    return is_list(numbers) and all(is_number(n) and 0 <= n <= MOST for n in numbers) and sum(numbers) > 0


LABEL_WORDS = ("mean", "attention", "learned")
LABEL_WEIGHTS = Rule(
    are_label_weights,
    f"one of {', '.join(LABEL_WORDS)}, or numbers >= 0, not all 0: [2, 1, 1] or {{text: 2, audio: 1, ...}}",
    LABEL_WORDS,
)
EXAMPLES = Rule(lambda value: is_count(value, 1) and value <= MOST, f"a whole number within [1, {MOST}]")
SUBSET = Rule(lambda value: is_pair(value) and value[1] <= MOST, f"two numbers [a, b] with 0 < a <= b <= {MOST}")
CONCENTRATION = Rule(is_concentration, f"a number within [{FAINT}, {MOST}], or two such numbers [a, b] with a <= b")

RULES: dict[str, Rule] = {
    "p_mix": PROBABILITY,
    "start_epoch": count(0),
    "n_out": EXAMPLES,
    "subset": SUBSET,
    "min_selected": EXAMPLES,
    "alpha": CONCENTRATION,
    "anisotropic": SWITCH,
    "reweight": choice("relu", "uniform", "eps"),
    "eps": within(1e-30, 1),
    "mask_sharing": SWITCH,
    "dynamic": SWITCH,
    "p_scope": choice("element", "row"),
    "detach": SWITCH,
    "combine": choice("replace", "add"),
    "label_weights": LABEL_WEIGHTS,
    "partners": choice("any", "label", "feature"),
    "neighbourhood": within(1e-3, 1e6),
    "stop_epoch": optional(count(1)),
    "anneal": choice("none", "linear", "cosine"),
    "bandwidth": within(1e-6, 1e6),
    "p": PROBABILITY,
    "threshold": within(0, 1),
}


def mistakes(options: Mapping[str, Any], prefix: str = "", own: Mapping[str, Rule] | None = None) -> list[str]:
    """A sentence for each option whose value is not allowed; options without a rule pass.

    prefix: what the command line puts before a name, `mixer.`. own: rules of a registered mixer's own options.
    """
    return [*broken({**(own or {}), **RULES}, options, prefix), *_relations(options, prefix)]


def _relations(options: Mapping[str, Any], prefix: str) -> Iterator[str]:
    """What no single option shows."""
    start, stop = options.get("start_epoch"), options.get("stop_epoch")
    if is_count(start) and is_count(stop) and stop <= start:
        yield f"{prefix}stop_epoch must be above start_epoch={start}, got {stop}: no epoch would be mixed"
    if options.get("partners") in ("label", "feature"):
        for switch in ("dynamic", "mask_sharing"):
            if options.get(switch) is False:
                yield f"{prefix}partners={options['partners']} chooses the examples of a row: it needs {switch}=true"
