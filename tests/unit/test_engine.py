"""The Tagger answers for any list of texts: in order, in the contract's form, with evidence that can be found."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fankui import Tagger, Tags, Untaggable
from fankui.text import encodable

COMPLAINT = "說好三天到貨，十天了還沒發。客服也不理人，太氣人了！"


def _tags(tagger: Tagger, text: str) -> Tags:
    (tags,) = tagger.tag([text])
    assert isinstance(tags, Tags)
    return tags


def test_the_json_has_the_contracts_fields_in_the_contracts_order(tagger: Tagger) -> None:
    (tags,) = tagger.tag([COMPLAINT], ids=["T-1"])
    content = json.loads(tags.model_dump_json())
    assert list(content) == [
        "id", "sentiment", "causes", "request", "servqual", "demand", "loyalty", "needs_review", "model", "taxonomy",
    ]  # fmt: skip
    assert set(content["sentiment"]) == {"label", "grade", "polarity", "score"}
    assert set(content["request"]) == set(content["loyalty"]) == {"label", "score"}
    for cause in content["causes"]:
        assert set(cause) == {"label", "score", "evidence"}
        for span in cause["evidence"]:
            assert span["text"] == COMPLAINT[span["start"] : span["end"]]


def test_grade_and_polarity_agree(tagger: Tagger) -> None:
    for tags in tagger.tag([COMPLAINT, "非常满意,下次还来", "请问营业到几点?", "一般般", "垃圾"]):
        assert isinstance(tags, Tags)
        grade = tags.sentiment.grade
        assert tags.sentiment.polarity == ("negative" if grade <= 2 else "neutral" if grade == 3 else "positive")


def test_answers_keep_the_order_and_the_ids_whatever_the_lengths(tagger: Tagger) -> None:
    texts = ["差" * n for n in (50, 1, 300, 7, 120)] + ["", "好"]
    ids = [str(n) for n in range(len(texts))]
    answers = tagger.tag(texts, ids=ids)
    assert [answer.id for answer in answers] == ids
    assert isinstance(answers[5], Untaggable)


def test_on_several_cores_the_answers_are_the_same(tagger: Tagger) -> None:
    texts = [f"第{n}次来,还是{'很慢' * (n % 17)},没人管" for n in range(60)]
    assert Tagger(tagger.bundle, threads=3).tag(texts) == tagger.tag(texts)


def test_cores_that_share_a_call_give_the_same_answers(tagger: Tagger) -> None:
    texts = ["说好三天到货,十天了还没发", "师傅很专业", "一般", "问客服也不理人。" * 80]
    wide = Tagger(tagger.bundle, threads=1, alone_threads=2)
    assert wide.tag(texts, alone=True) == wide.tag(texts) == tagger.tag(texts)


def test_a_text_is_answered_alike_alone_and_in_company(tagger: Tagger) -> None:
    """Activations are quantised per batch, so that scores may move a little."""
    texts = [COMPLAINT, "好", "房间有霉味,空调不制冷,前台说没房可换。" * 5]
    for alone, together in zip((_tags(tagger, t) for t in texts), tagger.tag(texts), strict=True):
        assert isinstance(together, Tags)
        assert together.sentiment.score == pytest.approx(alone.sentiment.score, abs=0.05)


@pytest.mark.parametrize("blank", ["", " ", "\n\t", "\u200b\ufeff", "\x00", "\ud800"])
def test_a_blank_text_is_marked_not_guessed(tagger: Tagger, blank: str) -> None:
    (answer,) = tagger.tag([blank], ids=["x"])
    assert isinstance(answer, Untaggable)
    assert answer.id == "x" and "blank" in answer.note


@pytest.mark.parametrize("odd", ["😡😡😡", "Terrible service, I want a refund", "12345", "?!?!"])
def test_a_text_without_chinese_is_answered_but_sent_to_review(tagger: Tagger, odd: str) -> None:
    tags = _tags(tagger, odd)
    assert tags.needs_review
    assert tags.note is not None and "no Chinese" in tags.note


def test_a_very_long_text_is_read_in_windows_to_its_end(tagger: Tagger) -> None:
    filler = "今天天气晴朗，我们去了公园散步，看见很多人在放风筝。" * 4000
    tags = _tags(tagger, filler + COMPLAINT)
    for cause in tags.causes:
        for span in cause.evidence:
            assert (filler + COMPLAINT)[span.start : span.end] == span.text
    encodings = tagger.tokenizer.encode_batch([filler])
    windows = list(tagger._windows(0, encodings[0]))
    covered = {i for w in windows for i in range(w.first, w.first + len(w.ids))}
    assert covered == set(range(len(encodings[0].ids)))
    assert all(len(w.ids) <= tagger.bundle.manifest.max_tokens for w in windows)


def test_without_evidence_the_labels_are_the_same(tagger: Tagger) -> None:
    (plain,) = tagger.tag([COMPLAINT], evidence=False)
    assert isinstance(plain, Tags)
    assert all(cause.evidence == () for cause in plain.causes)
    assert [c.label for c in plain.causes] == [c.label for c in _tags(tagger, COMPLAINT).causes]


def test_ids_must_match_the_texts(tagger: Tagger) -> None:
    with pytest.raises(ValueError, match="1 ids for 2 texts"):
        tagger.tag(["一", "二"], ids=["1"])
    assert tagger.tag([]) == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(), max_size=60), max_size=5))
def test_any_strings_give_as_many_answers_with_spans_inside_them(tagger: Tagger, texts: list[str]) -> None:
    answers = tagger.tag(texts)
    assert len(answers) == len(texts)
    for text, answer in zip(texts, answers, strict=True):
        for cause in answer.causes if isinstance(answer, Tags) else ():
            for span in cause.evidence:
                assert encodable(text[span.start : span.end]) == span.text
        answer.model_dump_json()
