"""What users register: found by Python and by the command line, checked, resumable, told about in one line."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from training_corpus import tiny_splits

from powmix import Mixer, models, plugins, register_mixer, register_model
from powmix.__main__ import main
from powmix.command.exits import WRONG
from powmix.command.overrides import check_command
from powmix.command.registered import config_folders, offer, with_plugins
from powmix.mixing import registry as mixers
from powmix.models.plain import PlainModel
from powmix.training import Settings, train

LAB = """
import torch
from torch import nn
import powmix

@powmix.register_model("lab_net", title="Lab net")
class Net(nn.Module):
    needs = ("text", "audio", "vision")

    def __init__(self, inputs, width: int = 8, rate: float = 0.3):
        super().__init__()
        self.parts = nn.ModuleDict(
            {m: nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Dropout(rate)) for m, dim in inputs.dims.items()}
        )
        self.head = nn.Linear(width * len(inputs.dims), inputs.outputs)

    def encode(self, batch):
        return {name: part(batch[name].mean(1)) for name, part in self.parts.items()}

    def fuse(self, hidden):
        return self.head(torch.cat(list(hidden.values()), -1))

@powmix.register_mixer("lab_mix")
class Jitter(powmix.Mixer):
    sigma: float = 0.1

    def draw(self, hidden, target, generator):
        return {name: self.sigma * torch.randn(h.shape, generator=generator) for name, h in hidden.items()}

    def apply(self, parameters, hidden, target):
        row_weight = torch.full((len(target),), 1 / len(target))
        weights = dict.fromkeys(hidden, torch.eye(len(target)))
        return powmix.Mixed({name: h + parameters[name] for name, h in hidden.items()}, target, row_weight, weights)

if __name__ == "__main__":
    powmix.main(model="lab_net")
"""
TINY = ["dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=3", "trainer.device=cpu"]


@pytest.fixture(autouse=True)
def nothing_stays_registered():
    """Each test registers for itself: what it adds is gone after it."""
    tables = (models.registry.MODELS, models.TITLES, mixers.MIXERS, mixers.TITLES, plugins._loaded)
    before, known = [dict(table) for table in tables], set(sys.modules)
    yield
    for table, content in zip(tables, before):
        table.clear()
        table.update(content)
    for name in {"a_lab", "bad_lab"} & (set(sys.modules) - known):
        del sys.modules[name]


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Path:
    """A plugin file in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_lab.py").write_text(LAB)
    return tmp_path / "a_lab.py"


@pytest.fixture
def powmix(lab, monkeypatch):
    """The command, run in this process beside the plugin."""

    def call(*arguments: str) -> Path:
        monkeypatch.setattr(sys, "argv", ["powmix", *arguments])
        main()
        return lab.parent

    return call


def results(folder: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("outputs/runs/*/result.json"))]


class Net(nn.Module):
    """A network with its own dropout and its own running statistics."""

    def __init__(self, inputs, rate: float = 0.4):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm1d(inputs.dims["text"]), nn.Dropout(rate)
        self.head = nn.Linear(inputs.dims["text"], inputs.outputs)

    def encode(self, batch):
        return {"text": self.drop(self.norm(batch["text"].mean(1)))}

    def fuse(self, hidden):
        return self.head(hidden["text"])


# --- registration -----------------------------------------------------------------------------------------------------


def test_a_registered_model_is_built_by_name_with_the_options_of_its_signature():
    register_model("net", Net)
    inputs = models.inputs_of(tiny_splits())
    assert models.defaults("net") == {"rate": 0.4} and models.needs("net") == ("*",)
    assert models.build("net", {"rate": 0.1}, inputs, {}).module.drop.p == 0.1
    with pytest.raises(ValueError, match=r"unknown option 'rat' \(did you mean rate\?\)"):
        models.build("net", {"rat": 0.1}, inputs, {})
    with pytest.raises(ValueError, match=r"model\.rate must be a number, got 'much'"):
        models.build("net", {"rate": "much"}, inputs, {})


def test_a_name_that_is_taken_is_refused_and_the_same_definition_may_come_again():
    register_model("net", Net)
    register_model("net", Net)
    for name in ("net", "mult"):
        with pytest.raises(ValueError, match=f"model '{name}' is registered already"):
            register_model(name, lambda inputs: nn.Linear(1, 1))
    with pytest.raises(ValueError, match="begins with a letter"):
        register_model("1 net", Net)


def test_a_mixer_becomes_a_dataclass_of_its_fields_and_anything_else_is_refused():
    @register_mixer("plain_mix", title="Plain")
    class PlainMix(Mixer):
        sigma: float = 0.5

    assert mixers.defaults("plain_mix") == {"p_mix": 1.0, "start_epoch": 0, "sigma": 0.5}
    assert mixers.build("plain_mix", {"sigma": 2.0}).sigma == 2.0 and mixers.TITLES["plain_mix"] == "Plain"
    assert mixers.option_mistakes({"name": "plain_mix", "sigma": "x", "p_mix": 2}) == [
        "mixer.sigma must be a number, got 'x'",
        "mixer.p_mix must be a number within [0, 1], got 2",
    ]
    with pytest.raises(ValueError, match=r"subclass of powmix\.Mixer"):
        register_mixer("no_mix", object)


def test_a_function_that_takes_anything_has_no_options_to_show():
    with pytest.raises(ValueError, match="has no name that a configuration could show"):
        register_model("wild", lambda inputs, **options: None)


# --- a plain module in training ---------------------------------------------------------------------------------------


def plain_training(folder: Path, splits=None, epochs: int = 4, module=Net):
    splits = splits or tiny_splits()
    inputs = models.inputs_of(splits)
    settings = Settings(max_epochs=epochs, early_stop=epochs, device="cpu", batch_size=16)
    return train(lambda: PlainModel(module(inputs), inputs), splits, mixers.build("none", {}), settings, 7, folder)


def test_dropout_of_a_plain_module_is_the_seeds_own(tmp_path):
    torch.manual_seed(1)
    first = plain_training(tmp_path / "a")
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    second = plain_training(tmp_path / "b")
    assert first["test"] == second["test"] and first["validation"] == second["validation"]
    assert torch.equal(state, torch.random.get_rng_state()), "torch's global generator was moved"


def test_a_plain_module_continues_to_the_last_bit(tmp_path, monkeypatch):
    whole = plain_training(tmp_path / "whole")
    from powmix.training.solver import Solver

    commit, done = Solver.commit, []

    def interrupted(self, row):
        commit(self, row)
        done.append(row)
        if len(done) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(Solver, "commit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        plain_training(tmp_path / "cut")
    monkeypatch.setattr(Solver, "commit", commit)
    torch.manual_seed(99)
    continued = plain_training(tmp_path / "cut")
    assert continued["test"] == whole["test"]
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("whole", "cut")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("encode", "fuse", "message"),
    [
        (lambda self, batch: batch["text"], None, "expected a dict of tensors, got \\(16, 5"),
        (lambda self, batch: {"text": batch["text"][:3]}, None, "'text': expected \\(16, ..., D\\), got \\(3, 5"),
        (None, lambda self, hidden: hidden["text"].mean(-1), "expected a prediction \\(16, 1\\), got \\(16,\\)"),
    ],
)
def test_what_a_plain_module_gives_is_checked(tmp_path, encode, fuse, message):
    class Wrong(Net):
        pass

    if encode:
        Wrong.encode = encode
    if fuse:
        Wrong.fuse = fuse
    with pytest.raises(ValueError, match=message):
        plain_training(tmp_path, module=Wrong)


def test_halves_of_other_names_are_named_at_registration(tmp_path):
    class Halves(nn.Module):
        def __init__(self, inputs):
            super().__init__()
            self.body, self.top = nn.Identity(), nn.Linear(3, 1)

    inputs = models.inputs_of(tiny_splits())
    register_model("halves", Halves)
    with pytest.raises(ValueError, match="has no encode and no fuse"):
        models.build("halves", {}, inputs, {})
    register_model("other_halves", Halves, encode="body", fuse="top")
    assert models.build("other_halves", {}, inputs, {}).names == ("body", "top")


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_file_is_loaded_once_and_noted_with_its_hash(lab):
    plugins.load(["a_lab.py"])
    plugins.load([str(lab)])
    [plugin] = plugins.loaded()
    assert plugin.path == lab and plugin.sha256 == plugins.source_sha256(lab)
    assert "lab_net" in models.registry.MODELS and mixers.MIXERS["lab_mix"].title == "lab_mix"


def test_a_module_of_the_working_directory_is_found_by_name(lab):
    plugins.load(["a_lab"])
    assert [plugin.path for plugin in plugins.loaded()] == [lab]


def test_what_is_wrong_with_a_plugin_is_told_in_one_line(lab):
    for name, message in {
        "a_lb.py": r"no file 'a_lb.py' \(did you mean a_lab.py\?\)",
        "nowhere_lab": "no module 'nowhere_lab'",
    }.items():
        with pytest.raises(ValueError, match=message):
            plugins.load([name])
    (lab.parent / "bad_lab.py").write_text("import powmix\n\nvalue = 1 / 0\n")
    with pytest.raises(ValueError, match=r"bad_lab\.py:3: ZeroDivisionError"):
        plugins.load(["bad_lab.py"])
    (lab.parent / "json.py").write_text("")
    with pytest.raises(ValueError, match="rename the file"):
        plugins.load(["json.py"])


def test_installed_packages_are_plugins_by_their_entry_point(lab, monkeypatch):
    point = SimpleNamespace(name="a_lab", module="a_lab", value="a_lab")
    monkeypatch.syspath_prepend(str(lab.parent))
    monkeypatch.setattr(plugins, "_installed", lambda: (point,))
    plugins.load_installed()
    assert "lab_net" in models.registry.MODELS


def test_all_plugins_of_a_command_stand_in_one_override_by_their_whole_paths(lab):
    assert with_plugins(["plugins=[a_lab.py,json]", "seeds=1"], ["my lab"]) == [
        "seeds=1",
        f"plugins=[{lab},json,'my lab']",
    ]
    with pytest.raises(ValueError, match="plugins must be a list"):
        with_plugins(["plugins={a: 1}"])


# --- the command line -------------------------------------------------------------------------------------------------


def test_a_plugin_works_on_the_command_line_like_what_is_built_in(powmix, capsys):
    where = powmix("plugins=[a_lab.py]", *TINY, "model=lab_net", "model.width=4", "mixer=lab_mix", "seeds=1")
    [result] = results(where)
    assert result["variant"]["model"] == "lab_net" and result["variant"]["task"] == "regression"
    assert result["provenance"]["plugins"] == {"a_lab.py": plugins.source_sha256(where / "a_lab.py")}
    assert result["objective_metric"] == "MAE" and "Lab net" in capsys.readouterr().out
    powmix("-m", "plugins=[a_lab.py]", *TINY, "model=lab_net", "model.width=4", "mixer=none,lab_mix", "seeds=1")
    assert len(results(where)) == 2, "the plugin's run was found again, and one was new"


def test_options_of_a_plugin_are_shown_and_typos_in_them_named(powmix, capsys):
    powmix("plugins=[a_lab.py]", "model=lab_net", "--cfg", "job")
    assert "name: lab_net\n  width: 8\n  rate: 0.3\n" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        powmix("plugins=[a_lab.py]", "model=lab_net", "model.widht=4", "mixer=lab_mix", "mixer.sigma=wide")
    told = capsys.readouterr().err
    assert stopped.value.code == WRONG and "(did you mean model.width?)" in told
    with pytest.raises(SystemExit):
        powmix("plugins=[a_lab.py]", "model=lab_net", "mixer=lab_mix", "mixer.sigma=wide")
    assert "mixer.sigma must be a number, got 'wide'" in capsys.readouterr().err


def test_seeds_that_an_earlier_version_of_a_plugin_trained_are_told_of(powmix, lab, capsys):
    powmix("plugins=[a_lab.py]", *TINY, "model=lab_net", "seeds=1")
    lab.write_text(LAB.replace("nn.ReLU()", "nn.Tanh()"))
    plugins._loaded.clear()
    sys.modules.pop("a_lab")
    powmix("plugins=[a_lab.py]", *TINY, "model=lab_net", "seeds=1")
    assert "has changed since seeds of this run were finished" in capsys.readouterr().out


def test_a_users_config_folder_brings_groups_recipes_and_presets(powmix, tmp_path, capsys):
    own = tmp_path / "my_conf"
    for name, text in {
        "dataset/small.yaml": (
            "defaults: [synthetic, _self_]\nname: synthetic\nsizes: {train: 60, valid: 30, test: 30}\n"
        ),
        "sweeps/mine.yaml": (
            "# @package _global_\ndefaults:\n  - override /dataset: small\nseeds: 1\ntrainer: {max_epochs: 2}\n"
            "hydra:\n  sweeper:\n    params:\n      mixer: none,powmix\n"
        ),
    }.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_text(text)
    powmix("--config-dir", "my_conf", "-m", "sweeps=mine", "trainer.device=cpu")
    found = results(tmp_path)
    assert [one["variant"]["mixer"] for one in sorted(found, key=lambda one: one["variant"]["mixer"])] == [
        "none",
        "powmix",
    ]
    assert found[0]["provenance"]["dataset"]["sizes"] == [60, 30, 30]
    capsys.readouterr()
    powmix("--config-dir", "my_conf", "dataset=small", "--cfg", "job")
    composed = capsys.readouterr().out
    assert "text_hidden: 48" in composed, "the recipe of what the file calls itself: lf_dnn on synthetic"
    folders = config_folders(["hydra.searchpath=[my_conf]"])
    offer(folders)
    assert folders == [f"file://{own}"]
    [error] = check_command(["dataset=smal"], folders)
    assert "did you mean small?" in error


@pytest.mark.slow
def test_a_script_that_ends_in_main_is_killed_and_continued_in_worker_processes(lab):
    command = [sys.executable, "a_lab.py", "-m", *TINY, "mixer=none,lab_mix", "seeds=6", "sweep=mine"]
    command += ["hydra/launcher=processes", "trainer.max_epochs=20", "trainer.early_stop=20"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=lab.parent, env=environment, start_new_session=True)
    runs = lab.parent / "outputs/runs"
    deadline = time.monotonic() + 120
    while not list(runs.glob("*/seed_*/result.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {path: path.stat().st_mtime_ns for path in runs.glob("*/seed_*/weights.safetensors")}
    before = {path: when for path, when in before.items() if path.with_name("result.json").is_file()}
    assert before
    done = subprocess.run(command, cwd=lab.parent, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert [len(result["seeds"]) for result in results(lab.parent)] == [6, 6]
    assert {path: path.stat().st_mtime_ns for path in before} == before, "finished seeds were trained again"
