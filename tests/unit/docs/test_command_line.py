"""The files on the page about the command line are requests."""

import re
from pathlib import Path

from app.cli.requests.values import parse
from app.domain.submission import JobRequest

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "command-line.md"


def test_the_file_on_the_page_is_a_request():
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert JobRequest.model_validate(parse(block)).labels == {"team": "search"}
