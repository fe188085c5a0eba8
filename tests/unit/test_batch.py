"""A table comes out with as many rows as went in, in order, whatever is in it, and an interruption loses nothing."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fankui import Tagger
from fankui.batch import MAX_CHARACTERS, BatchError, tag_columns, tag_table
from fankui.encodings import detect_encoding
from fankui.tables import open_table

TEXTS = ["说好三天到货,十天了还没发", "", "😡😡", "refund now", "很好\x00", "慢" * 25_000, "=1+1", "房间有霉味"]


def _csv(path: Path, texts: list[str]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([("id", "反馈内容"), *((n, text) for n, text in enumerate(texts))])
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".xlsx", ".jsonl", ".parquet"])
def test_every_row_comes_out_in_order_with_its_own_columns_and_the_tags(
    tagger: Tagger, tmp_path: Path, suffix: str
) -> None:
    target = tmp_path / f"out{suffix}"
    summary = tag_table(_csv(tmp_path / "in.csv", TEXTS), target, tagger)
    assert (summary.rows, summary.untaggable, summary.untaggable_rows) == (8, 1, [2])
    assert sum(summary.counts["sentiment"].values()) == 7
    rows = [row.values for row in open_table(target, text_column="反馈内容").rows()]
    assert [int(float(row["id"])) for row in rows] == list(range(8))
    assert rows[2]["反馈内容"] == "😡😡"
    assert not list(tmp_path.glob("*.partial"))
    if suffix != ".jsonl":
        assert list(rows[0]) == ["id", "反馈内容", *tag_columns(tagger.bundle.taxonomy)]
        assert rows[1]["sentiment"] in ("", None) and str(rows[1]["needs_review"]).lower() == "true"
        assert "blank" in rows[1]["note"] and "no Chinese" in rows[2]["note"]
        assert str(MAX_CHARACTERS) in rows[5]["note"]


def test_json_lines_carry_the_contracts_nested_form(tagger: Tagger, tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    lines = [
        {"id": "T-1", "text": "很慢", "shop": {"name": "甲", "n": float("nan")}, "needs_review": "own"},
        {"id": 2, "text": ""},
    ]
    source.write_text("\n".join(json.dumps(line) for line in lines) + "\n{broken\n", encoding="utf-8")
    tag_table(source, tmp_path / "out.jsonl", tagger)
    first, second, third = (json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines())
    assert first["id"] == "T-1" and first["shop"] == {"name": "甲", "n": None}
    assert first["needs_review"] == "own" and isinstance(first["fankui_needs_review"], bool)
    (tags,) = tagger.tag(["很慢"], ids=["T-1"])
    assert {k: first[k] for k in ("sentiment", "causes", "request")} == {
        k: json.loads(tags.model_dump_json())[k] for k in ("sentiment", "causes", "request")
    }
    assert (
        second["id"] == 2 and second["sentiment"] is None and second["causes"] == [] and second["fankui_needs_review"]
    )
    assert third["raw"] == "{broken" and "line 3 is not JSON" in third["note"]


def test_an_own_column_keeps_its_name(tagger: Tagger, tmp_path: Path) -> None:
    source = tmp_path / "in.csv"
    source.write_text("text,model,fankui_model\n很慢,X200,旧\n", encoding="utf-8")
    tag_table(source, tmp_path / "out.csv", tagger)
    (row,) = open_table(tmp_path / "out.csv").rows()
    assert row.values["model"] == "X200"
    assert row.values["fankui_model"] == "旧" and row.values["fankui_fankui_model"] == "0.0.1"


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16", "big5"])
def test_other_encodings_are_tagged_alike(tagger: Tagger, tmp_path: Path, encoding: str) -> None:
    content = "編號,反饋內容\n1,說好三天到貨還沒發\n"
    (tmp_path / "a.csv").write_bytes(content.encode(encoding))
    (tmp_path / "b.csv").write_bytes(content.encode("utf-8"))
    for name in "ab":
        tag_table(tmp_path / f"{name}.csv", tmp_path / f"{name}.out.csv", tagger)
    assert (tmp_path / "a.out.csv").read_bytes() == (tmp_path / "b.out.csv").read_bytes()
    assert detect_encoding(tmp_path / "a.out.csv") == "utf-8-sig"


def test_a_row_with_a_damaged_byte_is_tagged_and_says_so(tagger: Tagger, tmp_path: Path) -> None:
    rows = [f"{n},送货太慢了,等了{n}天还没有到,打电话也没人接".encode() for n in range(30)]
    rows[7] = rows[7].replace("送".encode(), b"\xe9\xff", 1)
    (tmp_path / "in.csv").write_bytes(b"id,text\n" + b"\n".join(rows) + b"\n")
    summary = tag_table(tmp_path / "in.csv", tmp_path / "out.csv", tagger)
    assert (summary.rows, summary.untaggable, summary.damaged) == (30, 0, 1)
    tagged = [row.values for row in open_table(tmp_path / "out.csv").rows()]
    notes = [values["note"] for values in tagged]
    assert "could not be read" in notes[7] and not any(notes[:7] + notes[8:])
    assert str(tagged[7]["needs_review"]).lower() == "true"


def test_a_row_of_damaged_bytes_alone_says_so_rather_than_that_it_is_blank(tagger: Tagger, tmp_path: Path) -> None:
    rows = [f"{n},送货太慢了,等了{n}天还没有到".encode() for n in range(30)] + [b"30,\xff\xfe"]
    (tmp_path / "in.csv").write_bytes(b"id,text\n" + b"\n".join(rows) + b"\n")
    assert tag_table(tmp_path / "in.csv", tmp_path / "out.csv", tagger).untaggable == 1
    *_, last = (row.values for row in open_table(tmp_path / "out.csv").rows())
    assert "could not be read" in str(last["note"])


def test_an_interrupted_run_resumes_where_it_stopped(tagger: Tagger, tmp_path: Path) -> None:
    texts = [f"第{n}条,送货太慢" for n in range(30)]
    source, target = _csv(tmp_path / "in.csv", texts), tmp_path / "out.csv"

    def interrupt(done: int, total: int) -> None:
        if done >= 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tag_table(source, target, tagger, chunk_rows=10, on_progress=interrupt)
    assert not target.exists()
    answers = tmp_path / ".out.csv.partial" / "answers.jsonl"
    with answers.open("a", encoding="utf-8") as file:
        file.write('{"half written')
    seen: list[int] = []
    summary = tag_table(source, target, tagger, resume=True, on_progress=lambda done, _: seen.append(done))
    assert seen[0] == summary.resumed_rows == 20
    whole = tmp_path / "whole.csv"
    tag_table(source, whole, tagger, chunk_rows=10)
    assert [r.values["id"] for r in open_table(target).rows()] == [r.values["id"] for r in open_table(whole).rows()]


def test_a_checkpoint_of_another_job_is_not_continued(tagger: Tagger, tmp_path: Path) -> None:
    source, target = _csv(tmp_path / "in.csv", ["很慢"] * 3), tmp_path / "out.csv"

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tag_table(source, target, tagger, on_progress=interrupt)
    _csv(source, ["很慢"] * 4)
    with pytest.raises(BatchError, match="had another size"):
        tag_table(source, target, tagger, resume=True)
    with pytest.raises(BatchError, match="pass --resume to continue it"):
        tag_table(source, target, tagger)
    assert tag_table(source, target, tagger, overwrite=True).rows == 4


def test_an_existing_output_is_only_replaced_when_asked_and_the_input_never(tagger: Tagger, tmp_path: Path) -> None:
    source, target = _csv(tmp_path / "in.csv", ["很慢"]), tmp_path / "out.csv"
    target.write_text("precious", encoding="utf-8")
    with pytest.raises(BatchError, match="exists already; pass --overwrite"):
        tag_table(source, target, tagger)
    assert target.read_text(encoding="utf-8") == "precious"
    with pytest.raises(BatchError, match="would replace the input"):
        tag_table(source, source, tagger, overwrite=True)
    assert tag_table(source, target, tagger, overwrite=True).rows == 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(), max_size=30), min_size=1, max_size=12))
def test_rows_out_are_rows_in_for_any_texts(tagger: Tagger, texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = Path(name) / "in.jsonl"
        source.write_text(
            "\n".join(json.dumps({"id": str(n), "text": t}) for n, t in enumerate(texts)), encoding="utf-8"
        )
        for suffix in (".jsonl", ".csv"):
            target = Path(name) / f"out{suffix}"
            assert tag_table(source, target, tagger).rows == len(texts)
            out = [row.values for row in open_table(target, text_column="text").rows()]
            assert [row["id"] for row in out] == [str(n) for n in range(len(texts))]
