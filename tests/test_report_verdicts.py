"""Verdicts: better, worse, no difference larger than R, undecided; never from few seeds, the same both ways round."""

import pytest
import report_runs as fabricate
from test_report_table import table_of

from powmix.metrics import statistics
from powmix.metrics.columns import metric
from powmix.report import write_comparison
from powmix.report.__main__ import main
from powmix.report.verdict import judge, needs, summaries, verdicts
from powmix.runs.records import write_sweep

SEEDS = tuple(range(10))
MAE, ACCURACY = metric("MAE"), metric("Non0_acc_2")
R = 0.02


def verdict(differences, m=MAE, r=R, tests=1):
    """(kind, sentence) on one mixer whose paired differences are these."""
    ours, theirs = dict(enumerate(differences)), dict.fromkeys(range(len(differences)), 0.0)
    [c] = statistics.correct([statistics.compare(ours, theirs, m.higher_is_better)])
    return judge(c, m, tests, r)


def wave(middle: float, width: float, n: int = 10) -> list[float]:
    """n differences around `middle`, as many above as below; none are equal, over which Wilcoxon's test takes long."""
    return [middle + width * (1 + 1e-4 * (i // 2)) * (-1) ** i for i in range(n)]


LARGER, MORE = "No difference larger than 0.020 (the 90% CI lies within it).", "Undecided: needs about "


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda s: -0.1 - 0.001 * s, "better", "It is better."),
        (lambda s: 0.1 + 0.001 * s, "worse", "It is worse."),
        (lambda s: -0.01 - 0.0001 * s, "better", "It is better, by less than 0.020."),
        (lambda s: 0.01 + 0.0001 * s, "worse", "It is worse, by less than 0.020."),
        (lambda s: (0.02 + 1e-5 * s) * (-1) ** s - 0.001, "same", LARGER),
        (lambda s: (0.05 + 1e-5 * s) * (-1) ** s - 0.01, "undecided", MORE),
        (lambda s: (0.05 + 1e-5 * s) * (-1) ** s + 0.01, "undecided", MORE),
        (lambda s: 0.0, "same", "It equals the baseline on every seed."),
    ],
)
def test_a_sentence_says_what_the_seeds_allow(tmp_path, change, kind, words):
    fabricate.write_run(tmp_path, "none", {s: 0.9 for s in SEEDS})
    fabricate.write_run(tmp_path, "powmix", {s: 0.9 + change(s) for s in SEEDS})
    [(_, found, sentence)] = verdicts(table_of(tmp_path))
    assert found == kind
    assert words in sentence


@pytest.mark.parametrize("differences", [wave(0.03, 0.01), wave(0.01, 0.05), wave(0.0, 0.01), wave(0.05, 0.2, 4)])
def test_a_verdict_is_symmetric(differences):
    (kind, sentence), (mirrored, turned) = verdict(differences), verdict([-d for d in differences])
    assert (mirrored, turned) == (kind.replace("worse", "better"), sentence.replace("worse", "better"))
    assert verdict(differences, ACCURACY)[0] == mirrored, "of accuracy more is better, of MAE less"


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_no_verdict_is_given_on_fewer_than_five_seeds(n):
    kind, sentence = verdict([-0.1 - 0.0001 * s for s in range(n)])
    assert (kind, sentence) == (
        "undecided",
        f"Undecided: needs about {5 - n} more seed{'s' * (n < 4)} (no verdict on fewer than 5).",
    )


def test_a_worse_mean_whose_interval_includes_zero_is_not_called_worse_nor_without_help():
    kind, sentence = verdict(wave(0.01, 0.05))
    assert kind == "undecided" and "worse" not in sentence and "help" not in sentence


def test_no_difference_takes_the_90_percent_interval_within_the_region():
    differences = wave(0.004, 0.02)
    spread = statistics.compare(dict(enumerate(differences)), dict.fromkeys(range(10), 0.0), True).std
    low, high = statistics.interval(0.004, spread, 10, 0.90)
    assert low < 0 and statistics.interval(0.004, spread, 10, 0.95)[1] > high
    assert verdict(differences, r=1.001 * high)[0] == "same"
    assert verdict(differences, r=0.999 * high)[0] == "undecided"
    assert verdict(differences, r=None)[0] == "undecided"


def test_an_effect_that_holm_does_not_confirm_is_undecided_and_says_why(tmp_path):
    luck = {1: 0.010, 2: 0.030, 3: 0.050, 4: 0.021, 5: 0.037}
    assert verdict([-gain for gain in luck.values()]) == ("better", "It is better.")
    fabricate.write_run(tmp_path, "none", {s: 0.9 for s in luck})
    fabricate.write_run(tmp_path, "powmix", {s: 0.9 - d for s, d in luck.items()})
    [(_, kind, sentence)] = verdicts(table_of(tmp_path))
    assert kind == "undecided"
    assert sentence.endswith("after Holm's correction over the table's 6 tests).")


def test_the_seeds_needed_are_those_of_the_cheaper_way_to_a_verdict():
    far, near = wave(0.0199, 0.05), wave(0.001, 0.05)
    for differences, count in (
        (far, lambda d, s: statistics.seeds_needed(d, s)),
        (near, lambda d, s: statistics.seeds_to_equate(d, s, R)),
    ):
        c = statistics.compare(dict(enumerate(differences)), dict.fromkeys(range(10), 0.0), False)
        more = count(c.difference, c.std) - 10
        assert verdict(differences)[1] == f"Undecided: needs about {more} more seeds."
    corrected = (
        statistics.seeds_needed(
            0.0199, statistics.compare(dict(enumerate(far)), dict.fromkeys(range(10), 0.0), False).std, 0.05 / 18
        )
        - 10
    )
    assert verdict(far, tests=18)[1] == f"Undecided: needs about {corrected} more seeds."


def test_no_more_than_a_thousand_seeds_are_named():
    assert needs(1) == "needs about 1 more seed" and needs(1000) == "needs about 1000 more seeds"
    assert needs(1001) == needs(float("inf")) == "needs more than 1,000 more seeds"
    assert verdict(wave(0.00001, 0.5), r=None)[1] == "Undecided: needs more than 1,000 more seeds."


@pytest.mark.parametrize(
    ("keys", "main_metric", "shown"),
    [(fabricate.MOSI, "MAE", "0.020"), (fabricate.SIMS, "MAE", "0.007"), (fabricate.MOSI, "Non0_acc_2", "1.00")],
)
def test_the_region_follows_the_metric_and_the_range_of_the_labels(tmp_path, keys, main_metric, shown):
    for mixer, shift in (("none", 0.0), ("powmix", 0.0001)):
        scores = {s: fabricate.metrics(0.9 + (shift + 1e-6 * s * (shift > 0)) * (-1) ** s, keys) for s in SEEDS}
        fabricate.write_run(tmp_path, mixer, keys=keys, scores=scores)
    [(_, kind, sentence)] = verdicts(table_of(tmp_path, main=main_metric))
    assert kind == "same" and f"No difference larger than {shown} " in sentence


@pytest.mark.slow
def test_the_region_can_be_asked_for_in_the_tables_units(tmp_path, capsys):
    fabricate.write_run(tmp_path, "none", {s: 0.9 for s in SEEDS})
    fabricate.write_run(tmp_path, "powmix", {s: 0.9 + 0.05 * (-1) ** s + 0.01 for s in SEEDS})
    out = ["--out", str(tmp_path / "out"), "--figures", "none"]
    assert main([str(tmp_path), *out, "--rope", "MAE=0.2"]) == 0
    assert "No difference larger than 0.200" in capsys.readouterr().out
    assert main([str(tmp_path), *out, "--metric", "acc-2", "--rope", "acc-2=8", "--rope", "MAE=0.2"]) == 0
    assert "No difference larger than 8.00" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["MAE", "MAE=", "MAE=0", "MAE=nan", "MEA=0.1"])
def test_a_region_that_is_no_number_above_zero_or_of_no_metric_is_refused(tmp_path, capsys, given):
    fabricate.write_run(tmp_path, "none")
    assert main([str(tmp_path), "--rope", given]) == 2
    error = capsys.readouterr().err
    assert ("did you mean MAE" if given == "MEA=0.1" else "--rope MAE must be a number > 0") in error


def test_where_seeds_were_added_only_the_sequential_verdict_is_told(tmp_path, capsys):
    runs = [fabricate.write_run(tmp_path, "none", {s: 0.9 for s in SEEDS})]
    for mixer in ("powmix", "multimix"):
        runs.append(fabricate.write_run(tmp_path, mixer, {s: 0.8 + 0.001 * s for s in SEEDS}))
    sweep = fabricate.write_sweep(tmp_path, "grown", runs)
    told = {"n": 7, "e_value": 25.0, "interval": [-0.12, -0.07], "label": "PowMix", "place": "mosi/mult"}
    looks = [
        {"run": runs[1].name, "decision": "better", **told},
        {"run": runs[2].name, "decision": "undecided", **told},
    ]
    write_sweep(sweep, until={"split": "test", "metric": "MAE", "effect": 1.0, "most": 10, "looks": looks})
    printed = write_comparison(sweep, width=200)
    assert main([str(sweep), "--figures", "none"]) == 0
    page = (sweep / "report.html").read_text()
    for text in (printed, capsys.readouterr().out, (sweep / "table.md").read_text(), page):
        assert "it is better, decided after 7 seeds; test MAE against no mixing, at all times" in text
        assert "[−0.120, −0.070], e-value 25." in text and "undecided with 7 of 10 seeds" in text
        assert "Seeds were added until it was decided" in text
        assert "95% CI [" not in text and "It is better." not in text and "It is worse." not in text
    assert "$^+$" not in (sweep / "table.tex").read_text()


def test_of_many_variants_the_best_on_validation_speaks(tmp_path):
    fabricate.write_run(tmp_path, "none", {1: 0.9, 2: 0.8, 3: 0.85})
    for i in range(8):
        found = {s: 0.8 - 0.01 * i for s in (1, 2, 3)}
        override = (f"mixer.p_mix=0.{i}",)
        fabricate.write_run(tmp_path, "powmix", found, config={"mixer.p_mix": i / 10}, overrides=override)
    [sentence] = summaries(table_of(tmp_path))
    assert sentence.startswith("PowMix (p_mix=0.7)")
    assert "best on validation of 8 variants" in sentence
