"""New texts made of parts of known ones."""

from __future__ import annotations

from training.fragments import fragments

TEXTS = [
    "快递三天才到,外箱压扁了,客服让我自己去网点查。说好的次日达呢?",
    "房间很干净,前台态度也好;就是早餐品种少了点。",
    "买的时候说保修一年,坏了又说人为。",
    "空调不制冷,报修两次没人来,热得睡不着!",
]
DOMAINS = ["parcel", "hotel", "shop", "hotel"]


def _made(**changes: object) -> list[str]:
    options: dict[str, object] = {"without": set(), "seed": 1}
    return [text for text, _ in fragments(TEXTS * 5, DOMAINS * 5, **(options | changes))]  # type: ignore[arg-type]


def test_new_texts_are_clauses_of_a_text_or_of_two_of_one_domain() -> None:
    made = _made()
    assert len(made) >= 10
    assert not {*made} & {*TEXTS}
    assert len({*made}) == len(made)
    both = 0
    for text in made:
        held = [{c for c in source.replace(";", ",").rstrip("。!?").split(",") if c in text} for source in TEXTS]
        assert any(held)
        of = {domain for domain, clauses in zip(DOMAINS, held, strict=True) if clauses}
        assert len(of) == 1, text
        both += sum(map(bool, held)) > 1
    assert both


def test_a_seed_makes_the_same_texts_again_and_held_out_texts_are_not_made() -> None:
    made = _made()
    assert _made() == made
    assert _made(seed=2) != made
    assert made[0] not in _made(without={made[0]})


def test_a_text_without_clauses_makes_none() -> None:
    assert list(fragments(["好", "", "。。。"], ["a", "a", "a"], without=(), seed=0)) == []
