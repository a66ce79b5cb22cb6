"""Times in words."""

import pytest

from lirec import wording


@pytest.mark.parametrize("seconds, words", [(1.26, "1.3 s"), (42.3, "42 s"), (300, "5 min")])
def test_durations_are_as_exact_as_they_need_be(seconds, words):
    assert wording.duration(seconds) == words


def test_only_the_first_few_are_named():
    assert wording.moments([0.5, 2]) == "0.5 s, 2.0 s"
    assert wording.spans([(0, 1.5), (2, 2.04), (3, 4), (5, 6), (7, 8), (9, 10)]) == (
        "0.0 to 1.5 s, 2.0 s, 3.0 to 4.0 s, 5.0 to 6.0 s and 2 more"
    )
