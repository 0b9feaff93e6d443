"""What a run changes is not credited to others."""

import pytest

from convnova.config.hyperparameters import merge_sources


@pytest.mark.parametrize(
    "old, new, new_keys, expected",
    [
        ("paper", None, [], "paper"),
        ("paper", "mine", [], "mine"),
        (None, None, ["b"], None),
        (None, "mine", ["b"], "mine"),
        ("paper", None, ["b", "c"], {"a": "paper", "b": "run config", "c": "run config"}),
        ("paper", "mine", ["b"], {"a": "paper", "b": "mine"}),
        ("paper", {"b": "mine"}, ["b", "c"], {"a": "paper", "b": "mine", "c": "run config"}),
        ({"a": "paper", "b": "code"}, None, ["b"], {"a": "paper", "b": "run config"}),
    ],
)
def test_what_a_run_changes_comes_from_the_run_config_unless_it_says_otherwise(old, new, new_keys, expected):
    assert merge_sources(old, ["a", "b"], new, new_keys) == expected
