"""From logits to labels: temperatures, thresholds, and a grade that fits its polarity."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fankui import Taxonomy
from fankui.decisions import Decider, HeadCalibration, neutral_calibration
from fankui.evidence import clause_shares

TAXONOMY = Taxonomy.load(Path(__file__).parents[2] / "data" / "taxonomy.yaml")
SLICES = {head.id: columns for head, columns in TAXONOMY.slices()}
NEUTRAL = neutral_calibration(TAXONOMY)
DECIDER = Decider(TAXONOMY, NEUTRAL)


def test_probabilities_of_a_single_choice_sum_to_one_and_of_many_stand_alone() -> None:
    logits = np.random.default_rng(0).normal(0, 50, (20, TAXONOMY.width))
    probability = DECIDER.probabilities(logits)
    assert np.allclose(probability[:, SLICES["request"]].sum(1), 1, atol=1e-5)
    assert ((probability >= 0) & (probability <= 1)).all()


def test_a_higher_temperature_makes_the_model_less_sure() -> None:
    logits = np.ones((1, TAXONOMY.width)) * np.arange(TAXONOMY.width)
    cooler = DECIDER.probabilities(logits)
    warm = {name: c.model_copy(update={"temperature": 3.0}) for name, c in NEUTRAL.items()}
    warmer = Decider(TAXONOMY, warm).probabilities(logits)
    assert warmer[0, SLICES["sentiment"]].max() < cooler[0, SLICES["sentiment"]].max()


def test_labels_of_a_head_may_have_a_temperature_each() -> None:
    labels = SLICES["cause"].stop - SLICES["cause"].start
    each = NEUTRAL | {"cause": NEUTRAL["cause"].model_copy(update={"temperature": tuple(range(1, labels + 1))})}
    logits = np.full((1, TAXONOMY.width), 2.0)
    found = Decider(TAXONOMY, each).probabilities(logits)[0, SLICES["cause"]]
    assert np.allclose(found, 1 / (1 + np.exp(-2 / np.arange(1, labels + 1))))


def test_context_lets_a_label_of_one_head_speak_for_a_label_of_another() -> None:
    dimensions = SLICES["servqual"].stop - SLICES["servqual"].start
    context = np.zeros((dimensions, TAXONOMY.width))
    context[4, SLICES["cause"].start + 4] = 2.0
    together = NEUTRAL | {"servqual": NEUTRAL["servqual"].model_copy(update={"context": tuple(map(tuple, context))})}
    logits = np.zeros((1, TAXONOMY.width))
    logits[0, SLICES["cause"].start + 4] = 1.5
    alone, moved = DECIDER.probabilities(logits)[0], Decider(TAXONOMY, together).probabilities(logits)[0]
    place = SLICES["servqual"].start + 4
    assert np.isclose(moved[place], 1 / (1 + np.exp(-3.0)))
    assert np.allclose(np.delete(moved, place), np.delete(alone, place))


def test_a_label_holds_at_its_threshold() -> None:
    probability = np.full((1, TAXONOMY.width), 0.4, np.float32)
    assert not DECIDER.choose(probability)[0, SLICES["cause"]].any()
    lower = NEUTRAL | {"cause": HeadCalibration(thresholds=(0.4,) + (0.5,) * 6)}
    assert Decider(TAXONOMY, lower).choose(probability)[0, SLICES["cause"]].tolist() == [True] + [False] * 6


def test_the_grade_is_the_likeliest_of_the_likeliest_polarity() -> None:
    probability = np.zeros((1, TAXONOMY.width), np.float32)
    probability[0, SLICES["sentiment"]] = [0.3, 0.25, 0.4, 0.05, 0.0]  # neutral leads alone, negative together
    chosen = DECIDER.choose(probability)
    assert chosen[0, SLICES["sentiment"]].argmax() == 0
    assert np.isclose(DECIDER.confidences(probability, chosen)["polarity"][0], 0.55)


def test_confidence_in_the_causes_is_that_of_the_whole_set() -> None:
    probability = np.zeros((1, TAXONOMY.width), np.float32)
    probability[0, SLICES["cause"]] = [0.9, 0.8, 0, 0, 0, 0, 0.1]
    chosen = DECIDER.choose(probability)
    assert np.isclose(DECIDER.confidences(probability, chosen)["causes"][0], 0.9 * 0.8 * 0.9)


def test_a_clause_collects_the_shares_of_its_tokens() -> None:
    offsets = [(0, 0), (0, 2), (2, 4), (4, 5), (5, 7), (0, 0)]  # two clauses with a comma between, special tokens
    shares = np.array([[9.0], [1.0], [2.0], [7.0], [4.0], [9.0]], np.float32)
    assert clause_shares([(0, 4), (5, 7)], offsets, shares).tolist() == [[3.0], [4.0]]
