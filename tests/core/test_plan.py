from __future__ import annotations

import re

from wsa.experiment.plan import file_word, random_control


def test_a_layer_set_is_a_safe_and_unique_word_in_a_file_name() -> None:
    hostile = [
        "../../etc",
        "a/b",
        "a-b",
        "*.attn1.*",
        "*.attn1_*",
        "x" * 300,
        "\0",
        "random-12",
        "Ä",
        "",
    ]
    plain = ["all", "visual", "random:12"]
    words = [file_word(name) for name in hostile + plain]
    assert words[-3:] == ["all", "visual", "random-12"]
    assert len(set(words)) == len(words)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,60}", word) for word in words)


def test_only_a_proper_subset_has_a_random_control() -> None:
    assert random_control("visual", 96, 128) == "random:96"
    assert random_control("all", 128, 128) is None
    assert random_control("random:5", 5, 128) is None
