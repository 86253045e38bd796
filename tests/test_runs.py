"""A run is named by its science, writes atomically, and its numbers carry their spread."""

import pytest

from powmix.command.composition import sweep_name
from powmix.metrics.statistics import spread
from powmix.runs.identity import seed_list, signature
from powmix.runs.provenance import command

CONFIG = {
    "task": "regression",
    "dataset": {"name": "synthetic", "path": None},
    "model": {"name": "lf_dnn", "width": 4},
    "protocol": {"name": "published", "mask_padding": False},
    "trainer": {"batch_size": 4, "device": "auto"},
    "optimizer": {"learning_rate": 0.1},
    "schedule": {},
    "loss": "l1",
    "mixer": {"name": "none"},
    "objective": "MAE",
    "seeds": [1],
    "tracker": {"name": "none"},
}


def changed(section, **values):
    return {**CONFIG, section: {**CONFIG[section], **values}}


def test_what_does_not_change_the_science_does_not_change_the_signature():
    same = [changed("trainer", device="cuda"), changed("tracker", name="wandb"), {**CONFIG, "seeds": [1, 2]}]
    same.append({**CONFIG, "objective": "Corr"})
    assert {signature(config) for config in same} == {signature(CONFIG)}


def test_what_changes_the_science_changes_the_signature():
    other = [changed("trainer", batch_size=8), changed("mixer", name="powmix"), changed("protocol", mask_padding=True)]
    assert len({signature(config) for config in [CONFIG, *other]}) == 4


def test_a_run_that_no_longer_computes_padding_is_not_taken_for_one_that_did():
    """As they were when schema 2 began; published LF-DNN, TFN and MulT of equal kernels compute what they did."""
    mult = {"name": "mult", "kernel_text": 5, "kernel_audio": 5, "kernel_vision": 5}
    masked, bert = {"name": "sound", "mask_padding": True}, {"name": "misa", "text": {"pretrained": "minilm"}}
    before = {
        "0fe7f2bc91a3": CONFIG,
        "626547e4cb39": {**CONFIG, "model": mult},
        "e377db172574": changed("model", name="late_fusion", text={"pretrained": None}),
        "184e54cf5840": {**CONFIG, "model": mult | {"kernel_audio": 1}},
        "acc6cf7b132e": {**CONFIG, "protocol": masked},
        "d71df39eaff9": {**CONFIG, "model": bert},
    }
    kept = [old == signature(config) for old, config in before.items()]
    assert kept == [True, True, True, False, False, False]


def test_a_data_file_counts_by_its_content_not_by_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("POWMIX_CACHE", str(tmp_path / "cache"))
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.pkl").write_bytes(b"same")
    (tmp_path / "other.pkl").write_bytes(b"other")
    first, moved, other = (
        signature(changed("dataset", name="mosi", path=str(tmp_path / name)))
        for name in ("a/file.pkl", "b/file.pkl", "other.pkl")
    )
    assert first == moved != other


def test_seeds_are_counted_as_published():
    assert seed_list(3) == [1111, 1112, 1113]
    assert seed_list([7, 0]) == [7, 0]


def test_the_same_command_names_the_same_sweep():
    assert sweep_name(["sweeps=demo"]) == "demo"
    assert sweep_name(["sweeps=demo", "tracker=wandb", "outputs=elsewhere"]) == "demo"
    first = sweep_name(["sweeps=table3", "dataset=mosi", "model=mult"])
    assert first.startswith("table3-mosi-mult-") and first == sweep_name(
        ["model=mult", "sweeps=table3", "dataset=mosi"]
    )
    assert sweep_name(["mixer=none,powmix"]) != sweep_name(["mixer=none,multimix"])


@pytest.mark.parametrize(
    ("overrides", "begin"),
    [
        (["dataset=mine", "model=mine", "mixer=none,manifold_mixup,multimix,powmix", "seeds=10"], "mine-mine-mixer-"),
        (["sweeps=staged", "dataset.path=/a/b/mosi.pkl", "dataset=mosi", "seeds=2"], "staged-mosi-"),
        (["mixer.p_mix=interval(0.1,1)", "mixer.subset=[2,4],[2,8]"], "p_mix-subset-"),
        (["mixer.subset=[2,4]", "seeds=3"], ""),
    ],
)
def test_a_sweeps_name_says_what_it_is_about_and_is_short(overrides, begin):
    name = sweep_name(overrides)
    assert name.startswith(begin) and len(name) == len(begin) + 6
    assert len(sweep_name([f"model.a_very_long_name_{n}=1,2" for n in range(9)])) <= 39


def test_spread_is_the_sample_standard_deviation_and_students_interval():
    records = [{"validation": {"MAE": v}, "test": {"MAE": v + 1}} for v in (1.0, 2.0, 4.0)]
    out = spread(records)
    assert out["mean"]["test"]["MAE"] == pytest.approx(10 / 3)
    assert out["std"]["validation"]["MAE"] == pytest.approx(1.527525)
    low, high = out["ci95"]["validation"]["MAE"]
    assert (high - low) / 2 == pytest.approx(4.302653 * 1.527525 / 3**0.5, rel=1e-5)


def test_one_seed_has_no_spread():
    out = spread([{"validation": {"MAE": 1.0}, "test": {"MAE": 2.0}}])
    assert out["std"]["test"]["MAE"] is None and out["ci95"]["test"]["MAE"] is None


def test_two_seeds_have_a_deviation_and_no_interval():
    out = spread([{"validation": {"MAE": 1.0}, "test": {"MAE": value}} for value in (0.9, 1.0)])
    assert out["std"]["test"]["MAE"] == pytest.approx(0.0707107) and out["ci95"]["test"]["MAE"] is None


def test_a_command_can_be_pasted_into_a_shell():
    assert command(["mixer.subset=[2,4]", "sweeps=demo"], multirun=True) == "powmix -m 'mixer.subset=[2,4]' sweeps=demo"
