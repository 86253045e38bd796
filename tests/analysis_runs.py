"""Small trained runs for the analyses: the synthetic corpus, an epoch or two."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from powmix import experiment
from powmix.command.composition import register_resolvers
from powmix.places import CONF
from powmix.runs.identity import seed_list, signature, variant

SMALL = ("dataset.sizes={train: 90, valid: 40, test: 40}", "trainer.device=cpu", "trainer.checkpoint=false")
MULT = ("model=mult", "model.dim=8", "model.heads=2", "model.levels=1", "seeds=[3]", "trainer.max_epochs=1")
BERT = ("seeds=[3]", "trainer.max_epochs=1")


def train(outputs: Path, *overrides: str, small: tuple[str, ...] = SMALL) -> Path:
    """The folder of a run finished with these overrides."""
    register_resolvers()
    with initialize_config_dir(str(CONF)):
        composed = compose("config", overrides=[*small, *overrides, f"outputs={outputs}", "sweep=null"])
    config = OmegaConf.to_container(composed, resolve=True)
    config["seeds"] = seed_list(config["seeds"])
    names = variant(config, {"protocol": "published"})
    identity = {
        "signature": signature(config),
        "variant": names,
        "name": "/".join(str(names[key]) for key in ("dataset", "model", "mixer")),
        "overrides": list(overrides),
        "sweep": None,
    }
    folder = outputs / "runs" / identity["signature"]
    experiment.run(config, identity, folder)
    return folder
