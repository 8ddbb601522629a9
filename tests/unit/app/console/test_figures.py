"""Times as people in front of a page see them."""

from datetime import UTC, datetime, timedelta

from app.console import figures


def test_times_are_told_from_now():
    now = datetime.now(UTC)
    assert figures.ago(now - timedelta(minutes=3, seconds=4)) == "3 min ago"
    assert figures.ago(now + timedelta(hours=2, minutes=1)) == "in 2 h"
    assert figures.ago(now - timedelta(seconds=20)) == "20 s ago"
    assert figures.ago(None) == "\u2013"
