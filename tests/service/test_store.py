"""The ticket store, on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import event, select, text
from sqlalchemy.exc import OperationalError

from service.settings import Settings, SettingsError
from service.store import keys, reviews, tickets, writes
from service.store.database import Database, StoreUnavailableError
from service.store.tables import AuditEntry, Base
from service.store.tickets import Filters, Labels, NewTicket

NOW = datetime(2026, 11, 20, 8, tzinfo=UTC)


def new(ticket_id: str = "T-1", text: str = "说好三天到货,十天了还没发", **changes: Any) -> NewTicket:
    values: dict[str, Any] = {
        "id": ticket_id,
        "text": text,
        "text_sha256": tickets.text_hash(text),
        "channel": "hotline",
        "attributes": {"product": "宽带"},
        "created_at": NOW,
        "tags": {"causes": []},
        "labels": Labels(2, "negative", "complaint", ("broken_promise",)),
        "confidence": 0.7,
        "review": None,
    }
    return NewTicket(**(values | changes))


def put_all(database: Database, *new: NewTicket, now: datetime = NOW) -> list[tuple[tickets.Stored, bool]]:
    return database.write_now(lambda connection: tickets.put_all(connection, new, now))


def put(database: Database, ticket: NewTicket, now: datetime = NOW) -> tuple[tickets.Stored, bool]:
    return put_all(database, ticket, now=now)[0]


def watched(database: Database) -> list[str]:
    """The statements that are sent from now on."""
    sent: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *event: sent.append(event[2]))
    return sent


def test_the_migrations_make_the_tables_that_the_code_describes(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_a_database_without_tables_is_reported_with_the_remedy(database_url: str) -> None:
    database = Database(Settings(database_url=database_url).database_url)
    with pytest.raises(StoreUnavailableError, match="fankui db upgrade"):
        asyncio.run(database.check())
    database.upgrade()
    asyncio.run(database.check())
    database.close()


def test_a_connection_that_died_in_the_pool_is_replaced_without_an_error(database: Database) -> None:
    if database.is_embedded:
        pytest.skip("only a server can close a connection")
    put(database, new())
    other = Database(database.url)
    others = text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid != pg_backend_pid()"
    )
    assert other.read_now(lambda connection: connection.execute(others).all())
    other.close()
    assert database.read_now(lambda connection: tickets.find(connection, "T-1"))


def test_a_database_that_is_not_there_is_reported_without_its_password() -> None:
    database = Database("postgresql+psycopg://fankui:geheim@127.0.0.1:1/fankui")
    with pytest.raises(StoreUnavailableError) as refused:
        asyncio.run(database.check())
    assert "geheim" not in str(refused.value)
    database.close()


def test_a_ticket_is_found_as_it_was_put(database: Database) -> None:
    stored, is_new = put(database, new())
    assert is_new
    found = database.read_now(lambda connection: tickets.find(connection, "T-1"))
    assert found
    assert found.row == stored.row
    assert (found.row.text, found.row.created_at, found.row.attributes) == (new().text, NOW, {"product": "宽带"})
    assert found.labels == new().labels


def test_the_same_text_again_changes_nothing(database: Database) -> None:
    first, _ = put(database, new())
    second, is_new = put(database, new(channel="mail"), NOW + timedelta(days=1))
    assert not is_new
    assert second.row == first.row


def test_another_text_is_a_new_revision_and_the_earlier_one_is_kept(database: Database) -> None:
    put(database, new())
    stored, is_new = put(database, new(text="货到了,谢谢", labels=Labels(4, "positive", "praise", ())))
    assert is_new
    assert (stored.row.revision, stored.causes) == (2, ())
    (earlier,) = database.read_now(lambda connection: tickets.history(connection, stored.row.seq))
    assert (earlier.number, earlier.text) == (1, new().text)


def test_tickets_are_found_by_each_filter(database: Database) -> None:
    put(database, new("T-1"))
    put(
        database,
        new(
            "T-2",
            "师傅很专业 100%_满意",
            labels=Labels(5, "positive", "praise", ()),
            channel="app",
            created_at=NOW + timedelta(days=2),
            review="uncertain",
        ),
    )

    def ids(**wanted: Any) -> list[str]:
        found = database.read_now(lambda c: tickets.search(c, Filters(**wanted), before=None, limit=10))
        return [stored.row.id for stored in found]

    assert ids() == ["T-2", "T-1"]
    assert ids(cause="broken_promise") == ["T-1"]
    assert ids(polarity="positive") == ["T-2"]
    assert ids(grade=2) == ["T-1"]
    assert ids(request="praise") == ["T-2"]
    assert ids(channel="app") == ["T-2"]
    assert ids(needs_review=True) == ["T-2"]
    assert ids(needs_review=False) == ["T-1"]
    assert ids(since=NOW + timedelta(days=1)) == ["T-2"]
    assert ids(until=NOW + timedelta(days=1)) == ["T-1"]
    assert ids(words=("师傅", "专业")) == ["T-2"]
    assert ids(words=("师傅", "到货")) == []
    assert ids(words=("%_满",)) == ["T-2"]  # No wildcards.


def test_pages_neither_skip_nor_repeat(database: Database) -> None:
    for number in range(7):
        put(database, new(f"T-{number}"))
    seen: list[str] = []
    before = None
    while page := database.read_now(lambda c, b=before: tickets.search(c, Filters(), before=b, limit=3)):
        seen += [stored.row.id for stored in page]
        before = page[-1].row.seq
        put(database, new(f"later-{len(seen)}"))
    assert seen == [f"T-{number}" for number in reversed(range(7))]


def test_a_correction_stands_beside_the_prediction(database: Database) -> None:
    put(database, new(review="uncertain"))
    holds = Labels(3, "neutral", "inquiry", ("needs_misunderstood",))
    stored = database.write_now(
        lambda c: tickets.correct(
            c, "T-1", by="li.na", why="问的是别的", labels={"request": "inquiry"}, holds=holds, now=NOW
        )
    )
    assert stored
    assert stored.row.tags == {"causes": []}
    assert stored.labels == holds
    assert stored.row.review is None
    assert [(entry.by, entry.labels) for entry in stored.corrections] == [("li.na", {"request": "inquiry"})]


def test_erasing_leaves_nothing_of_the_text(database: Database) -> None:
    put(database, new(text="我的电话13900001111"))
    put(database, new(text="第二版"))
    database.write_now(lambda c: tickets.correct(c, "T-1", by="li.na", why=None, labels={}, holds=None, now=NOW))
    assert database.write_now(lambda connection: tickets.erase(connection, "T-1"))
    assert not database.write_now(lambda connection: tickets.erase(connection, "T-1"))
    with database.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            if table.name != "audit":
                assert connection.execute(select(table)).all() == []


def test_purging_takes_only_what_is_old(database: Database) -> None:
    put(database, new("old"), NOW - timedelta(days=40))
    put(database, new("young"))
    assert database.write_now(lambda c: tickets.purge(c, NOW - timedelta(days=30))) == 1
    assert database.read_now(lambda c: tickets.find(c, "young"))


def test_the_review_queue_takes_the_causes_in_turn_and_the_least_sure_first(database: Database) -> None:
    for number, (cause, confidence) in enumerate(
        [("broken_promise", 0.5), ("broken_promise", 0.4), ("broken_promise", 0.3), ("influence_of_others", 0.6)]
    ):
        labels = Labels(2, "negative", "complaint", (cause,))
        put(database, new(f"T-{number}", labels=labels, confidence=confidence, review="uncertain"))
    put(database, new("sure"))
    queue = database.read_now(lambda c: reviews.queue(c, NOW, limit=10))
    assert [stored.row.id for stored in queue] == ["T-2", "T-3", "T-1", "T-0"]


def test_two_reviewers_never_hold_the_same_review(database: Database) -> None:
    for number in range(6):
        put(database, new(f"T-{number}", review="uncertain", confidence=number / 10))

    async def claims() -> list[list[str]]:
        found = await asyncio.gather(
            *(
                database.write(lambda c, who=who: reviews.claim(c, who, NOW, 15, limit=2))
                for who in ("an", "bo", "cai", "ding")
            )
        )
        return [[stored.row.id for stored in theirs] for theirs in found]

    claimed = [ticket_id for theirs in asyncio.run(claims()) for ticket_id in theirs]
    assert sorted(claimed) == [f"T-{number}" for number in range(6)]


def test_a_claim_runs_out_and_can_be_given_back(database: Database) -> None:
    put(database, new(review="uncertain"))

    def claim(who: str, now: datetime) -> list[str]:
        found = database.write_now(lambda c: reviews.claim(c, who, now, 15, limit=1))
        return [stored.row.id for stored in found]

    assert claim("an", NOW) == ["T-1"]
    assert claim("bo", NOW + timedelta(minutes=14)) == []
    assert claim("bo", NOW + timedelta(minutes=16)) == ["T-1"]
    assert not database.write_now(lambda c: reviews.release(c, "T-1", "an"))
    assert database.write_now(lambda c: reviews.release(c, "T-1", "bo"))
    assert claim("an", NOW + timedelta(minutes=17)) == ["T-1"]


def test_writes_of_many_are_kept_apart(database: Database) -> None:
    def fails(_: object) -> None:
        raise ValueError("mine alone")

    async def together() -> list[Any]:
        works: list[Callable[..., Any]] = [
            lambda c, n=number: tickets.put_all(c, [new(f"T-{n}")], NOW) if n % 3 else fails(c) for number in range(60)
        ]
        return await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)

    outcomes = asyncio.run(together())
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [number % 3 == 0 for number in range(60)]
    found = database.read_now(lambda c: tickets.search(c, Filters(), before=None, limit=100))
    assert len(found) == 40


def test_writes_whose_commit_failed_are_not_done_again(database: Database) -> None:
    done: list[int] = []

    @event.listens_for(database.engine, "commit")
    def _(_: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the connection was lost"))

    async def together() -> list[Any]:
        works = [lambda _, n=number: done.append(n) for number in range(20)]
        return await asyncio.gather(*(database.write(work) for work in works), return_exceptions=True)

    outcomes = asyncio.run(together())
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
    assert sorted(done) == list(range(20))


def test_two_processes_that_put_the_same_tickets_in_other_orders_do_not_hinder_each_other(database: Database) -> None:
    other = Database(database.url)
    times = 20

    async def together() -> list[list[tuple[tickets.Stored, bool]]]:
        forth = [new(f"T-{n}", f"第{n % 5}版") for n in range(40)]
        back = [new(f"T-{n}", f"第{n % 7}版") for n in reversed(range(40))]
        works = [(database, forth), (other, back)] * times
        return await asyncio.gather(*(each.write(lambda c, t=t: tickets.put_all(c, t, NOW)) for each, t in works))

    outcomes = asyncio.run(together())
    found = database.read_now(lambda c: tickets.search(c, Filters(), before=None, limit=100))
    stored = Counter(one.row.id for outcome in outcomes for one, is_new in outcome if is_new)
    assert {one.row.id: one.row.revision for one in found} == stored
    other.close()


def test_an_idempotency_key_is_reserved_once_and_answers_afterwards(database: Database) -> None:
    def begin(fingerprint: str = "a", now: datetime = NOW) -> writes.Begun:
        return database.write_now(lambda c: writes.begin(c, "key", "once", fingerprint, now, patience_seconds=60))

    assert begin() == "begun"
    assert begin() == "in_progress"
    assert begin("b") == "different"
    assert begin(now=NOW + timedelta(seconds=61)) == "begun"  # Whoever had it is gone.
    answered = writes.Answered(200, '{"好": 1}')
    database.write_now(lambda c: writes.finish(c, "key", "once", answered, "T-1"))
    assert begin() == answered
    database.write_now(lambda c: writes.forget_subject(c, "T-1"))
    assert begin() == "begun"
    assert database.write_now(lambda c: writes.forget(c, NOW + timedelta(hours=1))) == 1


def test_a_clock_that_jumps_back_neither_hides_nor_reorders_tickets(database: Database) -> None:
    put(database, new("first"), NOW)
    put(database, new("second"), NOW - timedelta(days=1))
    put(database, new("first", "又来了"), NOW - timedelta(days=2))
    found = database.read_now(lambda c: tickets.search(c, Filters(), before=None, limit=10))
    assert [(stored.row.id, stored.row.revision) for stored in found] == [("second", 1), ("first", 2)]


def test_a_revoked_key_is_not_found(database: Database) -> None:
    key = keys.NewKey("abc", "crm", b"h" * 32, ["classify"])
    database.write_now(lambda c: keys.add(c, key, NOW))
    assert database.read_now(lambda c: keys.find(c, "abc"))
    assert database.write_now(lambda c: keys.revoke(c, "abc", NOW))
    assert not database.write_now(lambda c: keys.revoke(c, "abc", NOW))
    assert database.read_now(lambda c: keys.find(c, "abc")) is None
    (row,) = database.read_now(keys.list_all)
    assert row["revoked_at"] == NOW


def test_the_audit_log_tells_who_wrote_what(database: Database) -> None:
    database.write_now(lambda c: writes.record(c, "key", "ticket.erase", "T-1", NOW))
    (entry,) = database.read_now(lambda c: c.execute(select(AuditEntry.__table__)).all())
    assert (entry.key_id, entry.action, entry.subject, entry.at) == ("key", "ticket.erase", "T-1", NOW)


@pytest.mark.parametrize(
    "url", ["mysql://localhost/fankui", "fankui.db", "sqlite:fankui.db", "sqlite://", "sqlite:///"]
)
def test_a_database_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="database_url"):
        Settings.read(database_url=url)


def test_tickets_that_are_asked_for_together_are_found_with_few_queries(database: Database) -> None:
    put_all(database, *(new(f"T-{n}", f"等了{n}天") for n in range(0, 60, 3)))
    queries = watched(database)
    wanted = [(f"T-{n}", tickets.text_hash(f"等了{n}天")) for n in range(60)]
    found = database.read_now(lambda c: tickets.find_same(c, [*wanted, ("T-3", tickets.text_hash("另一段"))]))
    # The one that is stored under another text is not the same.
    assert set(found) == set(wanted[::3])
    assert all(ticket.causes == ("broken_promise",) for ticket in found.values())
    assert len(queries) <= 5


def test_tickets_that_come_together_are_stored_with_few_statements(database: Database) -> None:
    queries = watched(database)
    stored = put_all(database, *(new(f"T-{n}", f"等了{n}天") for n in reversed(range(60))))
    assert len(queries) <= 4
    assert [(one.row.id, one.row.text, is_new) for one, is_new in stored] == [
        (f"T-{n}", f"等了{n}天", True) for n in reversed(range(60))
    ]
    found = database.read_now(lambda c: tickets.search(c, Filters(cause="broken_promise"), before=None, limit=100))
    assert len(found) == 60


def test_among_tickets_that_come_together_each_fares_as_if_alone(database: Database) -> None:
    put_all(database, new("known", "第一版"), new("changed", "第一版"))
    stored = put_all(
        database,
        new("twice", "甲"),
        new("known", "第一版"),
        new("changed", "第二版"),
        new("twice", "乙", labels=Labels(4, "positive", "praise", ())),
        new("twice", "乙"),
    )
    assert [(one.row.id, one.row.text, one.row.revision, is_new) for one, is_new in stored] == [
        ("twice", "甲", 1, True),
        ("known", "第一版", 1, False),
        ("changed", "第二版", 2, True),
        ("twice", "乙", 2, True),
        ("twice", "乙", 2, False),
    ]
    now = database.read_now(lambda c: tickets.find(c, "twice"))
    assert now is not None
    assert (now.row.grade, now.causes) == (4, ())
    assert [row.text for row in database.read_now(lambda c: tickets.history(c, now.row.seq))] == ["甲"]
