"""Original files become what the tasks read. The originals here are made up in the same format."""

import gzip
import json

import numpy as np
import pytest
from scipy.io import savemat, wavfile

from powmix.data import load
from powmix.data.__main__ import main
from powmix.data.gathering import gather, log_mel
from powmix.data.registry import defaults

RNG = np.random.default_rng(0)


# --- UTD-MHAD ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recordings(tmp_path):
    """Two actions of four subjects, two trials each, from three sensors."""
    told = {}
    for sensor in ("Inertial", "Skeleton", "Depth"):
        (tmp_path / "originals" / sensor).mkdir(parents=True)
    for action, subject, trial in np.ndindex(2, 4, 2):
        steps, name = 3 + subject, f"a{action + 1}_s{subject + 1}_t{trial + 1}"
        told[name] = {
            "inertial": RNG.normal(size=(steps + 4, 6)),
            "skeleton": RNG.normal(size=(20, 3, steps)),
            "depth": RNG.integers(0, 4000, (16, 20, steps)).astype(np.uint16),
        }
        for sensor, key in (("inertial", "d_iner"), ("skeleton", "d_skel"), ("depth", "d_depth")):
            path = tmp_path / "originals" / sensor.capitalize() / f"{name}_{sensor}.mat"
            savemat(path, {key: told[name][sensor]})
    return tmp_path / "originals", told


def test_recordings_of_three_sensors_become_what_utd_reads(recordings, tmp_path):
    folder, told = recordings
    gather("utd", folder, tmp_path / "out")
    splits = load({**defaults("utd"), "path": str(tmp_path / "out"), "scale": "none", "leaks": "warn"}, ("*",))
    assert splits.dims == {"inertial": 6, "skeleton": 60, "depth": 80} and splits.outputs == 2
    assert {name.split("_")[1] for name in splits.test.ids} == {"s2", "s4"}
    row = splits.test.ids.index("a1_s2_t1")
    own = told["a2_s2_t1"]
    steps = own["skeleton"].shape[2]
    assert splits.test.lengths["skeleton"][row] == splits.test.lengths["depth"][row] == steps
    joint, step = 7, 2
    found = splits.test.features["skeleton"][row, step, 3 * joint : 3 * joint + 3]
    np.testing.assert_allclose(found, own["skeleton"][joint, :, step], atol=2e-3)
    block = own["depth"][2:4, 6:8, step].mean() / 1000
    assert splits.test.features["depth"][row, step, 10 * 1 + 3].item() == pytest.approx(block, abs=2e-3)
    np.testing.assert_allclose(splits.test.features["inertial"][row, : steps + 4], own["inertial"], rtol=1e-6)


def test_a_sensor_that_is_missing_or_is_another_is_named(recordings, tmp_path):
    folder, _ = recordings
    savemat(folder / "Skeleton" / "a1_s1_t1_skeleton.mat", {"d_skel": np.zeros((3, 20, 5))})
    with pytest.raises(ValueError, match=r"a1_s1_t1_skeleton\.mat: d_skel has the shape \(3, 20, 5\)"):
        gather("utd", folder, tmp_path / "out")
    (folder / "Skeleton" / "a1_s1_t1_skeleton.mat").write_bytes(b"MATLAB 5.0")
    with pytest.raises(ValueError, match=r"a1_s1_t1_skeleton\.mat: expected d_skel, got"):
        gather("utd", folder, tmp_path / "out")
    (folder / "Skeleton" / "a1_s1_t1_skeleton.mat").unlink()
    with pytest.raises(ValueError, match=r"1 files are missing, such as a1_s1_t1_skeleton\.mat"):
        gather("utd", folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- spoken digits ----------------------------------------------------------------------------------------------------


def test_a_tone_is_loudest_in_its_own_band_and_silence_is_the_floor():
    time = np.arange(4000) / 8000
    low, high = (log_mel(0.5 * np.sin(2 * np.pi * hertz * time)) for hertz in (300, 3000))
    assert low.shape == (48, 20), "25 ms every 10 ms of half a second, nothing padded"
    assert set(low.argmax(1)) <= {3, 4} and set(high.argmax(1)) <= {16, 17}
    assert log_mel(np.zeros(400)) == pytest.approx(np.log(1e-7))


def test_spoken_digits_become_log_mel_spectra(tmp_path):
    for name, samples in (("3_ann_10", 1000), ("3_ann_2", 600), ("0_bob_0", 480)):
        wavfile.write(tmp_path / f"{name}.wav", 8000, RNG.integers(-9000, 9000, samples).astype(np.int16))
    [path] = gather("digits", tmp_path, tmp_path / "out")
    found = np.load(path, allow_pickle=False)
    assert found["lengths"].tolist() == [4, 11, 6] and found["rows"].shape == (21, 20)
    assert found["digit"].tolist() == [0, 3, 3] and found["speaker"].tolist() == ["bob", "ann", "ann"]
    assert found["index"].tolist() == [0, 10, 2]
    wavfile.write(tmp_path / "4_ann_0.wav", 44100, np.zeros(900, np.int16))
    with pytest.raises(ValueError, match=r"4_ann_0\.wav: expected 8000 Hz, .* got 44100 Hz"):
        gather("digits", tmp_path, tmp_path / "out")


def test_silence_is_as_low_as_in_the_spectra_in_use(shared):
    found = np.load(shared / "data/tasks/fsdd_logmel.npz")
    assert found["rows"].min() == pytest.approx(log_mel(np.zeros(400)).min(), abs=0.01)


# --- MAEC -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def calls(tmp_path):
    """Twelve calls of four companies, and prices from 2014-12 to 2016-02; one call has no prices."""
    from datetime import date, timedelta

    days = [str(date(2014, 12, 1) + timedelta(days=day)) for day in range(440)]
    prices = {ticker: 100 * np.cumprod(1 + 0.02 * RNG.normal(size=len(days))) for ticker in "ABCD"}
    lines = [f"{day},{ticker},{price}" for ticker, own in prices.items() for day, price in zip(days, own)]
    (tmp_path / "prices.csv").write_text("\n".join(["date,ticker,close", *lines]))
    for number in range(13):
        ticker = "ABCDE"[number % 4 if number < 12 else 4]
        place = tmp_path / f"2015{number % 9 + 3:02}15_{ticker}"
        place.mkdir()
        sentences = number % 3 + 1
        (place / "text.txt").write_text("".join(f"Sentence {one}.\n" for one in range(sentences)))
        rows = [[f"{value:.3f} " for value in RNG.normal(5, 2, 29)] for _ in range(sentences)]
        rows[0][4] = "--undefined--"
        header = ",".join(f"feature {one}" for one in range(29))
        (place / "features.csv").write_text("\n".join([header, *map(",".join, rows)]) + "\n")
    return tmp_path, days, prices


def test_calls_with_prices_become_what_maec_reads(calls, tmp_path, caplog):
    folder, days, prices = calls
    gather("maec", folder, tmp_path / "out")
    assert "1 of 13 calls are left out" in caplog.text and "_E" in caplog.text
    dataset = {**defaults("maec"), "path": str(tmp_path / "out"), "days": "7", "scale": "none"}
    splits = load(dataset, ("*",))
    assert [len(part) for part in (splits.train, splits.valid, splits.test)] == [8, 1, 3]
    assert splits.dims == {"audio": 29, "past": 30}
    name = splits.train.ids[0]
    assert name == min(splits.train.ids) and splits.train.raw_text[0].startswith("Sentence 0.")
    day, own = days.index(f"{name[:4]}-{name[4:6]}-{name[6:8]}"), prices[name[-1]]
    returns = own[1:] / own[:-1] - 1
    assert splits.train.target[0].item() == pytest.approx(np.log(np.std(returns[day : day + 7])), abs=1e-5)
    past = np.maximum(np.log(np.abs(returns[day - 30 : day])), -9)
    np.testing.assert_allclose(splits.train.features["past"][0], past, atol=1e-4)
    steps = splits.train.lengths["audio"]
    heard = np.concatenate([one[:n] for one, n in zip(splits.train.features["audio"].numpy(), steps)])
    np.testing.assert_allclose(heard.mean(0), 0, atol=2e-3)
    assert not splits.train.features["audio"][:, 0, 4].any(), "what is undefined is the mean"


def test_text_of_gathered_calls_is_a_list_of_sentences(calls, tmp_path):
    folder, _, _ = calls
    place = next(folder.glob("2015*_A"))
    (place / "text.txt").write_text("One.\nTwo.\nThree.\nFour.\n")
    gather("maec", folder, tmp_path / "out")
    said = json.loads(gzip.decompress((tmp_path / "out" / "maec15_text.json.gz").read_bytes()))
    assert len(said) == 11 and place.name not in said
    assert next(iter(said.values()))[0] == "Sentence 0."


def test_prices_that_are_none_are_one_line(calls, tmp_path):
    folder, _, _ = calls
    (folder / "prices.csv").write_text("date,symbol,close\n2015-01-01,A,3\n")
    with pytest.raises(ValueError, match=r"prices\.csv: expected columns date, ticker, close, got KeyError"):
        gather("maec", folder, tmp_path / "out")


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_where_from_and_what_it_wrote(recordings, tmp_path, capsys):
    assert main(["where", "utd"]) == 0
    told = capsys.readouterr().out
    assert "powmix-data gather utd FOLDER OUT" in told and "utd_index.npz" in told and "mosi" not in told
    assert main(["gather", "utd", str(recordings[0]), str(tmp_path / "out")]) == 0
    assert "utd_depth.npz (" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["where", "utt"], "did you mean utd"),
        (["gather", "mfeat", ".", "out"], "mfeat needs no gathering: UCI's multiple features"),
        (["gather", "utt", ".", "out"], "one of utd, digits, maec"),
        (["gather", "utd", "nowhere", "out"], "no folder 'nowhere'. UTD-MHAD"),
        (["gather", "digits", ".", "out"], "no 0_george_0.wav"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["mfeat", "htad", "digits", "maec"])
def test_every_task_says_its_licence_and_how_it_is_used(name, capsys):
    assert main(["where", name]) == 0
    told = capsys.readouterr().out
    assert ("CC BY" in told or "MIT" in told) and f"powmix dataset={name}" in told
