"""What a mixer's options may be: one rule for each option's name. No torch.

`Mixer` checks itself with `mistakes`, and so does the command line before anything is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from powmix.mistakes import PROBABILITY, SWITCH, Rule, broken, choice, count, is_count, is_number, is_pair

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
    "bandwidth": within(1e-6, 1e6),
    "p": PROBABILITY,
}


def mistakes(options: Mapping[str, Any], prefix: str = "") -> list[str]:
    """A sentence for each option whose value is not allowed; options without a rule pass.

    prefix: what the command line puts before a name, `mixer.`.
    """
    return broken(RULES, options, prefix)
