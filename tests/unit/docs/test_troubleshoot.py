"""The page on troubleshooting names codes that there are, and all of some families."""

import re
from typing import get_args

from app.api.document.openapi import error_classes
from app.recipes.performance import NotMeasuredCode
from app.reports.advice import BY_CODE
from docs._ext import reference

ROW = re.compile(r"^\| (`[a-z_.]+`(?:, `[a-z_.]+`)*) \|", re.MULTILINE)
CODE = re.compile(r"`([a-z_]+?)(_?\.\.\.)?`")


def every_code():
    measured = get_args(NotMeasuredCode)
    return {
        *(each.code for each in error_classes()),
        *BY_CODE,
        *measured,
        *reference.refusals(),
    }


def test_every_code_of_the_page_exists():
    page = (reference.ROOT / "docs/how-to/troubleshoot.md").read_text()
    known = every_code()
    named = CODE.findall(" ".join(ROW.findall(page)))
    assert len(named) > 25
    for code, more in named:
        assert code in known or (more and any(each.startswith(code) for each in known)), code


def test_every_advice_of_a_job_page_has_its_row():
    page = (reference.ROOT / "docs/how-to/troubleshoot.md").read_text()
    assert [code for code in BY_CODE if f"`{code}`" not in page] == []


def test_codes_of_structure_tokens_and_measuring_have_their_rows():
    page = (reference.ROOT / "docs/how-to/troubleshoot.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", " ".join(ROW.findall(page))))
    family = re.compile("(structure|token|measuring)_")
    assert {code for code in every_code() if family.match(code)} - named == set()
