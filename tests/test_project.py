"""What a stranger meets first: the version, completion, the wheel, the documentation, the files around the code."""

import os
import re
import signal
import subprocess
import sys
import tarfile
import time
import tomllib
import venv
from pathlib import Path

import commands
import hydra
import pytest
import yaml
from conftest import REPOSITORY

import powmix
from powmix.__main__ import main
from powmix.command.exits import INTERRUPTED

PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))


def test_the_version_is_powmixs(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["powmix", "--version"])
    main()
    assert capsys.readouterr().out == f"powmix {PYPROJECT['project']['version']} (Hydra {hydra.__version__})\n"
    assert powmix.__version__ == PYPROJECT["project"]["version"]


def test_tab_completes_options_and_keys(tmp_path):
    def completed(line: str) -> set[str]:
        words, told = ("-m", "powmix", "-sc", "query=bash"), {"COMP_LINE": line, "COMP_POINT": str(len(line))}
        return set(commands.run(tmp_path, *words, **told).split())

    assert completed("powmix model=m") == {"model=mag_bert", "model=misa", "model=mult"}
    assert completed("powmix -m sweeps=fig") == {f"sweeps=figure{n}" for n in range(3, 9)}


@pytest.mark.slow
def test_an_interrupted_search_lists_its_trial_as_given_back(tmp_path):
    long = ["trainer.max_epochs=2000", "trainer.early_stop=2000", "trainer.device=cpu", "seeds=1"]
    search = ["-m", "sweeps=p_mix", "dataset=synthetic", "model=lf_dnn"]
    process = commands.start(tmp_path, "-m", "powmix", *search, *long)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("outputs/runs/*/seed_1111/checkpoint.pt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "interrupted, given back to the study; the same command continues it" in said
    assert "KeyboardInterrupt" not in said


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The commands of a fresh environment into which the wheel is installed, built from what the sdist holds."""
    pytest.importorskip("hatchling")
    pytest.importorskip("hatch_fancy_pypi_readme")
    place = tmp_path_factory.mktemp("wheel")

    def build(kind: str, source: Path) -> Path:
        command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(place)]
        subprocess.run(command, cwd=source, check=True, capture_output=True)
        [found] = place.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind])
        return found

    with tarfile.open(build("sdist", REPOSITORY)) as archive:
        archive.extractall(place, filter="data")
    wheel = build("wheel", place / f"powmix-{powmix.__version__}")
    venv.create(place / "env", with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "env/bin/python")]
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    # The dependencies are those of the running environment; what is installed in the new one comes first.
    [site] = (place / "env").glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text("\n".join(path for path in sys.path if "site-packages" in path))
    return place / "env/bin"


@pytest.mark.slow
def test_the_wheel_works_in_a_fresh_environment_from_another_folder(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(command: str, *arguments: str) -> str:
        ran = subprocess.run(
            [installed / command, *arguments],
            cwd=tmp_path,
            env=environment,
            text=True,
            capture_output=True,
            timeout=300,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    where = run("python", "-c", "from powmix import places; print(places.PACKAGE, places.CONF)").split()
    assert all(Path(path).is_relative_to(installed.parent) for path in where)
    assert run("powmix", "--version").startswith(f"powmix {powmix.__version__} ")
    tiny = ["dataset.sizes={train: 60, valid: 30, test: 30}", "trainer.max_epochs=1", "seeds=1", "trainer.device=cpu"]
    assert "PowMix" in run("powmix", "dataset=synthetic", "model=lf_dnn", *tiny)
    search = ["sweeps=p_mix", "hydra.sweeper.n_trials=2", "dataset=synthetic", "model=lf_dnn"]
    said = run("powmix", "-m", *search, *tiny)
    assert "2 trials: 2 complete" in said and "validation MAE" in said
    assert "PowMix" in run("powmix-report", "outputs", "--figures", "none")
    for name in PYPROJECT["project"]["scripts"]:
        assert "powmix" in run(name, "--help")


def test_links_of_the_package_index_are_absolute_and_name_one_repository():
    repository = PYPROJECT["project"]["urls"]["Repository"]
    text = (REPOSITORY / "README.md").read_text("utf-8")
    for rule in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        assert f"]({repository}/" in rule["replacement"]
        text = re.sub(rule["pattern"], rule["replacement"], text)
    assert f"]({repository}/raw/main/docs/pictures/demo.png)" in text
    assert not re.findall(r"\]\((?!https://)[^)]*\)", text)
    named = "\n".join(
        (REPOSITORY / name).read_text("utf-8") for name in ("pyproject.toml", "mkdocs.yml", "CITATION.cff")
    )
    assert set(re.findall(r"https://github\.com/[\w.-]+/powmix", named)) == {repository}
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    assert cited["repository-code"] == repository and cited["version"] == powmix.__version__


@pytest.mark.slow
def test_the_documentation_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings_handlers.python")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=REPOSITORY, env=environment, text=True, capture_output=True)
    assert built.returncode == 0 and "WARNING" not in built.stderr, built.stderr
    pages = {path.relative_to(tmp_path): path.read_text("utf-8") for path in tmp_path.rglob("*.html")}
    assert "register_model" in pages[Path("api/index.html")] and "PowMix" in pages[Path("index.html")]
    for page, text in pages.items():
        fetched = re.findall(r"<(?:script|img|link rel=\"?stylesheet)[^>]*(?:src|href)=\"?(?:https?:)?//[^ >]*", text)
        assert not fetched, page
        prose = re.sub(r"<pre>.*?</pre>", "", text, flags=re.DOTALL)
        assert not re.search(r"<p>[^<]*\n(- |\|)", prose), f"{page}: a list or a table is shown as a paragraph"


def test_the_dockerfile_has_known_instructions_and_copies_what_the_wheel_is_built_from():
    text = re.sub(r"^#.*\n", "", (REPOSITORY / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    lines = [line.split() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    assert {words[0] for words in lines} <= {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT"}
    stages = [words[-1] for words in lines if words[0] == "FROM" and "AS" in words]
    copied = [words[1:-1] for words in lines if words[0] == "COPY"]
    from_stages = [words[0].partition("=")[2] for words in copied if words[0].startswith("--from=")]
    sources = [name for words in copied if not words[0].startswith("--") for name in words]
    assert stages == from_stages == ["wheel"] and sources == ["."]
    let_in = re.findall(r"^!(.+)$", (REPOSITORY / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    assert all((REPOSITORY / name).exists() for name in let_in)
    readme = [
        part["path"] for part in PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["fragments"]
    ]
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {*readme, *wheel["force-include"], *wheel["packages"], *PYPROJECT["project"]["license-files"]}
    presets = (REPOSITORY / "conf/sweeps").resolve().name  # a link
    assert {name.partition("/")[0] for name in needed} | {"pyproject.toml", presets} <= {*let_in}
    assert ["ENTRYPOINT", '["powmix"]'] in lines and "powmix" in PYPROJECT["project"]["scripts"]


def test_the_workflow_runs_the_makefiles_targets_on_the_versions_that_the_package_names():
    workflow = yaml.safe_load((REPOSITORY / ".github/workflows/test.yml").read_text("utf-8"))
    named = [one.rpartition(" ")[2] for one in PYPROJECT["project"]["classifiers"] if "Python :: 3." in one]
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == named
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.MULTILINE))
    ran = [step["run"].split() for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    asked = {word for words in ran for word in words[1:] if "=" not in word}
    assert asked == {"test", "lint", "docs"} <= targets and {words[0] for words in ran} == {"make"}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def test_every_link_of_the_pages_leads_somewhere():
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md"), REPOSITORY / "benchmarks/README.md"]
    links = [
        (page, target)
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)[^)]*\)", without_code(page.read_text("utf-8")))
    ]
    assert len(links) > 20
    assert not [(str(page), target) for page, target in links if not (page.parent / target).exists()]
