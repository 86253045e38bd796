"""The synthetic corpus: opinions with a sentiment lexicon, and voices and faces that tell part of it; made from a seed.

How a clip comes about. Its speaker has a mood, a filler word, and constant offsets in voice and face. The words'
sentiment follows from the grammar (sentences.py); a tone of voice, which no word tells, is added: sentiment = words +
tone. Audio carries the tone and the arousal |sentiment| around the stressed word, vision a smile or a frown that is
hidden in a quarter of the clips; both sit in autocorrelated noise. Five annotators see the sentiment, each errs by N(0,
noise), answers an integer in -3..3, and the label is their mean. Speakers are split, not clips: what a model
remembers of a speaker is of no use in the test.

Noise floor: `notes["noise_floor_mae"]` is the test MAE of the best predictor that knows every clip's sentiment
exactly (the median of its label's distribution); `text_floor_mae` that of one who knows the words' sentiment only;
`constant_mae` that of the training median.

Shape suffixes: N examples, L time steps, D features, K replicas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch

from powmix.data import sentences
from powmix.data.registry import OF_SYNTHETIC
from powmix.data.sentences import Sentence
from powmix.data.splits import CLS, MODALITIES, PAD, SEP, SPLITS, Split, Splits
from powmix.mistakes import broken, refuse, unknown

ANNOTATORS, TONE, OCCLUDED, CLIPS_PER_SPEAKER = 5, 0.6, 0.25, 30
VOICE, FACE, OFFSET = 1.8, 0.9, 0.6


@dataclass(frozen=True)
class Options:
    """What can be chosen, as in conf/dataset/synthetic.yaml. `aligned`: audio and vision step with the tokens."""

    sizes: dict[str, int] = field(default_factory=lambda: {"train": 600, "valid": 200, "test": 300})
    steps: dict[str, int] = field(default_factory=lambda: {"text": 20, "audio": 30, "vision": 30})
    dims: dict[str, int] = field(default_factory=lambda: {"text": 48, "audio": 8, "vision": 12})
    noise: float = 0.7
    aligned: bool = False
    corpus_seed: int = 0

    def __post_init__(self) -> None:
        refuse(broken(OF_SYNTHETIC, vars(self), "dataset."))


@dataclass(frozen=True)
class _Clips:
    """One split before it has features: speakers, sentiment of the words alone and with the tone, labels."""

    sentences: list[Sentence]
    speaker_N: np.ndarray
    spoken_N: np.ndarray
    tone_N: np.ndarray
    sentiment_N: np.ndarray
    label_N: np.ndarray


def build(options: Mapping[str, Any]) -> Splits:
    """The corpus for `options` (keys of Options), equal for equal options; seconds, no download."""
    refuse(unknown(options, Options.__dataclass_fields__, "dataset option"))
    given: dict[str, Any] = {k: dict(value) if isinstance(value, Mapping) else value for k, value in options.items()}
    chosen = Options(**given)
    steps = dict.fromkeys(MODALITIES, chosen.steps["text"]) if chosen.aligned else dict(chosen.steps)
    streams = np.random.SeedSequence(chosen.corpus_seed).spawn(2 + len(SPLITS))
    world = _World(chosen.dims, np.random.default_rng(streams[0]))
    clips: dict[str, _Clips] = {}
    made: dict[str, Any] = {}
    for name, stream in zip(SPLITS, streams[2:]):
        words, signals = (np.random.default_rng(child) for child in stream.spawn(2))
        clips[name] = _clips(chosen.sizes[name], steps["text"], chosen.noise, words)
        made[name] = _split(name, clips[name], world, steps, chosen, signals)
    return Splits(
        name="synthetic",
        **made,
        dims=dict(chosen.dims),
        steps=steps,
        label_range=(-3.0, 3.0),
        convention="mosi",
        digest=_digest(made),
        notes={**_floors(clips, chosen.noise, np.random.default_rng(streams[1])), "options": asdict(chosen)},
    )


class _World:
    """What all clips share: an embedding per word, and the directions in which voice and face tell a feeling."""

    def __init__(self, dims: Mapping[str, int], rng: np.random.Generator):
        words, audio, vision = rng.spawn(3)
        self.embedding_WD = words.standard_normal((sentences.VOCABULARY, dims["text"]), dtype=np.float32)
        self.embedding_WD[PAD] = 0
        direction_D = words.standard_normal(dims["text"], dtype=np.float32)
        direction_D *= 4 / np.linalg.norm(direction_D)
        for word, valence in sentences.VALENCE.items():
            self.embedding_WD[sentences.TOKEN_ID[word]] += valence * direction_D
        self.voice_2D = VOICE * audio.standard_normal((2, dims["audio"])) / np.sqrt(dims["audio"])
        self.face_2D = FACE * vision.standard_normal((2, dims["vision"])) / np.sqrt(dims["vision"])


def _clips(size: int, text_steps: int, noise: float, rng: np.random.Generator) -> _Clips:
    speakers = -(-size // CLIPS_PER_SPEAKER)
    mood, habit = rng.normal(0, 0.9, speakers), rng.integers(len(sentences.HABITS), size=speakers)
    speaker_N = np.arange(size) % speakers
    said = [
        sentences.compose(rng.normal(mood[who], 1.4), text_steps - 2, sentences.HABITS[habit[who]], rng)
        for who in speaker_N
    ]
    spoken_N = np.array([sentence.sentiment for sentence in said])
    tone_N = rng.normal(0, TONE, size)
    sentiment_N = np.clip(spoken_N + tone_N, -3, 3)
    return _Clips(said, speaker_N, spoken_N, tone_N, sentiment_N, _annotate(sentiment_N, noise, rng))


def _annotate(sentiment: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    """The mean of what the annotators answer, for sentiments of any shape."""
    votes = np.rint(sentiment[..., None] + noise * rng.standard_normal((*sentiment.shape, ANNOTATORS)))
    return np.clip(votes, -3, 3).mean(-1)


def _split(
    name: str, clips: _Clips, world: _World, steps: Mapping[str, int], options: Options, rng: np.random.Generator
) -> Split:
    tokens_N3L = _tokens(clips.sentences, steps["text"])
    text_N = tokens_N3L[:, 1].sum(-1)
    lengths = {"text": text_N}
    for modality in ("audio", "vision"):
        tempo_N = rng.uniform(0.85, 1.15, len(text_N))
        frames_N = np.clip(np.rint(text_N / steps["text"] * steps[modality] * tempo_N), 3, steps[modality])
        lengths[modality] = text_N if options.aligned else frames_N.astype(np.int64)
    focus_N = np.array([(sentence.focus + 1.5) / length for sentence, length in zip(clips.sentences, text_N)])
    smile_N2 = np.stack([np.maximum(clips.sentiment_N, 0), np.maximum(-clips.sentiment_N, 0)], -1)
    smile_N2 *= rng.random((len(text_N), 1)) >= OCCLUDED
    voice_N2 = np.stack([clips.tone_N + 0.3 * clips.spoken_N, np.abs(clips.sentiment_N) - 1], -1)
    features = {"text": _embed(tokens_N3L[:, 0], text_N, world.embedding_WD, rng)}
    for modality, cue_N2, direction_2D in (
        ("audio", voice_N2, world.voice_2D),
        ("vision", smile_N2, world.face_2D),
    ):
        features[modality] = _frames(
            cue_N2 @ direction_2D, focus_N, lengths[modality], steps[modality], clips.speaker_N, rng
        )
    return Split(
        features={key: torch.from_numpy(value) for key, value in features.items()},
        tokens=torch.from_numpy(tokens_N3L),
        lengths={key: torch.from_numpy(value) for key, value in lengths.items()},
        side=dict.fromkeys(MODALITIES, "right"),
        target=torch.from_numpy(clips.label_N.astype(np.float32))[:, None],
        ids=[f"{name}_speaker{who:03d}$_${row}" for row, who in enumerate(clips.speaker_N)],
        raw_text=[" ".join(sentence.words) for sentence in clips.sentences],
    )


def _tokens(said: list[Sentence], steps: int) -> np.ndarray:
    tokens_N3L = np.zeros((len(said), 3, steps), np.int64)
    for row, sentence in enumerate(said):
        ids = [CLS, *(sentences.TOKEN_ID[word] for word in sentence.words), SEP]
        tokens_N3L[row, 0, : len(ids)] = ids
        tokens_N3L[row, 1, : len(ids)] = 1
    return tokens_N3L


def _embed(ids_NL: np.ndarray, length_N: np.ndarray, embedding_WD: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Word vectors, lightly smoothed over their neighbours, with noise; padded steps are zero."""
    word_NLD = embedding_WD[ids_NL]
    text_NLD = 0.8 * word_NLD
    text_NLD[:, 1:] += 0.2 * word_NLD[:, :-1]
    text_NLD[:, :-1] += 0.2 * word_NLD[:, 1:]
    text_NLD += 0.3 * rng.standard_normal(text_NLD.shape, dtype=np.float32)
    return text_NLD * (np.arange(ids_NL.shape[1]) < length_N[:, None])[..., None]


def _frames(
    cue_ND: np.ndarray,
    focus_N: np.ndarray,
    length_N: np.ndarray,
    steps: int,
    speaker_N: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """A cue around its moment `focus` in 0..1, its speaker's offset, AR(1) noise; padded steps are zero."""
    step_L, size, width = np.arange(steps), *cue_ND.shape
    near_NL = np.exp(-0.5 * ((step_L - (focus_N * length_N)[:, None]) / (0.25 * length_N[:, None])) ** 2)
    offset_ND = OFFSET * rng.standard_normal((speaker_N.max() + 1, width))[speaker_N]
    noise_NLD = rng.standard_normal((size, steps, width))
    for step in range(1, steps):
        noise_NLD[:, step] = 0.7 * noise_NLD[:, step - 1] + np.sqrt(1 - 0.7**2) * noise_NLD[:, step]
    frames_NLD = near_NL[..., None] * cue_ND[:, None] + offset_ND[:, None] + noise_NLD
    return (frames_NLD * (step_L < length_N[:, None])[..., None]).astype(np.float32)


def _floors(
    clips: Mapping[str, _Clips], noise: float, rng: np.random.Generator, replicas: int = 201
) -> dict[str, float]:
    test = clips["test"]
    tone_NK = rng.normal(0, TONE, (len(test.label_N), replicas))
    knowing = {
        "noise_floor_mae": np.repeat(test.sentiment_N[:, None], replicas, axis=1),
        "text_floor_mae": np.clip(test.spoken_N[:, None] + tone_NK, -3, 3),
    }
    best = {name: np.median(_annotate(belief_NK, noise, rng), axis=1) for name, belief_NK in knowing.items()}
    best["constant_mae"] = np.median(clips["train"].label_N)
    return {name: float(np.abs(test.label_N - guess).mean()) for name, guess in best.items()}


def _digest(splits: Mapping[str, Split]) -> str:
    digest = hashlib.sha256()
    for split in splits.values():
        for tensor in (*split.features.values(), split.tokens, *split.lengths.values(), split.target):
            assert tensor is not None  # the tokens: this corpus has them
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
