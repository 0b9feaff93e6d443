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
    "content, named",
    [
        ({"count": 1, "cuont": 3}, "a.b.cuont = 3: .*'count'"),
        ({"count": 1, "zzz": 3}, "a.b.zzz = 3: .*count, form, inner, parts, perhaps"),
        ({"count": 1, "rate": 3}, "a.b.rate = 3: .*under `inner`"),
        ({"count": 1, "old": 3}, "a.b.old = 3: .*now `form`"),
        ({"count": 1, "inner": {"rat": 2}}, "a.b.inner.rat = 2: .*'rate'"),
        ({"count": 1, "parts": {"x": {"rate": "fast"}}}, "a.b.parts.x.rate = 'fast': .*number"),
        ({"count": 1, "form": "lomg"}, "a.b.form = 'lomg': .*'long'"),
        ({}, "a.b.count: .*nothing"),
        (None, "a.b.count: .*nothing"),
        ([1], r"a.b = \[1\]: .*dictionary"),
        ({"cuont": 3, "zzz": 3}, "a.b.count: .*nothing; a.b.cuont = 3: .*'count'.*; a.b.zzz = 3: "),
        ({"form": "x", "perhaps": {"rate": []}}, r"a.b.perhaps.rate = \[\]: .*; a.b.form = 'x'.*; a.b.count: "),
    ],
)
def test_every_mistake_is_named_with_its_key_value_and_what_is_right(content, named):
    with pytest.raises(ConfigMistake, match=f"^{named}"):
        Outer.read(content, "a", "b")


def test_a_changed_part_has_the_values_of_both_and_is_checked_anew():
    part = Outer.read({"count": 1, "form": "long"})
    assert part.values() == {"form": "long", "count": 1}
    assert part.changed({"count": 2, "inner": {"rate": 3}}) == Outer(count=2, form="long", inner=Inner(rate=3))
    assert part.changed(None).values() == part.values() and part.count == 1
    assert len({Inner(), Inner().changed({"rate": 1})}) == 1  # a part cannot be altered, so it has a hash
    for changes in ({"count": "many"}, {"cuont": 2}, "many"):
        with pytest.raises(ConfigMistake, match=r"^a\..*|^a = 'many'") as caught:
            part.changed(changes, "a")
    assert [key for key, _ in caught.value.mistakes] == [("a",)]
