"""The paper's numbers: every digit as printed, beside the row of ours that has its settings, with the seeds needed."""

import json
import re

import pytest
import report_runs as fabricate
import yaml

from powmix.metrics import statistics
from powmix.report import published
from powmix.report.__main__ import main
from powmix.report.building import build
from powmix.report.lines import lines
from powmix.report.paper_tables import needs, paper_tables
from powmix.report.published import Published
from powmix.runs import collection

MIXERS = ("none", "manifold_mixup", "multimix", "powmix")
ABLATIONS = ("isotropic", "no_reweighting", "own_masks", "static")


def write_tables(root):
    """Runs for the 36 rows of Table 2 and the five of Table 3, whose first is Table 2's."""
    for dataset in ("mosi", "mosei", "sims"):
        keys = fabricate.SIMS if dataset == "sims" else fabricate.MOSI
        for model in ("mult", "misa", "self_mm"):
            for i, mixer in enumerate(MIXERS):
                found = fabricate.errors(0.8 - 0.01 * i, shift=i)
                fabricate.write_run(root, mixer, found, dataset=dataset, model=model, keys=keys)
    for i, ablation in enumerate(ABLATIONS):
        found = fabricate.errors(0.79, shift=9 + i)
        fabricate.write_run(root, "powmix", found, dataset="mosei", model="self_mm", ablation=ablation)


def table_of(root):
    return build(collection.read([root]).records)


def of_table(name):
    return next(table for table in published.load() if table.name == name)


def labelled(root, tuned=None):
    """{what a published line of MOSEI's Self-MM says: the label of the row above it}, None for one by itself."""
    [section] = table_of(root).sections
    above, found = None, {}
    for line in lines(section, section.blocks[0], Published(published.load(), tuned or {})):
        if line.kind == "row":
            above = line.label
        elif line.kind == "published":
            alone = "Self-MM" in line.label
            found.setdefault(line.cells[0].mean, []).append(None if alone else above)
    return found


def test_every_cell_is_the_papers(shared):
    theirs = yaml.load((shared / "paper/tables.yaml").read_text("utf-8"), Loader=yaml.BaseLoader)["tables"]
    ours = {table.name: table.rows for table in published.load()}
    for name, n_cells in (("table2", 192), ("table2_literature", 72), ("table3", 15)):
        rows = [{"mixer": "none", "ablation": None, **row} for row in theirs[name]["rows"]]
        cells = [(row["dataset"], row["model"], row["mixer"], row["ablation"], row["metrics"]) for row in rows]
        assert cells == [(r.dataset, r.model, r.mixer, r.ablation, r.text) for r in ours[name]]
        assert sum(len(row.text) for row in ours[name]) == n_cells


@pytest.mark.slow
def test_the_paper_option_prints_every_published_digit_in_every_format(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    write_tables(tmp_path)
    assert main([str(tmp_path), "--paper", "--figures", "none", "--out", str(tmp_path / "out")]) == 0
    texts = {name: (tmp_path / "out" / name).read_text() for name in ("table.md", "table.tex", "report.html")}
    texts["terminal"] = capsys.readouterr().out
    for name, text in texts.items():
        shown = text[text.rindex("PowMix paper, Table 2", 0, text.index("Table 3: ours")) :]
        if name == "report.html":
            shown = re.sub(r"<[^>]+>", " ", shown)
        for table in published.load():
            for row in table.rows:
                for digits in row.text.values():
                    assert re.search(rf"(?<![\d.]){re.escape(digits)}(?![\d.])", shown), (name, row.label, digits)


def test_a_published_table_has_the_papers_layout(tmp_path):
    write_tables(tmp_path)
    tables = {one.title: one for one in paper_tables(Published(published.load()), table_of(tmp_path))}
    table2, table3 = tables["PowMix paper, Table 2"], tables["PowMix paper, Table 3"]
    six = ["Acc-2", "F1", "MAE", "Corr", "Acc-5", "Acc-7"]
    assert {group.title: [m.label for m in group.columns] for group in table2.groups} == {
        "MOSI": six,
        "MOSEI": six,
        "SIMS": six[:4],
    }
    heads = [line.heads[0] for block in table2.blocks for line in block if line.kind == "published"]
    mixed = ["+ Manifold MixUp", "+ MultiMix", "+ PowMix"]
    assert heads == [
        *(f"{name}†" for name in ("LF-DNN", "TFN", "MAG-BERT", "MulT", "MISA", "Self-MM")),
        *["MulT", *mixed, "MISA", *mixed, "Self-MM", *mixed],
    ]
    assert (table3.heads, [m.label for m in table3.groups[0].columns]) == (
        ("Aniso.", "Reweight", "M.Share", "D.Mix"),
        ["Acc-2", "Acc-5", "MAE"],
    )
    on, off = "✓", ""
    switches = [line.heads for block in table3.blocks for line in block if line.kind == "published"]
    assert switches == [(on,) * 4, (off, on, on, on), (on, off, on, on), (on, on, off, on), (on, on, off, off)]
    alone = tables["PowMix paper, Table 2: ours"]
    assert [line.heads[0] for block in alone.blocks for line in block] == heads
    best = [
        line
        for block in table2.blocks[1:]
        for line in block
        if line.kind == "published" and line.heads[0] == "+ PowMix"
    ]
    assert all(text.best for line in best for text in line.texts(table2.groups))


def test_published_numbers_of_sims_keep_acc_2_and_f1(tmp_path):
    tables = paper_tables(Published((of_table("table2"),)), table_of_nothing())
    sims = next(group for group in tables[0].groups if group.dataset == "sims")
    texts = [line.texts([sims]) for block in tables[0].blocks for line in block if line.heads[0] == "Self-MM"]
    assert [[text.mean for text in row] for row in texts] == [["78.16", "78.15", "0.417", "0.592"]]


def table_of_nothing():
    return build([])


def test_a_published_number_belongs_to_the_row_with_the_papers_settings(tmp_path):
    def run(**changes):
        config = {f"mixer.{key}": value for key, value in changes.items()}
        fabricate.write_run(
            tmp_path,
            dataset="mosei",
            model="self_mm",
            config=config,
            overrides=tuple(f"{k}={v}" for k, v in config.items()),
        )

    run(n_out=16)
    assert labelled(tmp_path)["85.11"] == [None, None]
    run(n_out=256)
    run(n_out=2048)
    run(subset=[2, 8])
    assert labelled(tmp_path)["85.11"] == ["PowMix (n_out=256, subset=[2,4])"] * 2
    tuned = {("mosei", "self_mm", "powmix"): {"p_mix": 0.5, "n_out": 2048}}
    assert labelled(tmp_path, tuned)["85.11"] == ["PowMix (n_out=2048, subset=[2,4])"] * 2
    run(p_mix=0.7)
    assert labelled(tmp_path)["85.11"] == [None, None], "the paper names no p_mix, so two rows have its settings"


def test_the_values_a_search_has_found_are_read_beside_the_sweeps(tmp_path):
    run = fabricate.write_run(
        tmp_path, dataset="mosei", model="self_mm", config={"mixer.n_out": 64, "mixer.p_mix": 0.3}
    )
    fabricate.write_sweep(tmp_path, "table2_tuned/mosei", [run])
    row = {"dataset": "mosei", "model": "self_mm", "mixer": "powmix", "p_mix": 0.3, "n_out": 64}
    (tmp_path / "sweeps/table2_tuned/tuned.json").write_text(json.dumps({"rows": [row]}))
    found = collection.read([tmp_path / "sweeps"])
    assert labelled(run, published.tuned(found.sweeps))["85.11"] == ["PowMix"] * 2


@pytest.mark.parametrize(("effect", "seeds"), [(2.0, 5), (1.0, 10), (0.5, 34), (0.2, 199)])
def test_seeds_needed_are_the_textbooks(effect, seeds):
    assert statistics.seeds_needed(-0.3 * effect, 0.3) == seeds
    assert statistics.power(effect, seeds) >= 0.8 > statistics.power(effect, seeds - 1)


def test_power_is_what_simulated_experiments_find():
    import numpy as np
    from scipy import stats

    d_RN = np.random.default_rng(0).normal(1.0, 1.0, (20_000, 8))
    rejected = stats.ttest_1samp(d_RN, 0, axis=1).pvalue < 0.05
    assert statistics.power(1.0, 8) == pytest.approx(rejected.mean(), abs=0.01)


def test_no_difference_and_no_spread_need_no_search():
    assert statistics.seeds_needed(0.0, 1.0) == statistics.seeds_needed(1e-9, 1.0) == float("inf")
    assert statistics.seeds_needed(0.1, 0.0) == 2


def test_the_seeds_that_a_published_gain_needs_are_said_or_that_our_spread_is_unknown(tmp_path):
    luck = {1: 0.010, 2: 0.030, 3: 0.050, 4: 0.021, 5: 0.037}
    fabricate.write_run(tmp_path, "none", {s: 0.9 for s in luck})
    fabricate.write_run(tmp_path, "powmix", {s: 0.9 - d for s, d in luck.items()})
    fabricate.write_run(tmp_path, "multimix", {1: 0.85})
    multimix, powmix = needs(Published((of_table("table2"),)), table_of(tmp_path))
    assert multimix == (
        "PowMix paper, Table 2, MOSI, MulT + MultiMix: Acc-2 +0.20: "
        "our spread is unknown (paired seeds of ours: 1); "
        "MAE −0.016: our spread is unknown (paired seeds of ours: 1)"
    )
    spread = statistics.compare({s: -d for s, d in luck.items()}, dict.fromkeys(luck, 0.0), False).std
    seeds = statistics.seeds_needed(0.927 - 0.904, spread)
    assert f"MAE −0.023: needs about {seeds} seeds (we have 5)" in powmix
