"""The figures: drawn from what runs leave on disk, holding everything else fixed."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import report_runs as fabricate

from powmix.report import collection
from powmix.report.__main__ import main
from powmix.report.figures import catalogue, hull, mixing_law, robustness, style
from powmix.report.figures.hyperparameters import fractions_of, panels_of
from powmix.report.table import build


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies")
    fabricate.write_studies(root)
    return build(collection.read([root]).records)


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
    for entry in catalogue.CATALOGUE:
        figure = entry.draw(studies)
        assert figure is not None, entry.name
        notes = figure.get_supxlabel()
        assert "seed" in notes
    for path in style.save(figure, tmp_path, "last"):
        assert path.stat().st_size > 1000
    ET.parse(tmp_path / "last.svg")


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


def test_noise_curves_average_repetitions_then_kinds_and_start_at_the_runs_own_score(studies):
    row = next(r for r in studies.rows if r.record.analysis("noise") and r.record.mixer == "powmix")
    curves = robustness.curve(row.record.analysis("noise"), "MAE", robustness.KINDS["noise"])
    assert {seed: values[0.0] for seed, values in curves.items()} == row.record.values("MAE")
    uneven = [{"seed": 1, "p": 0.1, "kind": "aligned", "MAE": v} for v in (1.0, 2.0, 3.0)]
    uneven.append({"seed": 1, "p": 0.1, "kind": "independent", "MAE": 4.0})
    assert robustness.curve(uneven, "MAE", ("aligned", "independent")) == {1: {0.1: 3.0}}


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
