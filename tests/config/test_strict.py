"""Parts of a config: what is wrong in one is named with its key, its value and the nearest right key."""

from typing import ClassVar, Literal

import pytest

from convnova.config.strict import ConfigMistake, Strict


class Inner(Strict):
    rate: float = 1.0


class Outer(Strict):
    renamed: ClassVar = {"old": "`form`"}

    inner: Inner = Inner()
    perhaps: Inner | None = None
    parts: dict[str, Inner] = {}
    form: Literal["short", "long"] = "short"
    count: int


@pytest.mark.parametrize(
    "content, expected",
    [
        ({"cuont": 3}, "a.b.cuont = 3: unknown key; did you mean 'count'?"),
        ({"zzz": 3}, "a.b.zzz = 3: unknown key; expected one of count, form, inner, parts, perhaps"),
        ({"rate": 3}, "a.b.rate = 3: unknown key; it belongs under `inner`"),
        ({"old": 3}, "a.b.old = 3: unknown key; it is now `form`"),
        ({"count": 1, "inner": {"rat": 2}}, "a.b.inner.rat = 2: unknown key; did you mean 'rate'?"),
        ({"count": 1, "parts": {"x": {"rate": "fast"}}}, "a.b.parts.x.rate = 'fast': input should be a valid number"),
        ({"count": 1, "form": "lomg"}, "a.b.form = 'lomg': did you mean 'long'?"),
        ({}, "a.b.count: expected this key, found nothing"),
        (None, "a.b.count: expected this key, found nothing"),
        ([1], r"a.b = \[1\]: input should be a valid dictionary"),
    ],
)
def test_a_mistake_is_named_with_its_key_value_and_what_is_right(content, expected):
    with pytest.raises(ConfigMistake, match=f"^{expected}".replace("?", r"\?")):
        Outer.read(content, "a", "b")


def test_every_mistake_of_a_part_is_named():
    with pytest.raises(ConfigMistake) as caught:
        Outer.read({"form": "x", "perhaps": {"rate": []}}, "a")
    assert [key for key, _ in caught.value.mistakes] == [("a", "perhaps", "rate"), ("a", "form"), ("a", "count")]
    assert str(caught.value).count("; a.") == 2


def test_a_changed_part_has_the_values_of_both_and_is_checked_anew():
    part = Outer.read({"count": 1, "form": "long"})
    assert part.values() == {"form": "long", "count": 1}
    assert part.changed({"count": 2, "inner": {"rate": 3}}) == Outer(count=2, form="long", inner=Inner(rate=3))
    assert part.changed(None).values() == part.values() and part.count == 1
    assert len({Inner(), Inner().changed({"rate": 1})}) == 1  # a part cannot be altered, so it has a hash
    for changes in ({"count": "many"}, {"cuont": 2}, "many"):
        with pytest.raises(ConfigMistake, match=r"^a\..*|^a = 'many'"):
            part.changed(changes, "a")
