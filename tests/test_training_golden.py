"""Losses of seed 1111, alone, as they were when this was written: a refactoring of the loop leaves them as they are.

Recorded on one x86 core with AVX-512, where they repeat bit for bit; other processors round otherwise. A change of a
model's arithmetic or of the order in which it draws dropout is a reason to record them anew.
"""

import pytest
from training_corpus import Watcher
from training_models import alone, mixer

GOLDEN = {
    ("lf_dnn", "none"): [
        (1.0331968069076538, 0.9928177217642467),
        (1.0253837943077087, 0.991743611296018),
        (1.0004595279693604, 0.990841594338417),
    ],
    ("lf_dnn", "powmix"): [
        (0.927498173713684, 0.9927523498733838),
        (0.8565968632698059, 0.9918990418314934),
        (0.8925037384033203, 0.9904097100098928),
    ],
    ("tfn", "none"): [
        (1.0617969155311584, 0.9851251145203909),
        (1.0958763718605042, 0.9780054271221161),
        (1.051339602470398, 0.9726734181245168),
    ],
    ("tfn", "powmix"): [
        (0.9852711200714112, 0.9847374141216279),
        (0.9384547233581543, 0.9773407240708669),
        (0.9333730459213256, 0.9704091091950734),
    ],
    ("mult", "none"): [
        (1.028186821937561, 0.9131777226924896),
        (1.0363101363182068, 0.8780073175827662),
        (0.8693385362625122, 0.9035048256317775),
    ],
    ("mult", "powmix"): [
        (1.0092342615127563, 1.0294231727719307),
        (0.9580224037170411, 0.9803845718502998),
        (0.9809075474739075, 1.0484634990493455),
    ],
}


@pytest.mark.parametrize(("model", "mixing"), GOLDEN)
def test_training_and_validation_losses_are_what_they_were(model, mixing, tmp_path):
    watcher, options = Watcher(), {"p_mix": 0.5, "n_out": 40} if mixing == "powmix" else {}
    alone(tmp_path / "s", model, mixer(mixing, **options), 1111, watcher, accumulate=2, clip_value=0.1, max_epochs=3)
    losses = [(row["train_loss"], row["validation_Loss"]) for row in watcher.rows]
    assert losses == [pytest.approx(pair, rel=1e-5) for pair in GOLDEN[model, mixing]]
