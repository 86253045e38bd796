"""What a search varies, what it keeps fixed, and how one trial's parameters become Hydra overrides."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra_plugins.hydra_optuna_sweeper._impl import create_params_from_overrides
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import Trial


class DerivedSpace(Protocol):
    """Searched quantities that are not configuration keys themselves, and the overrides they become."""

    def distributions(self) -> dict[str, BaseDistribution]: ...

    def overrides(self, params: Mapping[str, Any]) -> list[str]: ...


class SubsetByWidth:
    """The subset range U(a, b) as a free lower end `a` and a free width: b = a + width, so a < b always.

    Args: low, width: inclusive integer ranges [first, last]; key: the option that takes the pair.
    """

    def __init__(self, low: Sequence[int], width: Sequence[int], key: str = "mixer.subset") -> None:
        self._ranges = {"low": low, "width": width}
        for name, (first, last) in self._ranges.items():
            if not 1 <= first <= last:
                raise ValueError(f"SubsetByWidth {name}: got [{first}, {last}], allowed 1 <= first <= last")
        self.key = key

    def distributions(self) -> dict[str, BaseDistribution]:
        return {f"{self.key}.{name}": IntDistribution(first, last) for name, (first, last) in self._ranges.items()}

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        low = params[f"{self.key}.low"]
        return [f"{self.key}=[{low},{low + params[f'{self.key}.width']}]"]


@dataclass(frozen=True)
class SearchSpace:
    """The searched parameters (configuration keys and derived quantities) and the overrides every trial shares."""

    distributions: dict[str, BaseDistribution]
    fixed: tuple[str, ...]
    derived: DerivedSpace | None = None
    _names: frozenset[str] = field(default=frozenset(), repr=False)

    @classmethod
    def parse(cls, configured: Sequence[str], arguments: Sequence[str], derived: DerivedSpace | None) -> "SearchSpace":
        """Read `hydra.sweeper.params` and the command line; the command line decides on a key that both name."""
        space, fixed = _read([*configured, *arguments])
        extra = derived.distributions() if derived else {}
        if not space and not extra:
            raise ValueError("nothing to search: give hydra.sweeper.params, or e.g. 'mixer.p_mix=interval(0,1)'")
        return cls({**space, **extra}, tuple(fixed), derived, frozenset(extra))

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """`key=value` for each searched key, and what the derived quantities become."""
        own = [f"{name}={value}" for name, value in params.items() if name not in self._names]
        return own + (self.derived.overrides(params) if self.derived and params else [])

    def inside(self, overrides: Sequence[str]) -> dict[str, Any] | None:
        """The parameters that `overrides` name, when they give each one a legal value and nothing else; else None."""
        given = {key_of(text): text for text in overrides}
        if set(given) != set(self.distributions):
            return None
        params = {name: _value_in(self.distributions[name], text) for name, text in given.items()}
        return None if any(value is None for value in params.values()) else params

    def describe(self, ignored: Sequence[str]) -> dict[str, str]:
        """What must not change between two commands on one study: `{key: distribution or fixed value}`."""
        searched = {name: distribution_to_json(d) for name, d in sorted(self.distributions.items())}
        fixed = {key_of(text): text for text in sorted(self.fixed) if not _is_under(key_of(text), ignored)}
        return {**searched, **fixed}


def suggest(trial: Trial, name: str, law: BaseDistribution) -> Any:
    """Let the trial's sampler choose a value by `law`, unless the trial has one already."""
    if isinstance(law, CategoricalDistribution):
        return trial.suggest_categorical(name, law.choices)
    assert isinstance(law, IntDistribution | FloatDistribution)
    choose: Any = trial.suggest_int if isinstance(law, IntDistribution) else trial.suggest_float
    return choose(name, law.low, law.high, step=law.step, log=law.log)


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line for each key whose range or value is not what the study was started with."""
    keys = sorted(k for k in before.keys() | now.keys() if before.get(k) != now.get(k))
    return [f"  {key}: was {_readable(before.get(key))}, now {_readable(now.get(key))}" for key in keys]


def key_of(override: str) -> str:
    """`mixer.p_mix` of `++mixer.p_mix=0.5`."""
    return override.partition("=")[0].strip().lstrip("+~")


def last_of_each(overrides: Sequence[str]) -> list[str]:
    """One override for each key, the last; Hydra refuses a group that is chosen twice."""
    return list({key_of(text): text for text in overrides}.values())


def over(fixed: Sequence[str], own: Sequence[str]) -> list[str]:
    """`own` overrides after the `fixed` ones, less what they replace.

    `mixer=none` drops a fixed `mixer.n_out=256`; `~ablation` drops a fixed `ablation=static`.
    """
    replaced = {key_of(text) for text in own}
    kept = [text for text in fixed if not any(_is_under(key_of(text), [key]) for key in replaced)]
    return last_of_each([*kept, *(text for text in own if not text.startswith("~"))])


def _read(overrides: Sequence[str]) -> tuple[dict[str, BaseDistribution], list[str]]:
    space, fixed = {}, []
    for text in last_of_each(overrides):
        searched, _, _ = create_params_from_overrides([text])
        space.update(searched)
        if not searched:
            fixed.append(text)
    return space, fixed


def _value_in(distribution: BaseDistribution, override: str) -> Any:
    (parsed,) = OverridesParser.create().parse_overrides([override])
    if isinstance(distribution, CategoricalDistribution):
        texts = {str(choice): choice for choice in distribution.choices}
        return texts.get(parsed.get_value_element_as_str())
    value = parsed.value()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and distribution._contains(distribution.to_internal_repr(value)) else None


def _is_under(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(f"{prefix}.") for prefix in prefixes)


def _readable(entry: str | None) -> str:
    if entry is None:
        return "absent"
    if not entry.startswith("{"):
        return entry.partition("=")[2]
    law = json.loads(entry)
    arguments = ", ".join(f"{key}={value}" for key, value in law["attributes"].items())
    return f"{law['name'].removesuffix('Distribution')}({arguments})"
