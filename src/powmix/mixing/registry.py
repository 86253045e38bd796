"""The mixers by name: the one place that says what a mixer is called. No torch until one is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from powmix.mistakes import check_one_of, options_of, refuse, taken, unknown
from powmix.mixing.options import mistakes

if TYPE_CHECKING:
    from powmix.mixing.mixer import Mixer


class Row(NamedTuple):
    """Where a mixer's class is, and how tables and figures show it. title: in words. colour: in hexadecimal, or None.

    kind: the class itself, of a mixer that a user registered; its module is the user's.
    """

    module: str
    class_name: str
    title: str
    colour: str | None
    kind: type[Mixer] | None = None


MIXERS = {
    "none": Row("powmix.mixing.mixer", "NoMixer", "no mixing", "#707a89"),
    "manifold_mixup": Row("powmix.mixing.manifold_mixup", "ManifoldMixup", "Manifold MixUp", "#e69f00"),
    "multimix": Row("powmix.mixing.multimix", "MultiMix", "MultiMix", "#009e73"),
    "powmix": Row("powmix.mixing.powmix", "PowMix", "PowMix", "#0072b2"),
    "c_mixup": Row("powmix.mixing.c_mixup", "CMixup", "C-Mixup", "#cc79a7"),
    "regmixup": Row("powmix.mixing.regmixup", "RegMixup", "RegMixup", "#d55e00"),
    "modality_dropout": Row("powmix.mixing.modality_dropout", "ModalityDropout", "Modality dropout", "#56b4e9"),
    "ms_mix": Row("powmix.mixing.ms_mix", "MSMix", "MS-Mix (our reading)", "#332288"),
    "b_mm": Row("powmix.mixing.b_mm", "BMM", "B-MM (our reading)", "#882255"),
}
"""By the name that a configuration uses, in the order of tables. Colours: Okabe and Ito's, the last two Tol's."""


TITLES = {name: row.title for name, row in MIXERS.items()}
COLOURS = {name: row.colour for name, row in MIXERS.items() if row.colour}


def register(name: str, kind: type[Mixer], title: str | None = None) -> None:
    """Makes a class of mixers known under a name, to Python and to the command line: `mixer=NAME`.

    kind: a subclass of Mixer whose options are its fields, with defaults; it becomes a dataclass if it is none yet.
    ValueError for a name that is taken, and for a class that is no Mixer.
    """
    from powmix.mixing.mixer import Mixer

    if not (isinstance(kind, type) and issubclass(kind, Mixer)):
        raise ValueError(f"mixer {name}: expected a subclass of powmix.Mixer, got {kind!r}")
    refuse(taken("mixer", name, kind, MIXERS.get(name)))
    kind = kind if "__dataclass_fields__" in vars(kind) else dataclass(eq=False)(kind)
    options_of(kind)
    MIXERS[name] = Row(kind.__module__, kind.__qualname__, title or name, None, kind)
    TITLES[name] = MIXERS[name].title


def mixer_class(name: str) -> type[Mixer]:
    """The class of a mixer. ValueError for an unknown name."""
    check_one_of("mixer", name, MIXERS)
    row = MIXERS[name]
    return row.kind or getattr(import_module(row.module), row.class_name)


def defaults(name: str) -> dict[str, Any]:
    """A mixer's options with their defaults."""
    return options_of(mixer_class(name)).defaults


def option_mistakes(section: Mapping[str, Any], prefix: str = "mixer.") -> list[str]:
    """What is wrong with a mixer's section of a configuration, a sentence each; a registered mixer's types, too."""
    row = MIXERS.get(section.get("name"))
    own = options_of(row.kind) if row and row.kind else None
    return [
        *(
            unknown([key for key in section if key != "name"], own.defaults, f"option of {section['name']}")
            if own
            else ()
        ),
        *mistakes(section, prefix, own.rules if own else None),
    ]


def build(name: str, options: Mapping[str, Any]) -> Mixer:
    """The mixer of that name. ValueError with every unknown option and every value that is not allowed."""
    surplus = unknown(options, defaults(name), "option")
    if surplus:
        refuse([*surplus, *mistakes(options)], f"mixer {name}")
    return mixer_class(name)(**options)
