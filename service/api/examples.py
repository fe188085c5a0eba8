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
    "model": "2026.11.6",
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
            "model": "2026.11.6",
            "taxonomy": "1",
        },
    ]
}
_TIME = "2026-11-25T03:10:00Z"
TICKET: dict[str, Any] = TAGS | {
    "revision": 1,
    "text": TEXT,
    "channel": "hotline",
    "metadata": {"product": "宽带"},
    "created_at": _TIME,
    "received_at": _TIME,
    "classified_at": _TIME,
    "labels": {
        "grade": 1,
        "polarity": "negative",
        "request": "complaint",
        "causes": ["broken_promise", "ignored_feelings"],
    },
    "corrections": [],
    "review": {"reason": None, "claimed_by": None, "claimed_until": None},
    "guidance": [
        {
            "cause": "broken_promise",
            "name": {"zh": "承诺未兑现", "en": "Broken promise"},
            "wants": [{"zh": "承诺立即兑现", "en": "The promise kept now"}],
            "respond": [{"zh": "承认没有做到并道歉", "en": "Admit it was not kept and apologise"}],
            "never_say": [{"zh": "我没这么说过", "en": "I never said that"}],
        }
    ],
}
NEW_TICKET: dict[str, Any] = {
    "hotline": {
        "summary": "A ticket of the hotline 热线工单",
        "value": {
            "id": "T-1",
            "text": TEXT,
            "channel": "hotline",
            "created_at": "2026-11-25T11:10:00+08:00",
            "metadata": {"product": "宽带"},
        },
    }
}
ADAPTED: dict[str, Any] = {
    "generic": {
        "summary": "A 工单系统's JSON 通用工单",
        "value": {
            "工单编号": "GD-1001",
            "标题": "宽带未装",
            "内容": TEXT,
            "渠道": "热线",
            "创建时间": "2026-11-25 11:10",
        },
    }
}
CORRECTION: dict[str, Any] = {
    "one": {
        "summary": "Another cause 改原因",
        "value": {"by": "li.na", "labels": {"causes": ["broken_promise"]}, "why": "客服后来回了电话"},
    },
    "confirm": {"summary": "All is right 确认无误", "value": {"by": "li.na"}},
}
CLAIM: dict[str, Any] = {"two": {"summary": "The next two 领取两张", "value": {"by": "li.na", "limit": 2}}}
RELEASE: dict[str, Any] = {"one": {"summary": "Give it back 放弃认领", "value": {"by": "li.na"}}}
DRAFT: dict[str, Any] = {
    "bad": {"summary": "A draft 草稿", "value": {"text": "公司就是这么规定的,我也没办法。", "ticket_id": "T-1"}}
}
CHECKED: dict[str, Any] = {
    "findings": [
        {
            "kind": "hiding_behind_rules",
            "start": 0,
            "end": 9,
            "text": "公司就是这么规定的",
            "severity": "stop",
            "why": {"zh": "拿规定搪塞，顾客只会更气", "en": "Hiding behind a rule makes the customer angrier"},
            "better": {"zh": "我帮您看看有什么办法", "en": "Let me see what can be done for you"},
        }
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
            "version": "2026.11.6",
            "current": True,
            "created": "2026-11-25T03:10:00Z",
            "taxonomy": "1",
            "size_bytes": 36_700_160,
            "metrics": {"dev": {"cause_micro_f1": 0.75, "polarity_accuracy": 0.88}},
        }
    ]
}
WEBHOOK: dict[str, Any] = {
    "id": "wh_5f0c1d2e3a4b",
    "url": "https://helpdesk.example.com/hooks/fankui",
    "filters": {
        "causes": ["broken_promise"],
        "polarity": ["negative"],
        "grades": None,
        "request": None,
        "loyalty": None,
        "needs_review": None,
    },
    "created_at": "2026-11-25T03:10:00Z",
}
WEBHOOK_SECRET = "whsec_ZmFua3VpIGV4YW1wbGUsIG5vdCBhIHNlY3JldCE="
DELIVERY: dict[str, Any] = {
    "id": "msg_0b4a6c1de2f34d5f8a7b9c0d1e2f3a4b",
    "ticket_id": "T-1",
    "state": "dead",
    "attempts": 10,
    "created_at": "2026-11-25T03:10:00Z",
    "due_at": None,
    "last_error": "The receiver answered with status 500.",
}
NEW_WEBHOOK: dict[str, Any] = {
    "promises": {
        "summary": "Negative tickets about broken promises 承诺未兑现的负面工单",
        "value": {
            "url": "https://helpdesk.example.com/hooks/fankui",
            "filters": {"causes": ["broken_promise"], "polarity": ["negative"]},
        },
    },
    "all": {"summary": "All tickets 全部工单", "value": {"url": "https://helpdesk.example.com/hooks/fankui"}},
}


def answer(example: dict[str, Any]) -> dict[int | str, dict[str, Any]]:
    """What FastAPI's `responses=` wants to show `example` as the successful answer."""
    return {200: {"content": {"application/json": {"example": example}}}}
