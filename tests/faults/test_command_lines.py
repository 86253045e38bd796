"""No wrong command line ends in a traceback, and no nonsense is trained: every option of every group has a range."""

import math
import random
from copy import deepcopy

import pytest
from hydra import compose, initialize_config_dir

from powmix.command.composition import plain, register_resolvers
from powmix.command.overrides import check_command, with_quoted_paths
from powmix.command.registered import offer
from powmix.command.validation import check_config
from powmix.places import CONF

pytestmark = pytest.mark.usefixtures("composed_once")
NONSENSE = (-1, math.nan, math.inf, None, "nonsense", [1], {"a": 1}, 1e30, True)
"""What no number of a configuration may be; `allowed` says where one of them may stand all the same."""
NULL_MEANS_SOMETHING = {"trainer.clip_value", "schedule.plateau_patience"}
SECTIONS = ("dataset", "model", "trainer", "optimizer", "schedule", "mixer")
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))
MIXERS = sorted(path.stem for path in (CONF / "mixer").glob("*.yaml"))


def composed(*overrides: str) -> tuple[dict, dict]:
    register_resolvers()
    offer()
    with initialize_config_dir(str(CONF)):
        config = compose("config", list(overrides), return_hydra_config=True)
        return plain(config), dict(config.hydra.runtime.choices)


def numbers(section, way=()):
    """The dotted names of all numbers of a section."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from numbers(value, (*way, key))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield (*way, key)


def value_of(config: dict, way: tuple[str, ...]) -> object:
    for key in way:
        config = config[key]
    return config


def changed(config: dict, way: tuple[str, ...], value: object) -> dict:
    made = deepcopy(config)
    place = made
    for key in way[:-1]:
        place = place[key]
    place[way[-1]] = value
    return made


@pytest.mark.parametrize("choice", [*(f"model={name}" for name in MODELS), *(f"mixer={name}" for name in MIXERS)])
def test_every_number_of_every_group_refuses_nonsense_by_name(choice):
    config, choices = composed(choice, "model.text.pretrained=tiny" if "bert" in choice else "seeds=1")
    if isinstance(config["model"].get("text"), dict):
        config["model"]["text"]["pretrained"] = "tiny"
    assert check_config(config, choices) == []
    ways = [way for name in SECTIONS for way in numbers({name: config[name]})]
    assert len(ways) > 15
    for way in ways:
        for value in NONSENSE:
            if value is None and ".".join(way) in NULL_MEANS_SOMETHING:
                continue
            if value == 1e30 and isinstance(value_of(config, way), float):
                continue  # a rate or a weight so large makes the training diverge, which is told
            found = check_config(changed(config, way, value), choices)
            assert any(way[1] in sentence for sentence in found), (way, value, found)


COMMANDS = [
    *("model=null", "trainer=null", "optimizer=null", "~seeds", "~trainer", "~mixer.p_mix", "+foo=1", "++a.b=2"),
    *("mixer.p_mix=${foo}", "mixer.p_mix=${oc.env:NO_SUCH_VARIABLE}", "mixer.p_mix=range(0,1,0)", "mixer=glob(*)"),
    *("seeds=99999999999999999999", "seeds=[]", "seeds=null", "analyses=[[noise]]", "analyses={a:1}", "threads=100000"),
    *("dataset.sizes=[1,2,3]", "dataset.dims.text=1000000000", "dataset.path=3", "dataset=mosi dataset.path=[a]"),
    *("model.text=null", "model.text_hidden=100000000", "mixer.n_out=100000000", "mixer.subset={a:1}", "seeds"),
    *("mixer.p_mix=[", "mixer=none mixer=powmix", "task=clasification", "objective=MEA", "outputs="),
    *("tracker.wandb.mode=on", "tracker=wandb tracker.wandb.mode=on", "tracker=[wandb,none", "tracker.mode=on"),
    *("dataset=mosi dataset.path=(1)^.pkl", "mixer.p_mix=" + "9" * 5000, "sweeps=tabel3", "ablation=static mixer=none"),
]
FINE = {"mixer=glob(*)"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_wrong_command_line_is_told_in_sentences(command):
    register_resolvers()
    found = check_command(with_quoted_paths(command.split(" ")))
    assert bool(found) == (command not in FINE) and all("\n" not in sentence for sentence in found)


@pytest.mark.slow
def test_three_hundred_garbled_command_lines_raise_nothing():
    register_resolvers()
    randomly = random.Random(0)
    keys = [
        "mixer.p_mix",
        "model.text_hidden",
        "seeds",
        "model",
        "mixer",
        "trainer.batch_size",
        "dataset.sizes",
        "x.y",
        "",
    ]
    values = [
        "null",
        "-1",
        "[",
        "{a:",
        "${x}",
        "choice(",
        "range(1,2)",
        "glob(a*)",
        "'",
        "1e999",
        "interval(1,0)",
        "*",
        "\\",
    ]
    for _ in range(300):
        words = [
            randomly.choice(["", "+", "++", "~"])
            + randomly.choice(keys)
            + randomly.choice(["=", ""])
            + randomly.choice(values)
            for _ in range(randomly.randint(1, 3))
        ]
        assert all("\n" not in sentence for sentence in check_command(with_quoted_paths(words))), words
