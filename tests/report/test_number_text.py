"""Numbers as a page shows them."""

from __future__ import annotations

import math

import pytest

from fade_deploy.report.number_text import (
    bound_text,
    counted,
    difference_text,
    error_text,
    millions,
    percent,
    rate_text,
    score_text,
    size_text,
)


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (error_text(None), "-"),
        (error_text(0.0), "0"),
        (error_text(1.44e-5), "1.4e-5"),
        (error_text(0.75), "7.5e-1"),
        (error_text(math.nan), "NaN"),
        (error_text(math.inf), "infinite"),
        (bound_text(1e-4), "1e-4"),
        (bound_text(2.5e-5), "2.5e-5"),
        (bound_text(0.03), "0.03"),
        (bound_text(0.0), "0"),
        (score_text(0.123456), "0.12346"),
        (difference_text(0.0), "0"),
        (difference_text(-0.05), "-0.05"),
        (difference_text(4.26e-8), "+4.3e-8"),
        (difference_text(math.nan), "NaN"),
        (rate_text(0.05123), "0.0512"),
        (rate_text(1234.56), "1234.6"),
        (percent(0.0), "0 %"),
        (percent(1.0), "100 %"),
        (percent(0.5), "50.0 %"),
        (percent(0.9996), "99.96 %"),
        (percent(1e-5), "0.001 %"),
        (percent(1e-9), "almost none"),
        (percent(1 - 1e-9), "almost all"),
        (counted(1, "run"), "1 run"),
        (counted(12_345, "value"), "12,345 values"),
        (millions(9_999), "9,999"),
        (millions(258_339), "0.26 M"),
        (size_text(999), "999 B"),
        (size_text(1_831_446), "1.8 MB"),
    ],
)
def test_a_number_is_short_and_says_what_it_is(shown: str, text: str) -> None:
    assert shown == text
