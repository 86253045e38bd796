"""What a search must know of the Hydra application whose jobs it runs. powmix.command.searching says it of powmix."""

import sys
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser

from powmix.search.link import environment


def flags() -> list[str]:
    """The flags of the command line that say where its configuration lies."""
    given, _ = get_args_parser().parse_known_intermixed_args(sys.argv[1:])
    named = ((name, getattr(given, name)) for name in ("config_path", "config_name", "config_dir"))
    return [word for name, value in named if value for word in (f"--{name.replace('_', '-')}", value)]


class Application:
    """Any application. Its objective is what its task function returns, and its jobs find their trial by `report`."""

    baseline: str | None = None
    """What the warm start named `baseline` is called where the summary compares with it; None: it does not."""

    def direction(self, config: Any) -> str:
        """Where the options name no direction: minimize or maximize."""
        return "minimize"

    def metric(self, config: Any) -> str | None:
        """What the objective is called where the study is shown (optuna-dashboard); None: nothing."""
        return None

    def command(self) -> list[str]:
        """The words that start the application, without overrides."""
        module = sys.modules["__main__"].__spec__
        script = sys.argv[0]
        if module is not None:
            words = ["python", "-m", module.name.removesuffix(".__main__")]
        else:
            words = ["python", script] if script.endswith(".py") else [Path(script).name]
        return words + flags()

    def single(self, overrides: list[str], config: Any) -> list[str]:
        """Overrides of a search's command as a single run takes them."""
        return overrides

    def link(self, study: str, storage: str, trial_id: int, number: int) -> list[str]:
        """The overrides by which a job finds its trial; `study`, `storage`: in Hydra's grammar, quoted or interpolated.

        They are the job's environment, so that its configuration stays as the application made it.
        """
        return [environment(study, storage, trial_id)]
