"""Readable opinions for the synthetic corpus: a small grammar whose sentiment is known exactly.

A clause's sentiment is its adjective's valence, scaled by an intensifier and flipped and weakened by a negation; two
clauses average ("and") or the second outweighs the first ("but"). Fillers and neutral clauses carry nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

VALENCE = {
    "okay": 0.3, "fine": 0.5, "decent": 0.6, "pleasant": 0.8, "nice": 0.9, "likeable": 0.9, "good": 1.1, "clever": 1.2,
    "fresh": 1.0, "funny": 1.3, "charming": 1.4, "touching": 1.4, "solid": 1.0, "enjoyable": 1.5, "lovely": 1.6,
    "smart": 1.3, "gripping": 1.7, "great": 1.8, "hilarious": 1.9, "beautiful": 2.0, "moving": 1.5, "thrilling": 1.9,
    "brilliant": 2.2, "superb": 2.3, "wonderful": 2.2, "amazing": 2.4, "stunning": 2.3, "perfect": 2.6, "flawless": 2.5,
    "slow": -0.5, "odd": -0.4, "flat": -0.7, "bland": -0.8, "messy": -0.8, "silly": -0.9, "weak": -1.0, "dull": -1.1,
    "stale": -1.0, "cheap": -1.1, "bad": -1.3, "lazy": -1.2, "annoying": -1.5, "boring": -1.5, "clumsy": -1.0,
    "stupid": -1.8, "painful": -1.9, "ugly": -1.6, "lame": -1.4, "pathetic": -2.1, "awful": -2.2, "dreadful": -2.2,
    "terrible": -2.4, "horrible": -2.5, "unwatchable": -2.6, "disgusting": -2.4, "pointless": -1.7, "hollow": -1.1,
    "long": 0.0, "loud": 0.0, "short": 0.0, "recent": 0.0, "quiet": 0.0, "new": 0.0, "simple": 0.0, "dark": 0.0,
}  # fmt: skip
INTENSITY = {"slightly": 0.5, "somewhat": 0.7, "really": 1.25, "very": 1.3, "truly": 1.3, "extremely": 1.5, "so": 1.2}
NEGATION = {"not": -0.6, "never": -0.7, "hardly": -0.4}
JOINING = {"and": (0.5, 0.5), "while": (0.5, 0.5), "but": (0.25, 0.85), "yet": (0.25, 0.85)}
TOPICS = (
    "movie", "film", "plot", "story", "acting", "music", "ending", "cast", "camera", "dialogue", "humor", "script",
    "hero", "villain", "action", "visuals", "trailer", "sequel", "opening", "soundtrack", "pacing", "editing",
    "romance", "costumes",
)  # fmt: skip
VERBS = ("was", "felt", "looked", "seemed")
HABITS = ("um", "uh", "well", "like", "i mean", "you know", "i guess", "honestly", "basically", "okay so")
OPENERS = ("i think", "i would say", "to me", "in my opinion", "all in all", "they told us that", "for what it is")
TAILS = ("we saw it on sunday", "i watched it with my brother", "it came out last year", "that is all i know")

FIRST_WORD = 103
WORDS = tuple(
    dict.fromkeys(
        word
        for phrases in (VALENCE, INTENSITY, NEGATION, JOINING, TOPICS, VERBS, HABITS, OPENERS, TAILS, ("the",))
        for phrase in phrases
        for word in phrase.split()
    )
)
TOKEN_ID = {word: FIRST_WORD + number for number, word in enumerate(WORDS)}
VOCABULARY = FIRST_WORD + len(WORDS)

_ADJECTIVES = tuple(VALENCE)
_VALENCES = np.array(list(VALENCE.values()))
# Zipf-like: a long tail of rare words is what a small training set cannot cover.
_FREQUENCY = 1 / (1 + np.random.default_rng(7).permutation(len(_ADJECTIVES)) / 6)


@dataclass(frozen=True)
class Sentence:
    """words of the sentence; its sentiment in [-3, 3]; focus: position of the adjective that weighs most."""

    words: tuple[str, ...]
    sentiment: float
    focus: int


def compose(mood: float, room: int, habit: str, rng: np.random.Generator) -> Sentence:
    """A sentence of at most `room` (>= 6) words, adjectives near `mood`; `habit` is its speaker's filler."""
    words, sentiment = _clause(mood, rng)
    focus = len(words) - 1
    if rng.random() < 0.5 and len(words) + 7 <= room:
        joint = _pick(tuple(JOINING), rng)
        first, second = JOINING[joint]
        more, further = _clause(mood if first == second else -mood, rng)
        sentiment = first * sentiment + second * further
        words = [*words, joint, *more]
        focus = focus if first == second else len(words) - 1
    for phrase, chance in ((habit, 0.6), (_pick(OPENERS, rng), 0.3)):
        if rng.random() < chance and len(words) + len(phrase.split()) <= room:
            words, focus = [*phrase.split(), *words], focus + len(phrase.split())
    tail = _pick(TAILS, rng).split()
    if rng.random() < 0.25 and len(words) + len(tail) <= room:
        words = [*words, *tail]
    return Sentence(tuple(words), float(np.clip(sentiment, -3, 3)), focus)


def _clause(mood: float, rng: np.random.Generator) -> tuple[list[str], float]:
    words, factor = ["the", _pick(TOPICS, rng), _pick(VERBS, rng)], 1.0
    if rng.random() < 0.2:
        words.append(_pick(tuple(NEGATION), rng))
        factor *= NEGATION[words[-1]]
    if rng.random() < 0.4:
        words.append(_pick(tuple(INTENSITY), rng))
        factor *= INTENSITY[words[-1]]
    likelihood = _FREQUENCY * np.exp(-np.abs(_VALENCES * np.sign(factor) - mood) / 0.6)
    adjective = rng.choice(len(_ADJECTIVES), p=likelihood / likelihood.sum())
    return [*words, _ADJECTIVES[adjective]], factor * _VALENCES[adjective]


def _pick(phrases: tuple[str, ...], rng: np.random.Generator) -> str:
    return phrases[rng.integers(len(phrases))]
