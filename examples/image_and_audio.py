"""Ten classes from a picture and a sound, with the built-in late_fusion model: no line of network code.

python image_and_audio.py -m mixer=none,powmix seeds=5
python image_and_audio.py model.fusion=gated model.sequence_encoder=gru
"""

import numpy as np

import powmix


@powmix.register_dataset("digits_seen_and_heard")
def digits_seen_and_heard(examples: int = 500, noise: float = 1.0, corpus_seed: int = 0):
    """Made-up digits: 12 x 12 pictures of ten shapes, and sounds of ten melodies; no files are needed."""
    rng = np.random.default_rng(corpus_seed)
    digit = rng.integers(10, size=examples)
    shapes = rng.normal(size=(10, 1, 12, 12))
    melodies = rng.normal(size=(10, 5, 8))
    pictures = shapes[digit] + noise * 2 * rng.normal(size=(examples, 1, 12, 12))
    sounds = []
    for one in digit:
        steps = np.repeat(melodies[one], rng.integers(3, 7), axis=0)  # the same five notes, quicker or slower
        sounds.append(steps + noise * 2 * rng.normal(size=steps.shape))
    return {"image": pictures, "audio": sounds, "target": digit}


if __name__ == "__main__":
    powmix.main(dataset="digits_seen_and_heard", model="late_fusion")
