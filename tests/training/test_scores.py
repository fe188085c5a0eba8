"""Metrics against an independent implementation, and calibration that does what it promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import cohen_kappa_score, f1_score

from fankui import Taxonomy
from fankui.decisions import Decider, neutral_calibration
from training.calibrate import fit_calibration, fit_review, fit_scaling, fit_thresholds, least_confidence
from training.losses import LossOptions, class_weights, divergence, marginal_loss, multi_head_loss
from training.metrics import expected_calibration_error, label_f1, score
from training.model import head_shapes

TAXONOMY = Taxonomy.load(Path(__file__).parents[2] / "data" / "taxonomy.yaml")
HEADS = head_shapes(TAXONOMY)
COLUMNS = {head.id: slice(head.start, head.end) for head in HEADS}


def _gold(n: int, seed: int = 0) -> np.ndarray:
    """Random consistent gold labels, (n, labels)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2, (n, TAXONOMY.width))
    return Decider(TAXONOMY, neutral_calibration(TAXONOMY)).decide(logits)


def test_scores_agree_with_scikit_learn() -> None:
    gold, chosen = _gold(400, 1), _gold(400, 2)
    scores = score(gold, chosen, TAXONOMY)
    cause, grade = COLUMNS["cause"], COLUMNS["sentiment"]
    assert scores["cause.micro_f1"] == pytest.approx(f1_score(gold[:, cause], chosen[:, cause], average="micro"))
    assert scores["cause.macro_f1"] == pytest.approx(f1_score(gold[:, cause], chosen[:, cause], average="macro"))
    kappa = cohen_kappa_score(gold[:, grade].argmax(1), chosen[:, grade].argmax(1), weights="quadratic")
    assert scores["sentiment.qwk"] == pytest.approx(kappa)
    loyalty = COLUMNS["loyalty"]
    macro = f1_score(gold[:, loyalty].argmax(1), chosen[:, loyalty].argmax(1), average="macro")
    assert scores["loyalty.macro_f1"] == pytest.approx(macro)


def test_perfect_answers_score_one() -> None:
    gold = _gold(200)
    assert all(value == pytest.approx(1) for value in score(gold, gold, TAXONOMY).values())


def test_calibration_error_is_zero_for_an_honest_and_large_for_a_boastful_model() -> None:
    correct = np.arange(1000) % 10 < 7
    assert expected_calibration_error(np.full(1000, 0.7, np.float32), correct) == pytest.approx(0, abs=1e-4)
    assert expected_calibration_error(np.full(1000, 0.99, np.float32), correct) == pytest.approx(0.29, abs=1e-4)
    assert expected_calibration_error(np.array([], np.float32), np.array([], bool)) == 0


def test_the_scales_and_biases_of_overstated_multiple_choices_are_found_label_by_label() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 1.5, (20_000, 3))
    gold = generator.random(true.shape) < 1 / (1 + np.exp(-true))
    found = fit_scaling((true + np.array([0.0, 0.0, 1.0])) * np.array([2.5, 1.0, 0.5]), gold, "multi")
    assert found.temperature == pytest.approx((2.5, 1.0, 0.5), rel=0.05)
    assert found.bias == pytest.approx((0, 0, -1), abs=0.1)


def test_the_scale_and_bias_of_a_skewed_single_choice_are_found() -> None:
    generator = np.random.default_rng(0)
    true = generator.normal(0, 1.5, (20_000, 3))
    gold = np.eye(3, dtype=bool)[(true + generator.gumbel(size=true.shape)).argmax(1)]
    found = fit_scaling((true - np.array([0.0, 0.0, 1.0])) * 2, gold, "single")
    assert found.temperature == pytest.approx(2, rel=0.05)
    assert found.bias[2] - found.bias[0] == pytest.approx(1, abs=0.1)


def test_what_another_head_says_is_found_where_it_helps_and_only_there() -> None:
    generator = np.random.default_rng(1)
    context = generator.normal(0, 2, (20_000, 5))
    own = generator.normal(0, 1.5, (20_000, 2))
    gold = generator.random(own.shape) < 1 / (1 + np.exp(-(own + context[:, [3]] * [0.8, 0.0])))
    found = np.array(fit_scaling(own, gold, "multi", context).context)
    assert found.shape == (2, 5)
    assert found[0, 3] == pytest.approx(0.8, abs=0.05)
    assert np.abs(np.delete(found.ravel(), 3)).max() < 0.05


def test_evidence_heads_are_calibrated_by_their_own_logits_only() -> None:
    gold = _gold(300, 7)
    logits = gold * 2.0 - 1 + np.random.default_rng(8).normal(0, 1, gold.shape)
    calibration = fit_calibration(logits, gold, TAXONOMY)
    assert {head.id: bool(calibration[head.id].context) for head in TAXONOMY.heads} == {
        head.id: not head.evidence for head in TAXONOMY.heads
    }


def test_thresholds_never_do_worse_on_their_own_texts_than_one_half() -> None:
    gold = _gold(500, 3)
    logits = gold * 1.0 - 1.2 + np.random.default_rng(4).normal(0, 0.8, gold.shape)
    calibration = fit_calibration(logits, gold, TAXONOMY)
    tuned = Decider(TAXONOMY, calibration).decide(logits)
    plain = Decider(TAXONOMY, neutral_calibration(TAXONOMY)).decide(logits)
    assert score(gold, tuned, TAXONOMY)["cause.micro_f1"] > score(gold, plain, TAXONOMY)["cause.micro_f1"]


def test_thresholds_of_calibrated_probabilities_reach_the_best_f1_there_is() -> None:
    generator = np.random.default_rng(5)
    probability = (1 / (1 + np.exp(-generator.normal([-2.0, 0.0], 1.5, (50_000, 2))))).astype(np.float32)
    gold = generator.random(probability.shape) < probability
    chosen = label_f1(gold, probability >= fit_thresholds(probability))
    grid = [label_f1(gold, probability >= limit) for limit in np.arange(0.05, 0.95, 0.01)]
    assert chosen == pytest.approx(np.max(grid, 0), abs=0.004)


def test_a_label_that_is_never_likely_needs_a_quarter_to_be_said() -> None:
    assert fit_thresholds(np.full((100, 1), 0.01, np.float32)) == (0.25,)


def test_the_review_limit_leaves_the_precision_asked_for() -> None:
    generator = np.random.default_rng(0)
    confidence = generator.random(2000).astype(np.float32)
    correct = generator.random(2000) < confidence
    limit = least_confidence(confidence, correct, 0.9)
    assert correct[confidence >= limit].mean() >= 0.9
    assert least_confidence(confidence, np.zeros(2000, bool), 0.9) > 1


def test_the_review_limits_leave_the_precision_asked_for_within_each_source() -> None:
    gold = _gold(2000, 5)
    generator = np.random.default_rng(6)
    sources = ["reviews"] * 1700 + ["tickets"] * 300
    noise = np.where(np.array(sources) == "tickets", 1.9, 1.2)[:, None]
    logits = gold * 6.0 - 3 + generator.normal(0, 1, gold.shape) * noise
    calibration, asked = neutral_calibration(TAXONOMY), {"polarity": 0.95, "causes": 0.9}
    review = fit_review(logits, gold, sources, TAXONOMY, calibration, asked)
    decider, cause = Decider(TAXONOMY, calibration), COLUMNS["cause"]
    chosen = decider.decide(logits)
    sure = decider.confidences(decider.probabilities(logits), chosen)["causes"] >= review["causes"]
    right = (chosen[:, cause] == gold[:, cause]).all(1)
    hard = np.array(sources) == "tickets"
    assert right[hard].mean() < right[~hard].mean()
    assert right[hard & sure].mean() >= 0.9
    mixed = fit_review(logits, gold, ["all"] * 2000, TAXONOMY, calibration, asked)
    assert mixed["causes"] < review["causes"]


def test_the_loss_falls_when_the_logits_move_to_the_labels_and_ignores_unknown_heads() -> None:
    gold = torch.tensor(_gold(32).astype(np.float32))
    weights = class_weights(gold, HEADS, 0.5)
    known = torch.ones(32, len(HEADS))
    options = LossOptions(focal_gamma=1.0, label_smoothing=0.05, ordinal_weight=1.0)
    far, near = torch.zeros_like(gold), gold * 4 - 2
    losses = [multi_head_loss(x, gold, known, HEADS, weights, options).item() for x in (far, near)]
    assert losses[1] < losses[0]
    assert multi_head_loss(far, gold, known * 0, HEADS, weights, options).item() == 0


def test_rare_labels_weigh_more_and_the_divergence_of_equal_logits_is_zero() -> None:
    gold = torch.tensor(_gold(500).astype(np.float32))
    gold[:, COLUMNS["cause"].start] = 0
    gold[0, COLUMNS["cause"].start] = 1
    weights = class_weights(gold, HEADS, 0.5)
    assert weights[COLUMNS["cause"]].argmax() == 0
    assert class_weights(gold, HEADS, 0.0).eq(1).all()
    logits = torch.randn(8, TAXONOMY.width)
    assert divergence(logits, logits, HEADS).item() == pytest.approx(0)
    assert divergence(logits, -logits, HEADS).item() > 0


def test_the_marginal_loss_counts_all_allowed_grades() -> None:
    allowed = torch.tensor([[1.0, 1, 0, 0, 0]])
    assert marginal_loss(torch.tensor([[9.0, 9, 0, 0, 0]]), allowed).item() == pytest.approx(0, abs=1e-3)
    assert marginal_loss(torch.zeros(1, 5), allowed).item() == pytest.approx(-np.log(0.4), abs=1e-4)
