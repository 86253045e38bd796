"""What a linear model makes of each modality alone and of all together: the number that a network has to beat.

python linear_baselines.py dataset=htad train_examples=100
python linear_baselines.py dataset=utd path=FOLDER pooled=true

Needs scikit-learn (`pip install scikit-learn`). The splits are those that powmix trains on, as `powmix.data` gives them
to anyone; logistic or ridge regression, its strength chosen on the validation split; the test split is asked once.
"""

import sys
from collections.abc import Iterator

import numpy as np
import yaml
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler

from powmix.data import load
from powmix.data.registry import defaults

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)


def columns(split, modality: str) -> np.ndarray:
    """A modality as one row per example: of sequences the mean and the standard deviation of their real steps."""
    value = split.features[modality]
    if modality not in split.lengths:
        return value.flatten(1).numpy()
    real = [steps[: int(n)] for steps, n in zip(value, split.lengths[modality])]
    return np.stack([np.concatenate([one.mean(0), one.std(0, unbiased=False)]) for one in real])


def scores(splits, chosen: tuple[str, ...]) -> tuple[float, float]:
    """(validation, test): accuracy of classes, mean absolute error of numbers."""
    parts = (splits.train, splits.valid, splits.test)
    x_train, *x_asked = (np.concatenate([columns(part, name) for name in chosen], 1) for part in parts)
    is_classes, scaler = splits.task == "classification", StandardScaler().fit(x_train)
    y_train, *y_asked = (part.target.numpy().argmax(1) if is_classes else part.target.numpy()[:, 0] for part in parts)
    found = []
    for c in STRENGTHS:
        model = LogisticRegression(C=c, max_iter=5000) if is_classes else Ridge(alpha=1 / c)
        got = [model.fit(scaler.transform(x_train), y_train).predict(scaler.transform(x)) for x in x_asked]
        found.append([np.mean(y == g) if is_classes else np.abs(y - g).mean() for y, g in zip(y_asked, got)])
    return tuple((max if is_classes else min)(found, key=lambda pair: pair[0]))


def baselines(words: list[str]) -> Iterator[tuple[str, float, float]]:
    """(modalities, validation, test) for each modality and for all of them."""
    told = {key: yaml.safe_load(value) for key, value in (word.split("=", 1) for word in words)}
    name = told.pop("dataset")
    splits = load({**defaults(name), "name": name, **told}, ("*",), "auto")
    for chosen in [*((one,) for one in splits.dims), tuple(splits.dims)]:
        yield (" + ".join(chosen), *scores(splits, chosen))


if __name__ == "__main__":
    print("validation    test  linear model on")
    for chosen, valid, test in baselines(sys.argv[1:]):
        print(f"{valid:10.3f} {test:7.3f}  {chosen}")
