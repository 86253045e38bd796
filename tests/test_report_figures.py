"""The figures: drawn from what runs leave on disk, holding everything else fixed."""

import html
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
import report_runs as fabricate

from powmix.metrics.columns import metric
from powmix.metrics.statistics import student_interval
from powmix.mixing.registry import COLOURS
from powmix.mixing.registry import TITLES as MIXERS
from powmix.report import analyses, atlas, page
from powmix.report.__main__ import main
from powmix.report.building import build
from powmix.report.figures import (
    architectures,
    entries,
    forest,
    hull,
    hyperparameters,
    mixing_law,
    paired,
    robustness,
    style,
)
from powmix.report.figures.hyperparameters import fractions_of, panels_of
from powmix.runs import collection


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    fabricate.write_studies(root)
    return build(collection.read([root]).records)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    return build(collection.read([fabricate.write_many(root)]).records)


def test_inline_svgs_do_not_share_ids_and_follow_the_pages_ink():
    figure = hull.draw()
    one, other = (style.inline(style.svg(figure, name), name) for name in ("a", "b"))
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, other)]
    assert ids[0] and not ids[0] & ids[1]
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', one))
    assert used <= ids[0]
    assert style.INK not in one and "var(--ink)" in one
    ET.fromstring(one)


def test_every_figure_is_drawn_from_its_data(studies, tmp_path):
    for entry in entries.choose(["all"]):
        figure = entry.draw(studies)
        assert figure is not None, entry.name
        notes = figure.get_supxlabel()
        assert "seed" in notes
    for path in style.save(figure, tmp_path, "last"):
        assert path.stat().st_size > 1000
    ET.parse(tmp_path / "last.svg")


def test_table_1_read_off_the_models_is_the_papers():
    assert [architectures.architecture(name).cells for name in architectures.SHOWN] == [
        ("MulT", "", "1D-CNN", "CA / Concat", "1"),
        ("MISA", "✓", "LSTM", "— / SA + Concat", "4"),
        ("Self-MM", "✓", "LSTM", "— / Concat", "4"),
    ]
    assert len(architectures.architecture("misa").hidden) == 6, "six representations are mixed"


def test_figures_1_and_2_and_table_1_need_no_runs(tmp_path, capsys):
    assert main(["--figures", "1,2,table1", "--out", str(tmp_path)]) == 0
    for name in ("figure1", "figure2", "table1"):
        assert (tmp_path / "figures" / f"{name}.svg").stat().st_size > 1000
    assert main(["--figures", "1,3", "--out", str(tmp_path)]) == 2
    assert "no PATH given" in capsys.readouterr().err


def test_figure_2_has_the_papers_points_and_panels():
    figure = hull.draw()
    titles = [axis.get_title(loc="left") for axis in figure.axes]
    assert titles == ["(a) MixUp: pairs", "(b) triplets", "(c) quadruplets", "(d) MultiMix: all seven"]
    for axis in figure.axes:
        generated, given = (points.get_offsets() for points in axis.collections)
        assert (len(given), len(generated)) == (7, 4096)


@pytest.mark.parametrize("number", [3, 4, 5, 6, 7, 8])
def test_a_figure_draws_both_of_the_papers_metrics_or_the_one_that_is_asked_for(studies, tmp_path_factory, number):
    [entry] = entries.choose([str(number)])
    shown = [axis.get_ylabel() for axis in entry.draw(studies).axes]
    assert shown == ["test Acc-2 ↑", "test MAE ↓", "Δ Acc-2 ↑", "Δ MAE ↓"], "scores, below them paired differences"
    asked = [axis.get_ylabel() for axis in entry.draw(replace(studies, asked=True)).axes]
    assert asked == ["test MAE ↓", "Δ MAE ↓"]


def test_figure_3_shows_both_readings_of_the_range_beside_each_other(tmp_path):
    for scope in ("element", "row"):
        for subset in ([2, 4], [2, 8]):
            changes = {"mixer.p_scope": scope, "mixer.subset": subset}
            fabricate.write_run(tmp_path, "powmix", config=changes, overrides=(f"mixer.p_scope={scope}",))
    axis = hyperparameters.subset_ranges(build(collection.read([tmp_path]).records)).axes[0]
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert names == ["U(2, 4)", "U(2, 8)"] and not axis.patches, "no bars on an axis that does not start at 0"
    first, second = (line.get_xdata() for line in axis.lines if line.get_label().startswith("PowMix"))
    assert all(x < 0.5 < y + 0.5 for x, y in zip(first[:1], second[:1])) and first[0] < second[0], "beside each other"


def test_figures_without_their_data_are_named_with_what_they_need(tmp_path, capsys):
    run = fabricate.write_run(tmp_path, "none")
    assert main([str(run), "--out", str(tmp_path / "out"), "--figures", "3,figure6"]) == 0
    printed = capsys.readouterr().out
    assert "figure3: not drawn, it needs PowMix runs that differ in mixer.subset alone" in printed
    assert "figure6: not drawn, it needs `powmix-analyze noise`" in printed


def test_hyperparameter_curves_hold_everything_else_fixed(studies):
    [series] = panels_of(studies, "n_out")["MOSI, MulT"]
    assert [value for value, _ in series.points] == [16, 32, 64, 128, 256, 512, 1024, 2048]
    assert series.baseline.mixer == "none"
    [ranges] = panels_of(studies, "subset")["MOSI, MulT"]
    assert [value for value, _ in ranges.points] == [(2, 4), (2, 6), (2, 8), (4, 6), (4, 8)]
    limited = fractions_of(studies)["MOSI, MulT"]
    assert [one.label for one in limited] == ["no mixing", "PowMix"]
    assert [value for value, _ in limited[0].points] == [0.1, 0.2, 0.5, 1.0]


def test_a_run_that_another_sweep_has_used_last_keeps_its_place_and_name(tmp_path):
    for fraction in (0.5, 1.0):
        for mixer in ("none", "powmix"):
            own = (f"dataset.fraction={fraction}", "trainer.max_epochs=20")
            told = ("mixer.subset=[2,4]", "seeds=3") if (fraction, mixer) == (1.0, "powmix") else own
            fabricate.write_run(tmp_path, mixer, config={"dataset.fraction": fraction}, overrides=told)
    fabricate.write_run(tmp_path, "powmix", config={"mixer.subset": [4, 8]}, overrides=("mixer.subset=[4,8]",))
    table = build(collection.read([tmp_path]).records)
    [series] = fractions_of(table).values()
    assert [one.label for one in series] == ["no mixing", "PowMix"]
    assert [[value for value, _ in one.points] for one in series] == [[0.5, 1.0], [0.5, 1.0]]
    whole = [row.label for row in table.sections[0].blocks[0].rows]
    assert whole == ["no mixing", "PowMix (subset=[2,4])", "PowMix (subset=[4,8])"]


def test_noise_curves_average_repetitions_then_kinds_and_start_at_the_runs_own_score(studies):
    row = next(r for r in studies.rows if r.record.analysis("noise") and r.record.mixer == "powmix")
    curves = robustness.curve(row.record.analysis("noise"), "MAE", robustness.KINDS["noise"])
    assert {seed: values[0.0] for seed, values in curves.items()} == row.record.values("MAE")
    uneven = [{"seed": 1, "p": 0.1, "kind": "aligned", "MAE": v} for v in (1.0, 2.0, 3.0)]
    uneven.append({"seed": 1, "p": 0.1, "kind": "independent", "MAE": 4.0})
    assert robustness.curve(uneven, "MAE", ("aligned", "independent")) == {1: {0.1: 3.0}}


def test_an_analysis_is_told_in_one_sentence_paired_by_seed(tmp_path):
    clean, better = fabricate.errors(0.86), {seed: error - 0.03 for seed, error in fabricate.errors(0.86).items()}
    for mixer, found in (("none", clean), ("powmix", better), ("multimix", clean)):
        fabricate.write_analyses(fabricate.write_run(tmp_path, mixer, found), found)
    table = build(collection.read([tmp_path]).records)
    heads, noise, _ = analyses.sentences(table)
    assert noise.startswith("Frames lost, averaged over p > 0 (MOSI, MulT), test MAE against no mixing: MultiMix 0.000")
    assert "it equals the baseline on every seed; PowMix −0.030 [−0.030, −0.030], it is better." in noise
    assert heads.startswith("Unimodal heads, averaged (MOSI, MulT), test MAE against no mixing")
    assert noise in html.unescape(page.render(table, collection.Collection(), [], tmp_path))


def test_an_analysis_of_one_seed_or_without_baseline_claims_nothing(tmp_path):
    alone = fabricate.write_run(tmp_path / "alone", "powmix", {1: 0.8})
    fabricate.write_analyses(alone, {1: 0.8})
    assert analyses.sentences(build(collection.read([alone]).records)) == []
    fabricate.write_analyses(fabricate.write_run(tmp_path / "alone", "none", {1: 0.9}), {1: 0.9})
    assert all(
        "undecided: needs about 4 more seeds (no verdict on fewer than 5)." in sentence
        for sentence in analyses.sentences(build(collection.read([tmp_path]).records))
    )


def test_a_variant_has_one_look_everywhere_and_short_names_are_explained(many):
    looks = style.looks(many)
    by_label = {}
    for row in many.rows:
        by_label.setdefault(row.label, set()).add(looks[row.record.signature])
    assert all(len(found) == 1 for found in by_label.values())
    shown = [next(iter(found)) for found in by_label.values()]
    assert len({(look.color, look.marker) for look in shown}) == len(shown), "no two variants look the same"
    assert max(len(look.key) for look in shown) <= style.MAX_KEY
    figure = entries.ENTRIES[0].draw(many)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told[-1] == "PowMix 5: n_out=1024, p_mix=0.333" and len(told) == 5
    ticks = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert "PowMix 5" in ticks and "Modality dropout" in ticks


@pytest.mark.slow
def test_sixty_variants_are_drawn_without_a_warning_in_their_own_metrics(many, recwarn, tmp_path):
    for entry in entries.choose(["comparison", "4", "p_mix", "training"]):
        figure = entry.draw(many)
        for path in style.save(figure, tmp_path, entry.name):
            assert path.stat().st_size > 1000
        labels = [axis.get_ylabel() or axis.get_xlabel() for axis in figure.axes]
        assert "test Acc ↑" in labels or entry.name == "training"
    assert not recwarn.list
    assert {path.suffix for path in tmp_path.iterdir()} == {".svg", ".png", ".pdf"}


def test_ticks_stand_where_the_data_are(many):
    [figure] = [entry.draw(many) for entry in entries.choose(["p_mix"])]
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["0.25", "0.5", "0.814"]


def test_differences_are_paired_by_seed_with_students_interval(studies):
    row = next(row for row in studies.rows if row.record.mixer == "powmix" and row.baseline)
    own, base = row.record.values("MAE"), row.baseline.values("MAE")
    curve = paired.Curve(style.looks(studies)[row.record.signature], [1.0], [own], [base])
    lower = paired.draw([paired.Panel("here", metric("MAE"), [curve])], "x", "n").axes[1]
    [[start, end]] = [path.vertices[:, 1] for path in lower.collections[0].get_paths()]
    assert (start, end) == pytest.approx(student_interval([own[seed] - base[seed] for seed in own]))


@pytest.mark.parametrize(("mixers", "columns"), [(1, 1), (4, 4), (7, 3)])
def test_a_legend_fits_its_figure_and_the_papers_four_variants_one_line(mixers, columns):
    with style.context():
        figure, [axis] = style.panels(1)
        for name in [*COLOURS][:mixers]:
            axis.plot([0, 1], label=MIXERS[name])
        style.legend(figure, [axis])
        figure.draw_without_rendering()
        box = figure.legends[0].get_window_extent()
    assert [one._ncols for one in figure.legends] == [columns]
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_panels_fill_their_rows_evenly():
    wide = {count: style.panels(count)[0].axes[0].get_gridspec().ncols for count in (1, 2, 3, 4, 5, 7)}
    assert wide == {1: 1, 2: 2, 3: 3, 4: 2, 5: 3, 7: 3}


def test_the_simulated_law_of_k_is_the_truncated_binomial():
    law = mixing_law.Law(batch_size=8, subset=(2, 4))
    k_O = mixing_law.masks(law, 40_000, np.random.default_rng(0)).sum(axis=1)
    share = np.bincount(k_O, minlength=9) / len(k_O)
    assert share[0] == 0
    assert np.abs(share - mixing_law.exact_selected(law)).max() < 0.01
    pairs = mixing_law.masks(mixing_law.Law(batch_size=8, min_selected=2), 1000, np.random.default_rng(0))
    assert pairs.sum(axis=1).min() == 2


def test_mixed_points_lie_in_the_hull_and_pairs_on_segments():
    rng = np.random.default_rng(0)
    triangle = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    inside = hull.mix(triangle, 3, 500, rng)
    assert (inside >= 0).all() and (inside.sum(axis=1) <= 1 + 1e-9).all()
    pairs = hull.mix(triangle, 2, 500, rng)
    coordinates = np.column_stack([pairs, 1 - pairs.sum(axis=1)])
    assert np.allclose(coordinates.min(axis=1), 0)


def test_a_forest_plot_has_a_panel_per_mixer_in_its_colour_and_a_row_per_task():
    gains = {"utd": 4.0, "digits": 0.5, "mosi": -1.0, "htad": 1.5}
    found = {task: atlas.Effect(gain, (gain - 1, gain + 1), 0.5, 20) for task, gain in gains.items()}
    two = {task: found[task] for task in ("utd", "mosi")}
    figure = forest.draw({"multimix": found, "powmix": found, "none_yet": two}, "gain in accuracy, points")
    first, second, few = figure.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [*gains, "all tasks"]
    assert [axes.get_title("left") for axes in figure.axes] == [MIXERS["multimix"], MIXERS["powmix"], "none_yet"]
    assert COLOURS["powmix"] in {line.get_color() for line in second.lines}
    assert [text.get_text()[0] for text in second.texts] == ["+", "+", "−", "+", "+"], "four tasks and all of them"
    own, drawn = (
        max(line.get_xdata()[0] for line in second.lines if line.get_markersize() == size) for size in (4.2, 5.6)
    )
    assert drawn < own == 4.0, "the best task is drawn towards the others"
    assert not few.texts, "two tasks say nothing of all tasks"
    assert first.get_xlim() == second.get_xlim()
