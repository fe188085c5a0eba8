"""The examples in the API's documentation."""

from __future__ import annotations

from typing import Any

from fankui.engine import BLANK

TEXT = "说好三天到货,十天了还没发,问客服也没人理"

TAGS: dict[str, Any] = {
    "id": "T-1",
    "sentiment": {"label": "very_dissatisfied", "grade": 1, "polarity": "negative", "score": 0.93},
    "causes": [
        {"label": "broken_promise", "score": 0.97, "evidence": [{"start": 0, "end": 13, "text": TEXT[:13]}]},
        {"label": "ignored_feelings", "score": 0.81, "evidence": [{"start": 14, "end": 21, "text": TEXT[14:21]}]},
    ],
    "request": {"label": "complaint", "score": 0.9},
    "servqual": [{"label": "reliability", "score": 0.9}],
    "demand": [],
    "loyalty": {"label": "none", "score": 0.8},
    "needs_review": False,
    "model": "2026.11.0",
    "taxonomy": "1",
}

FEEDBACK: dict[str, Any] = {
    "complaint": {"summary": "A complaint 投诉", "value": {"id": "T-1", "text": TEXT}},
    "praise": {
        "summary": "Praise, without an id 表扬",
        "value": {"text": "师傅很专业，半小时就修好了，还教我怎么保养。"},
    },
}
BATCH: dict[str, Any] = {
    "three": {
        "summary": "Three texts, one of them empty 三条，其中一条为空",
        "value": {
            "items": [
                {"id": "T-1", "text": TEXT},
                {"id": "T-2", "text": "  "},
                {"id": "T-3", "text": "味道一般，不过送得挺快。"},
            ]
        },
    }
}
BATCH_RESULT: dict[str, Any] = {
    "results": [
        TAGS,
        {"id": "T-2", "note": BLANK},
        {
            "id": "T-3",
            "sentiment": {"label": "neutral", "grade": 3, "polarity": "neutral", "score": 0.71},
            "causes": [
                {
                    "label": "quality_below_requirement",
                    "score": 0.66,
                    "evidence": [{"start": 0, "end": 4, "text": "味道一般"}],
                }
            ],
            "request": {"label": "opinion", "score": 0.88},
            "servqual": [],
            "demand": [],
            "loyalty": {"label": "none", "score": 0.94},
            "needs_review": True,
            "model": "2026.11.0",
            "taxonomy": "1",
        },
    ]
}
TAXONOMY: dict[str, Any] = {
    "version": "1",
    "gaps": {
        "GAP4": {
            "name": {"zh": "宣传与承诺超出实际能力", "en": "Communication and promises exceed what is delivered"},
            "remedy": {"zh": "恰当承诺、管理期望", "en": "Proper promises, managed expectations"},
        }
    },
    "heads": [
        {
            "id": "cause",
            "field": "causes",
            "kind": "multi",
            "evidence": True,
            "name": {"zh": "不满原因", "en": "Cause of dissatisfaction"},
            "definition": {"zh": "顾客为什么不满", "en": "Why the customer is dissatisfied"},
            "labels": [
                {
                    "id": "broken_promise",
                    "code": "P",
                    "name": {"zh": "承诺未兑现", "en": "Broken promise"},
                    "definition": {"zh": "明确的承诺没有做到", "en": "An explicit promise was not kept"},
                    "grade": None,
                    "polarity": None,
                    "gaps": ["GAP4"],
                    "wants": [{"zh": "承诺立即兑现", "en": "The promise kept now"}],
                    "respond": [{"zh": "承认没有做到并道歉", "en": "Admit it was not kept and apologise"}],
                    "never_say": [{"zh": "我没这么说过", "en": "I never said that"}],
                }
            ],
        }
    ],
}
MODELS: dict[str, Any] = {
    "models": [
        {
            "version": "2026.11.0",
            "current": True,
            "created": "2026-11-25T03:10:00Z",
            "taxonomy": "1",
            "size_bytes": 36_700_160,
            "metrics": {"dev": {"cause_micro_f1": 0.75, "polarity_accuracy": 0.88}},
        }
    ]
}


def answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What FastAPI's `responses=` wants to show `example` as the successful answer."""
    return {200: {"content": {"application/json": {"example": example}}}}
