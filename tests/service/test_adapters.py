"""Payloads as the vendors document them become tickets; whatever else comes in is refused by the field's name."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.adapters import ADAPTERS, AdapterError, InboundTicket, html_to_text
from service.api.schemas import NewTicket

CHINA = timedelta(hours=8)

# https://developer.zendesk.com/api-reference/webhooks/event-types/ticket-events/
ZENDESK_CREATED: dict[str, Any] = {
    "account_id": 22129848,
    "detail": {
        "actor_id": "8447388090494",
        "assignee_id": "8447388090494",
        "brand_id": "8447346621310",
        "created_at": "2026-03-05T06:30:00Z",
        "custom_status": "8447320465790",
        "description": "净水器漏水,报修三天没人上门,打电话也没人接。",
        "external_id": None,
        "form_id": "8646151517822",
        "group_id": "8447320466430",
        "id": "5158",
        "is_public": True,
        "organization_id": "8447346622462",
        "priority": "HIGH",
        "requester_id": "8447388090494",
        "status": "OPEN",
        "subject": "净水器没人修",
        "submitter_id": "8447388090494",
        "tags": ["售后", "上门维修"],
        "type": "PROBLEM",
        "updated_at": "2026-03-05T06:30:00Z",
        "via": {"channel": "web_service"},
    },
    "event": {"meta": {"sequence": {"id": "4B1F", "position": 1, "total": 1}}},
    "id": "cbe4028c-7239-495d-b020-f22348516046",
    "subject": "zen:ticket:5158",
    "time": "2026-03-05T06:30:00.672717030Z",
    "type": "zen:event-type:ticket.created",
    "zendesk_event_version": "2022-11-06",
}
ZENDESK_COMMENT: dict[str, Any] = ZENDESK_CREATED | {
    "event": {
        "comment": {
            "id": "9876543210",
            "body": "又等了两天,还是没人来,我要退货!",
            "is_public": True,
            "author": {"id": "8447388090495", "is_staff": False, "name": "王小满"},
        }
    },
    "time": "2026-03-07T01:02:03.123456789Z",
    "type": "zen:event-type:ticket.comment_added",
}
# A trigger's body is the user's own template; these are the placeholders that Zendesk offers for it.
ZENDESK_TRIGGER: dict[str, Any] = {
    "ticket": {
        "id": 5158,
        "title": "快递柜超时收费",
        "description": "没有收到短信,取件时却要收超时费。",
        "via": "Web form",
        "priority": "Normal",
        "tags": "物流 收费",
        "external_id": "",
        "requester_email": "xiaoman@example.com",
        "requester": {"name": "王小满", "phone": "13800000000"},
        "created_at": "March 5, 2026",
        "created_at_with_timestamp": "2026-03-05T06:30Z",
    }
}
# https://support.freshdesk.com/support/solutions/articles/132589-using-webhooks-in-automation-rules
FRESHDESK_WEBHOOK: dict[str, Any] = {
    "freshdesk_webhook": {
        "ticket_id": 2,
        "ticket_subject": "酒店空调坏了",
        "ticket_description": "<div>入住后空调不制冷,<br>前台说&ldquo;没办法&rdquo;</div><p>退房费&nbsp;&amp;道歉</p>",
        "ticket_url": "https://example.freshdesk.com/helpdesk/tickets/2",
        "ticket_due_by_time": "March 23 2026 at 10:06 AM",
        "ticket_tags": "客房, 设施",
        "ticket_latest_public_comment": None,
        "ticket_group_name": "客房部",
        "ticket_agent_email": "agent@example.com",
        "ticket_status": "Open",
        "ticket_priority": "Medium",
        "ticket_source": "Feedback Widget",
        "ticket_ticket_type": "Incident",
        "ticket_requester_name": "王小满",
        "ticket_requester_email": "xiaoman@example.com",
        "ticket_requester_phone": "13800000000",
        "ticket_cf_hotel": "西湖店",
        "triggered_event": "{ticket_action:created}",
    }
}
# https://developers.freshdesk.com/api/#view_a_ticket
FRESHDESK_API: dict[str, Any] = {
    "cc_emails": ["user@example.com"],
    "fwd_emails": [],
    "reply_cc_emails": ["user@example.com"],
    "email_config_id": None,
    "fr_escalated": False,
    "group_id": None,
    "priority": 1,
    "requester_id": 1,
    "responder_id": None,
    "source": 7,
    "spam": False,
    "status": 2,
    "subject": "会员积分被清零",
    "company_id": 1,
    "id": 20,
    "type": None,
    "to_emails": None,
    "product_id": None,
    "created_at": "2026-08-24T11:56:51Z",
    "updated_at": "2026-08-24T11:59:05Z",
    "due_by": "2026-08-27T11:30:00Z",
    "fr_due_by": "2026-08-25T11:30:00Z",
    "is_escalated": False,
    "description_text": "积分上周还有 3000,今天 <全部> 清零。",
    "description": "<div>积分上周还有 3000,<br>今天 &lt;全部&gt; 清零。</div>",
    "custom_fields": {"cf_level": "金卡", "cf_points": 3000, "cf_customer_phone": "13800000000", "cf_empty": None},
    "tags": ["会员"],
    "attachments": [{"id": 4004881085, "name": "截图.png"}],
}
GENERIC_CHINESE: dict[str, Any] = {
    "工单编号": "GD20260305001",
    "标题": "地铁站电梯长期停运",
    "诉求内容": "二号口电梯停了一个月,老人只能爬楼梯。",
    "受理渠道": "12345热线",
    "受理时间": "2026年3月5日 14时30分",
    "区域": "滨江区",
    "是否回访": True,
    "重复次数": 3,
    "标签": ["电梯", "无障碍"],
    "联系人": "王小满",
    "联系电话": "13800000000",
    "诉求人": "王小满",
    "电子邮箱": "xiaoman@example.com",
    "附件": [{"名称": "照片.jpg"}],
}
GENERIC_ENGLISH: dict[str, Any] = {
    "code": 0,
    "sign": "5f1d",
    "data": {
        "workOrder": {
            "workOrderNo": 880123,
            "title": "外卖少送了一份饭",
            "content": "少送一份饭,客服让我找骑手,骑手让我找商家。",
            "source": "app",
            "createTime": 1772692200000,
            "cityCode": "330100",
            "customerName": "王小满",
            "customerTel": "13800000000",
        }
    },
}
DOCUMENTED = [
    ("zendesk", ZENDESK_CREATED),
    ("zendesk", ZENDESK_COMMENT),
    ("zendesk", ZENDESK_TRIGGER),
    ("freshdesk", FRESHDESK_WEBHOOK),
    ("freshdesk", FRESHDESK_API),
    ("generic", GENERIC_CHINESE),
    ("generic", GENERIC_ENGLISH),
]


def _generic(**fields: Any) -> InboundTicket:
    return ADAPTERS["generic"]({"id": 1, "content": "还没退款"} | fields)


def _changed(payload: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy with the field at the dotted path set."""
    changed = copy.deepcopy(payload)
    *parents, last = path.split(".")
    inner = changed
    for key in parents:
        inner = inner[key]
    inner[last] = value
    return changed


def test_a_zendesk_ticket_event_becomes_a_ticket() -> None:
    ticket = ADAPTERS["zendesk"](ZENDESK_CREATED)
    assert ticket.id == "zendesk:5158"
    assert ticket.text == "净水器没人修\n净水器漏水,报修三天没人上门,打电话也没人接。"
    assert ticket.channel == "web_service"
    assert ticket.created_at == datetime(2026, 3, 5, 6, 30, tzinfo=UTC)
    assert ticket.metadata["event_type"] == "zen:event-type:ticket.created"
    assert (ticket.metadata["priority"], ticket.metadata["type"]) == ("HIGH", "PROBLEM")
    assert ticket.metadata["tags"] == ["售后", "上门维修"]
    assert not {"id", "subject", "description", "created_at", "via", "external_id"} & set(ticket.metadata)


def test_a_zendesk_comment_becomes_the_text_of_its_ticket() -> None:
    ticket = ADAPTERS["zendesk"](ZENDESK_COMMENT)
    assert ticket.id == "zendesk:5158"
    assert ticket.text == "又等了两天,还是没人来,我要退货!"
    assert ticket.created_at == datetime(2026, 3, 5, 6, 30, tzinfo=UTC)
    assert ticket.metadata["comment_id"] == "9876543210"
    assert ticket.metadata["comment_is_public"] is True
    assert ticket.metadata["comment_author_is_staff"] is False
    assert "王小满" not in str(ticket.metadata)


def test_a_zendesk_comment_needs_no_author() -> None:
    payload = _changed(ZENDESK_COMMENT, "event.comment", {"body": "我要退货!"})
    assert ADAPTERS["zendesk"](payload).text == "我要退货!"


def test_a_zendesk_trigger_becomes_a_ticket() -> None:
    ticket = ADAPTERS["zendesk"](ZENDESK_TRIGGER)
    assert ticket == InboundTicket(
        id="zendesk:5158",
        text="快递柜超时收费\n没有收到短信,取件时却要收超时费。",
        channel="Web form",
        created_at=datetime(2026, 3, 5, 6, 30, tzinfo=UTC),
        metadata={"priority": "Normal", "tags": "物流 收费", "created_at": "March 5, 2026"},
    )


def test_a_freshdesk_webhook_becomes_a_ticket_in_plain_text() -> None:
    ticket = ADAPTERS["freshdesk"](FRESHDESK_WEBHOOK)
    assert ticket == InboundTicket(
        id="freshdesk:2",
        text="酒店空调坏了\n入住后空调不制冷,\n前台说“没办法”\n退房费 &道歉",
        channel="feedback_widget",
        created_at=None,
        metadata={
            "ticket_url": "https://example.freshdesk.com/helpdesk/tickets/2",
            "ticket_due_by_time": "March 23 2026 at 10:06 AM",
            "ticket_tags": "客房, 设施",
            "ticket_group_name": "客房部",
            "ticket_status": "Open",
            "ticket_priority": "Medium",
            "ticket_ticket_type": "Incident",
            "ticket_cf_hotel": "西湖店",
            "triggered_event": "{ticket_action:created}",
        },
    )


def test_a_freshdesk_ticket_prefers_its_plain_description() -> None:
    ticket = ADAPTERS["freshdesk"](FRESHDESK_API)
    assert ticket == InboundTicket(
        id="freshdesk:20",
        text="会员积分被清零\n积分上周还有 3000,今天 <全部> 清零。",
        channel="chat",
        created_at=datetime(2026, 8, 24, 11, 56, 51, tzinfo=UTC),
        metadata={
            "fr_escalated": False,
            "priority": 1,
            "requester_id": 1,
            "spam": False,
            "status": 2,
            "company_id": 1,
            "updated_at": "2026-08-24T11:59:05Z",
            "due_by": "2026-08-27T11:30:00Z",
            "fr_due_by": "2026-08-25T11:30:00Z",
            "is_escalated": False,
            "tags": ["会员"],
            "custom_fields.cf_level": "金卡",
            "custom_fields.cf_points": 3000,
        },
    )


@pytest.mark.parametrize(
    ("source", "channel"), [(1, "email"), (9, "feedback_widget"), ("Phone", "phone"), (101, "101"), (None, None)]
)
def test_a_freshdesk_source_becomes_a_name(source: int | str | None, channel: str | None) -> None:
    assert ADAPTERS["freshdesk"](FRESHDESK_API | {"source": source}).channel == channel


def test_a_chinese_work_order_becomes_a_ticket() -> None:
    ticket = ADAPTERS["generic"](GENERIC_CHINESE)
    assert ticket.created_at is not None
    assert ticket.created_at.isoformat() == "2026-03-05T14:30:00+08:00"
    assert (ticket.id, ticket.channel) == ("generic:GD20260305001", "12345热线")
    assert ticket.text == "地铁站电梯长期停运\n二号口电梯停了一个月,老人只能爬楼梯。"
    assert ticket.metadata == {"区域": "滨江区", "是否回访": True, "重复次数": 3, "标签": ["电梯", "无障碍"]}


def test_a_wrapped_work_order_becomes_a_ticket() -> None:
    assert ADAPTERS["generic"](GENERIC_ENGLISH) == InboundTicket(
        id="generic:880123",
        text="外卖少送了一份饭\n少送一份饭,客服让我找骑手,骑手让我找商家。",
        channel="app",
        created_at=datetime(2026, 3, 5, 6, 30, tzinfo=UTC),
        metadata={"cityCode": "330100"},
    )


@pytest.mark.parametrize(
    "name", ["id", "ticket_id", "ticketId", "order_no", "workOrderNo", "工单编号", "工单号", "编号"]
)
@pytest.mark.parametrize("text", ["content", "description", "text", "body", "内容", "问题描述", "投诉内容", "描述"])
@pytest.mark.parametrize("wrapper", [None, "data", "ticket", "workOrder"])
def test_a_generic_ticket_may_use_any_of_the_usual_names(name: str, text: str, wrapper: str | None) -> None:
    payload: dict[str, Any] = {name: "A-1", text: "还没退款"}
    ticket = ADAPTERS["generic"]({wrapper: payload} if wrapper else payload)
    assert ticket == InboundTicket(id="generic:A-1", text="还没退款")


def test_a_field_called_data_does_not_hide_the_ticket_around_it() -> None:
    assert _generic(data={"content": "别的"}).text == "还没退款"


def test_the_first_name_that_holds_something_wins_and_the_others_are_kept() -> None:
    ticket = _generic(content=" ", description="一直没退款", text="备用")
    assert (ticket.text, ticket.metadata) == ("一直没退款", {"text": "备用"})


@pytest.mark.parametrize(
    ("subject", "description", "text"),
    [
        ("退款慢", "等了十天", "退款慢\n等了十天"),
        ("退款慢", "退款慢,等了十天", "退款慢,等了十天"),
        ("退款慢", None, "退款慢"),
        ("退款慢", "  ", "退款慢"),
        ("", "等了十天", "等了十天"),
        (" 退款慢\n", "\n等了\n十天 ", "退款慢\n等了\n十天"),
    ],
)
def test_subject_and_description_become_one_text(subject: str, description: str | None, text: str) -> None:
    assert _generic(title=subject, content=description).text == text


@pytest.mark.parametrize(
    "written",
    [
        "2026-03-05T14:30:00+08:00",
        "2026-03-05T06:30:00Z",
        "2026-03-05T06:30:00.000000000Z",
        "2026-03-05T14:30:00",
        "2026-03-05 14:30:00",
        "2026-03-05 14:30:00.0",
        "2026-03-05 14:30",
        "2026-3-5 14:30",
        "2026/03/05 14:30:00",
        " 2026-03-05 14:30 ",
        "2026年3月5日 14:30",
        "2026年03月05日14时30分00秒",
        "2026年3月5日 下午2:30",
        "2026年3月5日 下午2点30分",
        "2026 年 3 月 5 日 14时30分",
        1772692200,
        1772692200000,
        1772692200.0,
        "1772692200",
        "1772692200000",
    ],
)
def test_times_are_read_in_all_usual_forms(written: str | float) -> None:
    assert _generic(createTime=written).created_at == datetime(2026, 3, 5, 6, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "hour"),
    [("2026年3月5日", 0), ("2026-03-05", 0), ("2026年3月5日 上午12:00", 0), ("2026年3月5日 9点", 9)],
)
def test_a_time_without_an_offset_is_that_of_china(written: str, hour: int) -> None:
    moment = _generic(创建时间=written).created_at
    assert moment is not None
    assert (moment.utcoffset(), moment.day, moment.hour, moment.minute) == (CHINA, 5, hour, 0)


@pytest.mark.parametrize(
    "written",
    [
        "昨天", "2026-02-30 10:00", "2026年13月1日", "2026年3月5日 下午25:00", "March 5, 2026", "12345678901",
        "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", 5, -1, 10**400, 1e300, float("nan"), float("-inf"),
        True, [], {}, ["2026-03-05"],
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(written: Any) -> None:
    with pytest.raises(AdapterError, match="send one such as 2026-") as caught:
        _generic(create_time=written)
    assert caught.value.field == "create_time"


@pytest.mark.parametrize(
    ("system", "payload", "path", "value"),
    [
        ("zendesk", ZENDESK_CREATED, "detail", None),
        ("zendesk", ZENDESK_CREATED, "detail", []),
        ("zendesk", ZENDESK_CREATED, "detail.id", None),
        ("zendesk", ZENDESK_CREATED, "detail.id", True),
        ("zendesk", ZENDESK_CREATED, "detail.id", 1.5),
        pytest.param("zendesk", ZENDESK_CREATED, "detail.id", 10**5_000, id="a number too large to spell"),
        ("zendesk", ZENDESK_CREATED, "detail.id", "1\n2"),
        ("zendesk", ZENDESK_CREATED, "detail.id", "1" * 101),
        ("zendesk", ZENDESK_CREATED, "detail.id", "\ud800\0"),
        ("zendesk", ZENDESK_CREATED, "detail.subject", ["净水器"]),
        ("zendesk", ZENDESK_CREATED, "detail.description", {"text": "漏水"}),
        ("zendesk", ZENDESK_CREATED, "detail.via", ["web"]),
        ("zendesk", ZENDESK_CREATED, "detail.via.channel", {}),
        ("zendesk", ZENDESK_CREATED, "detail.via.channel", "x" * 65),
        ("zendesk", ZENDESK_CREATED, "detail.via.channel", "we\nb"),
        ("zendesk", ZENDESK_CREATED, "detail.created_at", "刚才"),
        ("zendesk", ZENDESK_CREATED, "type", "zen:event-type:user.created"),
        ("zendesk", ZENDESK_CREATED, "type", None),
        ("zendesk", ZENDESK_COMMENT, "event", None),
        ("zendesk", ZENDESK_COMMENT, "event.comment", "我要退货"),
        ("zendesk", ZENDESK_COMMENT, "event.comment.body", ""),
        ("zendesk", ZENDESK_COMMENT, "event.comment.body", 7),
        ("zendesk", ZENDESK_COMMENT, "event.comment.author", "王小满"),
        ("zendesk", ZENDESK_TRIGGER, "ticket", "5158"),
        ("zendesk", ZENDESK_TRIGGER, "ticket.title", 5158),
        ("freshdesk", FRESHDESK_WEBHOOK, "freshdesk_webhook", None),
        ("freshdesk", FRESHDESK_WEBHOOK, "freshdesk_webhook.ticket_id", ""),
        ("freshdesk", FRESHDESK_WEBHOOK, "freshdesk_webhook.ticket_source", ["Phone"]),
        ("freshdesk", FRESHDESK_API, "description_text", False),
        ("freshdesk", FRESHDESK_API, "custom_fields", [1]),
        ("freshdesk", FRESHDESK_API, "source", 7.5),
        ("generic", GENERIC_CHINESE, "工单编号", []),
        ("generic", GENERIC_CHINESE, "诉求内容", ["电梯"]),
        ("generic", GENERIC_CHINESE, "受理渠道", {}),
        ("generic", GENERIC_ENGLISH, "data", None),
        ("generic", GENERIC_ENGLISH, "data", [GENERIC_CHINESE]),
        ("generic", GENERIC_ENGLISH, "data.workOrder", None),
        ("generic", GENERIC_ENGLISH, "data.workOrder.title", {}),
    ],
)
def test_a_field_of_the_wrong_kind_is_refused_by_its_path(
    system: str, payload: dict[str, Any], path: str, value: Any
) -> None:
    with pytest.raises(AdapterError, match=r"[Ss]end |subscribe ") as caught:
        ADAPTERS[system](_changed(payload, path, value))
    assert caught.value.field == path


@pytest.mark.parametrize(
    ("system", "payload", "field"),
    [
        ("zendesk", {}, "ticket"),
        ("zendesk", _changed(ZENDESK_CREATED, "detail", {"id": "1"}), "detail.description"),
        ("zendesk", {"ticket": {"id": 1, "subject": None, "description": " "}}, "ticket.description"),
        ("freshdesk", {"freshdesk_webhook": {"ticket_id": 1}}, "freshdesk_webhook.ticket_description"),
        ("freshdesk", {"id": 1, "description": "<p>&nbsp;</p>"}, "description"),
        ("freshdesk", {"subject": "空调坏了"}, "id"),
        ("generic", {"id": 1}, "content"),
        ("generic", {"工单号": 1, "投诉内容": ""}, "投诉内容"),
        ("generic", {"工单号": None, "内容": "没退款"}, "工单号"),
        ("generic", {"data": {"data": {"id": 1}}}, "data.data.content"),
        ("generic", {"标题": "退款慢"}, "id"),
    ],
)
def test_a_ticket_without_number_or_text_is_refused(system: str, payload: dict[str, Any], field: str) -> None:
    with pytest.raises(AdapterError, match=r"[Ss]end ") as caught:
        ADAPTERS[system](payload)
    assert caught.value.field == field


@pytest.mark.parametrize("system", ADAPTERS)
@pytest.mark.parametrize("payload", [None, [], "工单", 7, True])
def test_a_payload_must_be_an_object(system: str, payload: Any) -> None:
    with pytest.raises(AdapterError, match="send a JSON object") as caught:
        ADAPTERS[system](payload)
    assert caught.value.field == "body"


@pytest.mark.parametrize(
    "name",
    [
        "email", "requester_email", "cc_emails", "E-Mail", "phone", "customerPhone", "mobile", "tel", "contactTel",
        "qq", "wechatId", "twitter_id", "address", "ipAddress", "name", "requesterName", "customer_name",
        "contact", "手机号", "联系电话", "座机", "QQ号", "微信号", "邮箱", "家庭住址", "联系方式", "客户姓名", "投诉人",
        "身份证号", "token", "apiSecret", "签名",
    ],
)  # fmt: skip
def test_who_the_customer_is_and_how_to_reach_them_is_not_kept(name: str) -> None:
    assert _generic(**{name: "王小满 13800000000"}).metadata == {}


@pytest.mark.parametrize("name", ["hotel", "product_name", "组织名称", "intelligence", "人数", "success", "订单号码"])
def test_a_field_that_only_looks_like_a_contact_is_kept(name: str) -> None:
    assert _generic(**{name: "甲"}).metadata == {name: "甲"}


def test_metadata_keeps_scalars_and_lists_of_scalars_within_limits() -> None:
    fields = {
        "长文": "很" * 1_001,
        "数": 1.5,
        "列表": ["长" * 1_001, 2, False],
        "很多": list(range(60)),
        "空": None,
        "空串": " ",
        "空表": [],
        "对象": {"a": 1},
        "对象表": [{"a": 1}],
        "含空": [1, None],
        "非数": float("nan"),
        "半个\ud83d": "零\0字\udc00",
        "换\n行": 1,
        "名" * 65: 2,
        "": 3,
        "流水号": 1234567890123456789,
        "天文数字": 10**5_000,
    }
    assert _generic(**fields).metadata == {
        "长文": "很" * 1_000,
        "数": 1.5,
        "列表": ["长" * 1_000, 2, False],
        "很多": list(range(50)),
        "半个\ufffd": "零\ufffd字\ufffd",
        "换\ufffd行": 1,
        "名" * 64: 2,
        "流水号": "1234567890123456789",
    }
    assert len(_generic(**{f"字段{i}": i for i in range(60)}).metadata) == 50


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>一</p><p>二</p>", "一\n二"),
        ("一<br>二<br/><br />三", "一\n二\n三"),
        ("<ul><li>一</li>\n<li>二</li></ul>尾", "一\n二\n尾"),
        ("<table><tr><td>订单</td><td>A1</td></tr><tr><td>金额</td><td>9</td></tr></table>", "订单 A1\n金额 9"),
        ("<b>很</b>慢<span style='color:red'>!</span>", "很慢!"),
        ("a\r\n  b&nbsp;&nbsp;c&#20013;&amp;&lt;p&gt;", "a b c中&<p>"),
        ("<style>p{color:red}</style><script>if(a<b)x()</script>正文", "正文"),
        ("<title>题<b>目</b>录</title>正文", "正文"),
        ("<!-- 注 --><!DOCTYPE html><![if !mso]>正文<![endif]><![foo bar]>", "正文"),
        ("价格<100元,尺码<XL,<3", "价格<100元,尺码<XL,<3"),
        ("<a title='a>b'>链接</a>", "链接"),
        ("  ", ""),
    ],
)
def test_html_becomes_what_a_reader_sees(html: str, text: str) -> None:
    assert html_to_text(html) == text


@given(st.lists(st.sampled_from([*"<>/!-[]?&#;='\" \n", "a", "p", "br", "script", "CDATA", "if", "好", "\x85"])))
def test_any_html_is_accepted(pieces: list[str]) -> None:
    text = html_to_text("".join(pieces))
    assert text == text.strip()
    assert "\n\n" not in text


@pytest.mark.parametrize("piece", ["<a ", "<a b='", "<a b='>", "<!--", "<![", "<!", "</a ", "<", "&#"])
def test_a_large_html_that_never_ends_is_read_at_once(piece: str) -> None:
    # The parser alone would need hours for some of these.
    assert html_to_text("正文" + piece * 100_000).startswith("正文")


def _paths(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{path}{key}"
            yield from _paths(inner, f"{path}{key}.")


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
KNOWN_KEYS = sorted({path.rsplit(".", 1)[-1] for _, payload in DOCUMENTED for path in _paths(payload)})
RANDOM = st.tuples(
    st.sampled_from(sorted(ADAPTERS)), ANY_JSON | st.dictionaries(st.sampled_from(KNOWN_KEYS), ANY_JSON, max_size=12)
)


@st.composite
def _mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """A documented payload of which some fields hold something else."""
    system, payload = draw(st.sampled_from(DOCUMENTED))
    for path in draw(st.lists(st.sampled_from(sorted(_paths(payload))), max_size=3, unique=True)):
        if path in _paths(payload):
            payload = _changed(payload, path, draw(ANY_JSON))
    return system, payload


@settings(max_examples=200, deadline=None)
@given(RANDOM | _mutated())
@example(("zendesk", {"detail": {"id": 1, "subject": "\ud800"}, "type": "zen:event-type:ticket.\0"}))
def test_any_json_is_a_storable_ticket_or_refused_by_a_field(case: tuple[str, Any]) -> None:
    system, payload = case
    before = copy.deepcopy(payload)
    try:
        ticket = ADAPTERS[system](payload)
    except AdapterError as error:
        assert error.field
        assert str(error)
    else:
        assert ticket.id.startswith(f"{system}:")
        assert ticket.text.strip() == ticket.text != ""
        assert None not in ticket.metadata.values()
        assert NewTicket(**asdict(ticket)).model_dump() == asdict(ticket)
    assert repr(payload) == repr(before)
