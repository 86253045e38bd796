"""The paper's claims as checks: what counts as reproduced, as not, as undecided, and what has not been run."""

import pytest
import report_runs as fabricate
from test_report_paper import write_tables

from powmix.metrics import statistics
from powmix.metrics.columns import metric
from powmix.report import claims, published
from powmix.report.__main__ import main
from powmix.report.building import build
from powmix.report.contests import Contest, decide
from powmix.report.published import Published
from powmix.runs import collection

MAE, SEEDS = metric("MAE"), range(1, 6)
LUCK = {1: 0.010, 2: 0.030, 3: 0.050, 4: 0.021, 5: 0.037}


def findings(root) -> dict:
    table = build(collection.read([root]).records)
    return {one.name: one.finding for one in claims.check(table, Published(published.load()))}


def contest(gains: dict[int, float], printed: float | None = None) -> Contest:
    """PowMix lower in MAE by these gains."""
    return Contest("here", MAE, {s: 0.9 - gain for s, gain in gains.items()}, dict.fromkeys(gains, 0.9), printed)


def test_on_the_papers_own_numbers_its_counts_come_out(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "RESAMPLES", 20)  # all are alike: every seed has the paper's number
    for table in published.load():
        for row in {"table2": table.rows, "table3": table.rows[1:]}.get(table.name, ()):  # its first row is Table 2's
            names = {"dataset": row.dataset, "model": row.model, "ablation": row.ablation}
            fabricate.write_run(tmp_path, row.mixer, scores=dict.fromkeys(SEEDS, row.values), **names)
    found = findings(tmp_path)
    assert found["table2-gain"].ours.startswith("48 of 48 won") and found["table2-gain"].verdict == "reproduced"
    assert found["table2-best"].ours.startswith("144 of 144 won") and found["table2-best"].verdict == "reproduced"
    assert found["table2-others"].ours == "54 of 96 cells (56%)" and found["table2-others"].verdict == "reproduced"
    assert found["table2-others-either"].ours == "35 of 48 metrics (73%)"
    assert found["table3-all"].ours.startswith("11 of 12 won") and found["table3-all"].verdict.startswith("undecided")
    assert found["table3-dynamic"].ours.startswith("9 of 9 won") and found["table3-dynamic"].verdict == "reproduced"


@pytest.mark.slow
def test_a_count_of_cells_is_undecided_on_fewer_than_five_seeds(tmp_path):
    few = list(SEEDS)[:3]
    for table in published.load():
        for row in table.rows if table.name == "table2" else ():
            names = {"dataset": row.dataset, "model": row.model, "ablation": row.ablation}
            fabricate.write_run(tmp_path, row.mixer, scores=dict.fromkeys(few, row.values), **names)
    found = findings(tmp_path)
    assert found["table2-others"].ours == "54 of 96 cells (56%)"
    assert found["table2-others"].verdict == "undecided (needs about 2 more seeds)"


def test_a_claim_is_reproduced_only_where_every_interval_is_on_its_side():
    assert decide([contest(LUCK)]).verdict == "reproduced"
    unsure = contest({s: gain - 0.025 for s, gain in LUCK.items()})
    assert decide([contest(LUCK), unsure]).verdict.startswith("undecided (needs about")
    assert decide([contest(LUCK), contest({})]).verdict == "undecided (the rest is not run)"
    assert decide([contest({})]).verdict == "not run"


def test_a_claim_is_not_reproduced_where_a_contest_is_significantly_lost_after_holm():
    lost = contest({s: -gain for s, gain in LUCK.items()})
    assert decide([lost]).verdict == decide([contest(LUCK), lost]).verdict == "not reproduced"
    barely = contest({1: -0.010, 2: -0.030, 3: -0.050, 4: -0.001, 5: -0.037})
    assert decide([barely]).verdict == "not reproduced"
    flat = [contest({s: 0.01 * (-1) ** s for s in SEEDS}) for _ in range(40)]
    assert decide([barely, *flat]).verdict.startswith("undecided"), "one of 41 at p = 0.04 is what chance gives"


def test_the_seeds_that_would_decide_come_from_the_printed_difference_and_our_spread():
    unsure = {s: gain - 0.025 for s, gain in LUCK.items()}
    spread = statistics.compare(unsure, dict.fromkeys(unsure, 0.0), True).std
    more = statistics.seeds_needed(0.004, spread) - 5
    assert decide([contest(unsure, printed=-0.004)]).verdict == f"undecided (needs about {more} more seeds)"
    assert (
        decide([contest({s: -g for s, g in unsure.items()})]).verdict == "undecided (needs more than 1,000 more seeds)"
    )
    assert decide([contest({1: 0.1})]).verdict == "undecided (needs about 4 more seeds)"
    sure_but_few = contest({s: 0.1 + 0.0001 * s for s in (1, 2, 3)})
    assert decide([sure_but_few]).verdict == "undecided (needs about 2 more seeds)"


def test_one_contest_shows_its_difference_and_interval():
    finding = decide([contest(LUCK)])
    interval = statistics.student_interval([-gain for gain in LUCK.values()])
    assert finding.ours == "here: MAE −0.030"
    assert finding.interval == f"[{MAE.show_difference(interval[0])}, {MAE.show_difference(interval[1])}]"


def test_without_runs_of_the_papers_no_claim_is_judged(tmp_path):
    fabricate.write_run(tmp_path, "none", dataset="synthetic")
    assert {finding.verdict for finding in findings(tmp_path).values()} == {"not run"}


def write_study(root, slope: float = 0.0):
    """MOSEI with everything of Figures 3 to 8: PowMix better everywhere, its noise curve steeper by `slope`."""
    clean = fabricate.errors(0.86)

    def better(by: float) -> dict[int, float]:
        return {seed: error - by - 0.0005 * (seed % 3) for seed, error in clean.items()}

    for model in ("mult", "self_mm"):
        worse = 0.0 if model == "mult" else 0.1
        for mixer, found in (("none", clean), ("powmix", better(0.03))):
            run = fabricate.write_run(root, mixer, found, dataset="mosei", model=model)
            steeper = worse + (slope if mixer == "powmix" else 0.0)
            fabricate.write_analyses(run, found, slope=steeper)
    for scope in ("element", "row"):
        for i, subset in enumerate(([2, 4], [2, 8], [4, 6], [2, 16], [6, 8])):
            changes = {"mixer.subset": subset, "mixer.p_scope": scope}
            if (subset, scope) != ([2, 4], "element"):
                found = better(0.03 - 0.004 * i)
                fabricate.write_run(root, "powmix", found, dataset="mosei", model="self_mm", config=changes)
    for i, value in enumerate((128, 512, 32, 16, 2048)):
        changes = {"mixer.n_out": value}
        fabricate.write_run(root, "powmix", better(0.02 - 0.002 * i), dataset="mosei", model="self_mm", config=changes)
    for part, gain in ((0.1, 0.05), (0.2, 0.06), (0.5, 0.04)):
        for mixer, found in (("none", clean), ("powmix", better(gain))):
            fabricate.write_run(root, mixer, found, dataset="mosei", config={"dataset.fraction": part})


def test_the_figures_claims_are_checked_on_the_figures_runs(tmp_path):
    write_study(tmp_path)
    found = findings(tmp_path)
    not_run = {"table2-others", "table2-others-either", "table3-all", "table3-dynamic"}
    assert {name for name, finding in found.items() if finding.verdict == "not run"} == not_run
    held = {name for name, finding in found.items() if finding.verdict == "reproduced"}
    assert held == {*(name for name in found if name.startswith("figure"))}
    assert "weakest: U(6, 8)" in found["figure3-gain"].ours
    assert found["figure7-gain"].ours.startswith("16 of 16 won")


def test_a_slope_that_mixing_makes_steeper_is_not_unchanged(tmp_path):
    write_study(tmp_path, slope=0.4)
    finding = findings(tmp_path)["figure6-slope"]
    assert finding.verdict == "not reproduced" and "change of slope" in finding.ours and "margin ±" in finding.ours


@pytest.mark.slow
def test_the_command_prints_and_keeps_every_claim(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    write_tables(tmp_path)
    assert main([str(tmp_path), "--claims", "--figures", "none", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("not run") > 5 and "reproduced" in printed
    text, page = ((tmp_path / "out" / name).read_text() for name in ("table.md", "report.html"))
    for claim in published.statements("claims"):
        assert claim["says"].replace("|", "\\|") in text
    assert 'id="claims"' in page and "48 of 48 won, 48 surely" in page and "48 of 48 won, 48 surely" in text


@pytest.mark.parametrize("claim", published.statements("claims"), ids=lambda claim: claim["name"])
def test_every_claim_names_its_check(claim):
    assert claim["check"] in claims.CHECKS and claim["published"]
