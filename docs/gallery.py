"""The gallery: every table and figure from the synthetic corpus, by the public commands alone.

    make gallery                                    half an hour on two CPU cores; finished runs are not trained again
    python docs/gallery.py --outputs DIR --jobs N   the same, with its runs elsewhere and N variants at a time
    python docs/gallery.py --only figure3,table2    these alone; the page keeps its other sections

It trains under outputs/, and writes docs/gallery/ (README.md and its pictures) and docs/pictures/demo.png.
"""

import argparse
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import yaml
from PIL import Image

from powmix.mistakes import refuse, unknown
from powmix.report.analyses import QUESTIONS

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/gallery/README.md"
SMALL = ("seeds=3", "dataset.aligned=true", "trainer.max_epochs=20", "trainer.early_stop=5")
TINY = (
    "seeds=3",
    "dataset.aligned=true",
    "dataset.sizes={train:200,valid:100,test:150}",
    "trainer.max_epochs=10",
    "trainer.early_stop=5",
)
"""SMALL for what trains in minutes, TINY for the large architectures; whatever trains the same shares its runs."""


@dataclass(frozen=True)
class Exhibit:
    """One picture: powmix-report's `figure` of a sweep; `own` is what the sweep is given here beside `size`.

    text: where the sweep's own header is not about this picture.
    """

    name: str
    title: str
    sweep: str
    figure: str
    own: tuple[str, ...] = ()
    size: tuple[str, ...] = SMALL
    text: str = ""


SYNTHETIC = ("dataset=synthetic",)
LF_DNN = (*SYNTHETIC, "model=lf_dnn")
HULL = """What mixing reaches of the convex hull of seven examples: pairs only its chords, triplets and quadruplets the
triangles between, all of them a cloud around the centre. It is drawn from a seed and needs no runs."""
SCHEME = """The paper's three models as this code builds them: encoders, the hidden vectors where mixing acts, fusion.
It is read off the models and needs no runs."""
PROPERTIES = """The paper's Table 1, read off the models as this code builds them: whether BERT learns, the layers
before fusion, whether another modality's input changes a hidden vector, the number of losses."""
TRAINING = "Training and validation loss by epoch of Table 3's runs, for every variant."
LAW = """How many examples PowMix mixes into one (K), and what each mixer makes of the labels: simulated from the law of
Table 3's PowMix variant and the labels of its test split. Mixed labels crowd in the middle; more examples, more so."""
EXHIBITS = (
    Exhibit("demo", "The demo: two real tasks", "demo", "comparison", size=()),
    Exhibit("table2", "Table 2: architectures and mixers", "table2", "comparison", size=TINY),
    Exhibit("table3", "Table 3: PowMix less one component", "table3", "comparison", LF_DNN),
    Exhibit("table1", "Table 1: properties of the models", "table3", "table1", LF_DNN, text=PROPERTIES),
    Exhibit("figure1", "Figure 1: encoders, mixing, fusion", "table3", "figure1", LF_DNN, text=SCHEME),
    Exhibit("figure2", "Figure 2: the convex hull", "table3", "figure2", LF_DNN, text=HULL),
    Exhibit("figure3", "Figure 3: subset ranges", "figure3", "figure3", LF_DNN),
    Exhibit("figure4", "Figure 4: number of generated examples", "figure4", "figure4", LF_DNN),
    Exhibit("figure5", "Figure 5: unimodal probes", "figure5", "figure5", SYNTHETIC, TINY),
    Exhibit("figure6", "Figure 6: noise", "figure6", "figure6", SYNTHETIC, TINY),
    Exhibit("figure7", "Figure 7: text dominance", "figure7", "figure7", SYNTHETIC, TINY),
    Exhibit("figure8", "Figure 8: limited data", "figure8", "figure8", LF_DNN),
    Exhibit("regularity", "Regularity", "regularity", "regularity", ("model=mult,self_mm",), TINY),
    Exhibit("training", "Training curves", "table3", "training", LF_DNN, text=TRAINING),
    Exhibit("mixing", "K and the mixed labels", "table3", "mixing", LF_DNN, text=LAW),
)

HEAD = """# Gallery

Tables 1 to 3 and Figures 1 to 8 of the paper, and ours, as powmix draws them; [paper.md](../paper.md) says which
command makes each on the paper's own models and data. `make gallery` has made this page, its pictures and the
README's by the public commands alone; on two CPU cores it takes half an hour. What mixers do over real tasks, and where
the variance of a comparison comes from, is in [atlas.md](../atlas.md).

**What these numbers are.** The demo's are of real data and 20 seeds. All others are of a made-up corpus and three
seeds: LF-DNN on 600 clips (300 to test) for at most 20 epochs; MulT, MISA and Self-MM (Table 2, Figures 5 to 7,
Regularity) on 200 clips (150 to test) for at most 10, which is too little for them to learn much. They show what the
commands give and decide nothing about the mixers: on three seeds every verdict is "undecided", and names the number of
seeds that would decide ([verdicts.md](../verdicts.md)). Means, standard deviations (ddof 1) and Student's 95% intervals
are over seeds; differences are to no mixing, paired by seed; p-values carry Holm's correction.

**Your own.** Below each picture stand the commands that make it for real data, at full size (`powmix-data where` says
where the data come from). `powmix-report outputs` reads whatever has been trained, also while a sweep is running, and
writes one page with every table and every figure that the runs allow.
"""


class Header(NamedTuple):
    """What a preset says of itself, for the page."""

    prose: str
    commands: list[str]
    analyses: list[str]


def main() -> None:
    options = parser().parse_args()
    PAGE.parent.mkdir(exist_ok=True)
    exhibits = chosen(options.only)
    kept = written() if options.only else {}
    train(exhibits, options.outputs, options.jobs)
    made = {one.title: section(one, report(one, options.outputs)) for one in exhibits}
    sections = [found for one in EXHIBITS if (found := (kept | made).get(one.title))]
    PAGE.write_text("\n".join([HEAD, contents(), *sections]), encoding="utf-8")
    print(f"Written to {PAGE.parent}: {', '.join(one.name for one in exhibits)}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("--outputs", type=Path, default=Path("outputs"), metavar="DIR", help="where runs are kept")
    made.add_argument("--jobs", type=int, default=2, metavar="N", help="variants at a time (default: %(default)s)")
    made.add_argument("--only", default="", metavar="NAMES", help="comma list of pictures (default: all)")
    return made


def chosen(names: str) -> tuple[Exhibit, ...]:
    """The exhibits of a comma list, all where it is empty; ValueError names the nearest."""
    given = names.split(",") if names else []
    refuse(unknown(given, [one.name for one in EXHIBITS], "picture"), "--only")
    return tuple(one for one in EXHIBITS if one.name in given or not given)


def written() -> dict[str, str]:
    """The page's sections as they are, by title."""
    _, *sections = re.split(r"^(?=## )", PAGE.read_text("utf-8"), flags=re.MULTILINE)
    return {text.partition("\n")[0].removeprefix("## "): text.rstrip("\n") + "\n" for text in sections}


def train(exhibits: Sequence[Exhibit], outputs: Path, jobs: int) -> None:
    """Every sweep once; what is finished is found again."""
    launcher = ("hydra/launcher=processes", f"hydra.launcher.n_jobs={jobs}")
    place = f"outputs={outputs}"
    for exhibit in {exhibit.sweep: exhibit for exhibit in exhibits}.values():
        run(*command(exhibit), f"sweep={folder(exhibit.sweep)}", *launcher, place)


def command(exhibit: Exhibit) -> tuple[str, ...]:
    """The sweep's command at the gallery's size."""
    return ("powmix", "-m", f"sweeps={exhibit.sweep}", *exhibit.own, *exhibit.size)


def folder(sweep: str) -> str:
    return sweep if sweep == "demo" else f"gallery/{sweep}"


def run(program: str, *arguments: str) -> None:
    print("$", shlex.join([program, *arguments]), flush=True)
    subprocess.run([Path(sys.executable).with_name(program), *arguments], check=True)


def report(exhibit: Exhibit, outputs: Path) -> str:
    """powmix-report's picture beside the page, and its table as Markdown."""
    sweep = str(outputs / "sweeps" / folder(exhibit.sweep))
    out = outputs / "gallery" / exhibit.name
    run("powmix-report", sweep, "--figures", exhibit.figure, "--out", str(out))
    drawn = out / ("comparison.png" if exhibit.figure == "comparison" else f"figures/{exhibit.figure}.png")
    colours = Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    colours.save(picture(exhibit), optimize=True)  # a third of its size, to the eye the same
    return (out / "table.md").read_text("utf-8")


def picture(exhibit: Exhibit) -> Path:
    """The demo's is the main README's, too."""
    return ROOT / "docs" / ("pictures" if exhibit.name == "demo" else "gallery") / f"{exhibit.name}.png"


def contents() -> str:
    links = (f"[{exhibit.title}](#{anchor(exhibit.title)})" for exhibit in EXHIBITS)
    return " · ".join(links) + "\n"


def anchor(title: str) -> str:
    """GitHub's: lower case, hyphens for spaces, no other punctuation."""
    return "".join("-" if c == " " else c for c in title.lower() if c.isalnum() or c in " -_")


def section(exhibit: Exhibit, table: str) -> str:
    """Picture, what it shows, verdicts, the command for real data, and folded the numbers behind it."""
    about = header(exhibit.sweep)
    parts = [
        f"## {exhibit.title}",
        f"![{exhibit.title}]({os.path.relpath(picture(exhibit), PAGE.parent)})",
        exhibit.text or about.prose,
        "" if exhibit.text else verdicts(about.analyses, table),
        block(*([] if exhibit.text else about.commands), f"powmix-report outputs --figures {exhibit.figure}"),
        "" if exhibit.text else folded(exhibit, "" if about.analyses else table.partition("\n## ")[2]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def verdicts(analyses: Sequence[str], table: str) -> str:
    """The report's sentences on these analyses; where there is none, those on the test metrics."""
    sentences = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("- ")]
    own = [line for line in sentences if line.startswith(tuple(f"- {QUESTIONS[name].subject}" for name in analyses))]
    others = [
        line for line in sentences if not line.startswith(tuple(f"- {one.subject}" for one in QUESTIONS.values()))
    ]
    return "\n".join(own if analyses else others)


def folded(exhibit: Exhibit, numbers: str) -> str:
    """The sweep's command at the gallery's size, and its tables one heading lower."""
    tables = "\n".join(f"##{line}" if line.startswith("#") else line for line in f"## {numbers}".splitlines())
    summary = f"<details><summary>The command at this size{', and its numbers' if numbers else ''}</summary>"
    return "\n\n".join([summary, block(shlex.join(command(exhibit))), *([tables] if numbers else []), "</details>"])


def block(*lines: str) -> str:
    return "\n".join(["```", *lines, "```"])


def header(sweep: str) -> Header:
    """A preset's own words; its commands are those for real data (the demo's, for the synthetic corpus)."""
    text = (ROOT / f"sweeps/{sweep}.yaml").read_text("utf-8")
    comments = [line.removeprefix("#") for line in text.splitlines()[1:] if line.startswith("#")]
    commands = [line.strip() for line in comments if line.startswith("   ")]
    prose = " ".join(line.strip() for line in comments if not line.startswith("   "))
    real = [line for line in commands if "dataset.path" in line]
    return Header(prose, real or commands[:1], yaml.safe_load(text).get("analyses", []))


if __name__ == "__main__":
    main()
