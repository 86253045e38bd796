"""What the command writes: tables in every format, the page, the figures, the published numbers."""

import csv
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import pytest
import report_runs as fabricate

from powmix.report import describe, formats, published, terminal, write_comparison
from powmix.report.__main__ import main
from powmix.report.building import build
from powmix.runs import collection


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A sweep's folder after `powmix-report`."""
    root = tmp_path_factory.mktemp("outputs")
    sweep = fabricate.write_demo(root)
    assert main([str(sweep), "--paper"]) == 0
    return sweep


class Page(HTMLParser):
    """Collects what a page refers to, and checks that its tags close in order."""

    VOID = ("meta", "link", "br", "img", "hr")

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.open, self.svg, self.tables = [], [], [], [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if tag == "a" else []
        self.loads += [found[k] for k in ("src", "href") if k in found and tag != "a"]
        self.svg += tag == "svg"
        self.tables += tag == "table"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        found = dict(attributes)
        self.ids += [found["id"]] if "id" in found else []
        self.loads += [found["src"]] if "src" in found else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_opens_offline_and_every_number_links_to_its_run(demo):
    text = (demo / "report.html").read_text()
    page = Page(text)
    assert page.open == []
    assert page.svg == 5 and page.tables >= 5
    assert len(page.ids) == len(set(page.ids))
    anchors = {link[1:] for link in page.links if link.startswith("#")}
    assert anchors and anchors <= set(page.ids)
    assert page.loads == ["data:,"]
    assert not re.search(r"url\((?!#)|@import|fetch\(|XMLHttpRequest", text)
    outside = {link for link in page.links if link.startswith("http")}
    assert outside == {"https://arxiv.org/abs/2312.12334", "https://github.com/thuiar/MMSA"}
    folders = [link for link in page.links if not link.startswith(("#", "http"))]
    assert folders and all((demo / folder).exists() or "seed_" in folder for folder in folders)


def test_the_page_names_commands_seeds_git_fallbacks_and_failures(demo):
    text = (demo / "report.html").read_text()
    for expected in (
        "powmix dataset=synthetic model=mult mixer=powmix",
        "1111, 1112, 1113, 1114, 1115",
        "0123456789abcdef",
        "3.10%",
        "RuntimeError: CUDA out of memory",
        "too few (n=5)",
    ):
        assert expected in text


def test_a_page_cannot_be_broken_by_names(tmp_path):
    run = fabricate.write_run(tmp_path, "powmix", overrides=('x=<script>alert("&")</script>',), dataset="<i>&")
    assert main([str(run), "--out", str(tmp_path / "out"), "--figures", "none"]) == 0
    text = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in text and "<i>&" not in text
    Page(text)


def test_csv_holds_unrounded_numbers_and_their_statistics(demo):
    rows = list(csv.DictReader((demo / "table.csv").open()))
    assert len(rows) == 12
    [powmix] = [r for r in rows if (r["dataset"], r["model"], r["mixer"]) == ("synthetic", "mult", "powmix")]
    record = next(r for r in collection.read([demo]).records if r.signature == powmix["signature"])
    values = list(record.values("MAE").values())
    assert float(powmix["MAE_mean"]) == pytest.approx(sum(values) / 5, abs=1e-15)
    assert float(powmix["MAE_difference"]) < 0 < float(powmix["Corr_difference"])
    long = list(csv.DictReader((demo / "statistics.csv").open()))
    assert len(long) == 12 * 6
    tested = [r for r in long if r["mixer"] == "powmix"]
    assert all(r["p_t_holm"] and not r["p_wilcoxon"] and "too few for Wilcoxon" in r["reason"] for r in tested)


def test_latex_escapes_and_carries_emphasis(tmp_path):
    assert formats.escape_latex(r"50%_a&b#{}~^\ −") == (
        r"50\%\_a\&b\#\{\}\textasciitilde{}\textasciicircum{}\textbackslash{} $-$"
    )
    fabricate.write_run(tmp_path, "none", {1: 0.90, 2: 0.80})
    fabricate.write_run(
        tmp_path, "powmix", {1: 0.80, 2: 0.70}, overrides=("mixer.n_out=64",), config={"mixer.n_out": 64}
    )
    fabricate.write_run(
        tmp_path, "powmix", {1: 0.95, 2: 0.85}, overrides=("mixer.n_out=16",), config={"mixer.n_out": 16}
    )
    text = formats.latex(build(collection.read([tmp_path]).records))
    assert r"MAE $\downarrow$" in text and r"Corr $\uparrow$" in text
    assert r"\quad + PowMix (n\_out=64) & 2 &" in text
    assert r"\textbf{0.750}\,{\scriptsize$\pm$0.071}" in text
    assert r"\textit{0.900}\,{\scriptsize$\pm$0.071}" in text and "color" not in text
    assert text.count(r"\begin{tabularx}{\linewidth}{@{}Xrcccccc@{}}") == text.count(r"\end{tabularx}") == 1
    assert r"\toprule" in text and r"\bottomrule" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex here")
def test_the_tables_fit_a_two_column_article(tmp_path):
    sweep = fabricate.write_many(tmp_path)
    assert main([str(sweep), "--figures", "none", "--paper"]) == 0
    tables = (sweep / "table.tex").read_text()
    assert r"PowMix (n\_out=1024, p\_mix=0.333)" in tables and "$^+$" in tables and "$^-$" in tables
    (tmp_path / "paper.tex").write_text(
        r"\documentclass[twocolumn]{article}\usepackage[T1]{fontenc}\usepackage{booktabs,tabularx,graphicx,amssymb}"
        + "\n\\begin{document}\n"
        + tables
        + "\n\\end{document}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "paper.log").read_text(errors="replace")
    assert [float(points) for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", log) if float(points) > 5] == []
    assert "Float too large" not in log


def test_markdown_shows_scores_and_differences_in_every_metric(demo):
    text = (demo / "table.md").read_text()
    assert "| PowMix | 5 | **63.72 ± 0.93** |" in text
    assert "Difference to no mixing, paired by seed, [95% CI]:" in text
    assert "demo job 12: job=12: failed, RuntimeError: CUDA out of memory" in text


@pytest.mark.parametrize("width", [80, 120, 150])
def test_the_terminal_table_fits_and_keeps_its_labels(demo, width):
    text = terminal.render(build(collection.read([demo]).records), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "Manifold MixUp" in text and "[−0.040, −0.034]" in text


def test_a_sweep_ends_with_its_comparison(tmp_path):
    runs = [
        fabricate.write_run(tmp_path, "none", fabricate.errors(0.86)),
        fabricate.write_run(tmp_path, "powmix", fabricate.errors(0.82, shift=3)),
        fabricate.write_run(tmp_path, "multimix", {1111: 0.9}, status="running"),
        None,
    ]
    sweep = fabricate.write_sweep(tmp_path, "mine", runs, {3: "ValueError: boom"})
    text = write_comparison(sweep, width=120)
    assert "PowMix" in text and "It is better." in text
    assert "mine job 3: job=3: failed, ValueError: boom" in text
    assert "running, not finished yet, or killed (1 seed finished)" in text
    for name in ("table.md", "table.csv", "comparison.png", "comparison.svg"):
        assert (sweep / name).stat().st_size > 200
    assert not list(sweep.glob(".*"))


def test_a_sweep_without_a_finished_seed_still_says_why(tmp_path):
    sweep = fabricate.write_sweep(tmp_path, "mine", [None], {0: "ValueError: boom"})
    assert "No seed has finished." in write_comparison(sweep)
    assert "ValueError: boom" in (sweep / "table.md").read_text()


def test_a_single_run_is_described(tmp_path):
    text = describe(fabricate.write_run(tmp_path, "powmix", {1: 0.8, 2: 0.9}), width=120)
    assert "0.850±0.071" in text or "0.850 ± 0.071" in text
    assert "Δ" not in text


def test_figure_files_lie_beside_the_page(demo):
    for name in ("figure2", "training", "mixing"):
        assert (demo / "figures" / f"{name}.svg").is_file() and (demo / "figures" / f"{name}.png").is_file()


FILLED = """
schema: 1
sources: {powmix: {citation: A paper, url: "https://example.org/paper"}}
tables:
  table2:
    title: Table 2
    source: powmix
    unit: printed
    rows:
      - {dataset: sims, model: mult, metrics: {Mult_acc_5: 38.00, MAE: 0.4500}}
      - {dataset: sims, model: mult, mixer: powmix, metrics: {Mult_acc_5: 39.50, MAE: 0.4400}}
  table3:
    title: Table 3
    source: powmix
    unit: printed
    rows:
      - {dataset: mosi, model: misa, mixer: powmix, ablation: no_mask, metrics: {Mult_acc_7: 41.10, MAE: 0.770}}
"""


def test_published_numbers_stand_beside_ours_with_the_difference(tmp_path):
    (tmp_path / "paper.yaml").write_text(FILLED)
    found = fabricate.write_run(tmp_path, "powmix", {1: 0.5, 2: 0.5}, dataset="sims", keys=fabricate.SIMS)
    options = ["--paper-file", str(tmp_path / "paper.yaml"), "--out", str(tmp_path / "out"), "--figures", "none"]
    assert main([str(found), *options]) == 0
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| *published: Table 2* |  | — | — | 0.4400 | — | 39.50 | — |" in text
    assert "| *ours − published* |  | — | — | +0.060 | — | +35.50 | — |" in text
    assert "| + PowMix | **39.50** | **0.4400** |" in text
    assert "| ✓ | ✓ | ✓ | ✓ | 41.10 | 0.770 |" in text
    assert "published: Table 2" in (tmp_path / "out" / "table.tex").read_text()
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "#source-powmix" in page.links and "source-powmix" in page.ids


def test_a_wrong_entry_in_the_paper_file_is_named(tmp_path):
    (tmp_path / "p.yaml").write_text(FILLED.replace("model: misa", "model: missa"))
    with pytest.raises(ValueError, match=r"table3: model must be one of .* got 'missa' \(did you mean misa\?\)"):
        published.load(tmp_path / "p.yaml")
    (tmp_path / "p.yaml").write_text(FILLED.replace("39.50", "39,50%"))
    with pytest.raises(ValueError, match="must be a number"):
        published.load(tmp_path / "p.yaml")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--fgures", "none"], "(did you mean --figures?)"),
        (["--figures", "trainin"], "(did you mean training?)"),
        (["--metric", "MEA"], "(did you mean MAE?)"),
    ],
)
def test_mistakes_end_in_one_line_with_the_nearest_and_exit_2(demo, capsys, arguments, expected):
    try:
        code = main([str(demo), *arguments])
    except SystemExit as exit_:
        code = exit_.code
    message = capsys.readouterr().err
    assert code == 2
    assert expected in message and message.count("\n") == 1


def test_another_metric_can_lead(tmp_path, capsys):
    fabricate.write_run(tmp_path, "none", {1: 0.9, 2: 0.8, 3: 0.85})
    fabricate.write_run(tmp_path, "powmix", {1: 0.86, 2: 0.78, 3: 0.80})
    assert main([str(tmp_path), "--metric", "acc-7", "--out", str(tmp_path / "out"), "--figures", "comparison"]) == 0
    assert "test Acc-7 +" in capsys.readouterr().out


def test_the_report_imports_no_torch_and_help_imports_nothing_heavy(demo, tmp_path):
    code = (
        "import sys; from powmix.report.__main__ import main\n"
        "heavy = {'torch', 'scipy', 'matplotlib', 'pandas', 'hydra', 'rich'}\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        f"assert main([{str(demo)!r}, '--out', {str(tmp_path)!r}, '--figures', 'training']) == 0\n"
        "assert not {'torch', 'hydra', 'wandb', 'optuna'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_wide_csv_of_no_rows_has_a_head():
    assert formats.wide_csv(build([])).startswith("dataset,model,")
