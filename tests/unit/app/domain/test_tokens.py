"""Claims of verified tokens become a subject, a project and a scope."""

import pytest

from app.domain.projects import Scope
from app.domain.tokens import (
    ClaimRules,
    Grant,
    TokenGrantError,
    TokenInvalidError,
    TokenProjectMissingError,
    TokenScopeMissingError,
)

SCOPES = {"s:read": Scope.READ, "s:submit": Scope.SUBMIT, "s:admin": Scope.ADMIN}
BY_NAME = ClaimRules("project", {}, "scope", SCOPES)
MAPPED = ClaimRules("groups", {"a": "vision", "b": "vision", "c": "speech"}, "roles", SCOPES)
TOKEN = {"sub": "ada", "project": "vision", "scope": "s:read"}


def test_a_token_grants_what_its_claims_say():
    assert BY_NAME.grant(TOKEN) == Grant("oidc:ada", "vision", Scope.READ)


@pytest.mark.parametrize(
    ("value", "scope"),
    [
        ("s:read", Scope.READ),
        ("s:admin s:read", Scope.ADMIN),
        ("  s:submit\ts:read ", Scope.SUBMIT),
        (["s:read", "s:submit"], Scope.SUBMIT),
        (["s:read", 7, None, ["s:admin"]], Scope.READ),
    ],
)
def test_the_highest_scope_counts(value, scope):
    assert BY_NAME.grant(TOKEN | {"scope": value}).scope is scope


@pytest.mark.parametrize(
    "value", ["", "S:READ", "s:read,s:submit", ["s:read s:submit"], {}, 7, None]
)
def test_what_grants_nothing(value):
    with pytest.raises(TokenScopeMissingError, match="s:admin, s:read, s:submit"):
        BY_NAME.grant(TOKEN | {"scope": value})


def test_values_are_mapped_and_others_mean_nothing():
    claims = {"sub": "ada", "roles": ["s:read"]}
    for groups in (["a"], "a", ["a", "b"], ["x", "a", 7]):
        assert MAPPED.grant(claims | {"groups": groups}).project == "vision"
    for groups in ("vision", ["x"], [], None, ["a", "c"], {"a": 1}):
        with pytest.raises(TokenProjectMissingError):
            MAPPED.grant(claims | {"groups": groups})


def test_a_name_is_not_split_and_a_list_has_one():
    assert BY_NAME.grant(TOKEN | {"project": "two words"}).project == "two words"
    assert BY_NAME.grant(TOKEN | {"project": ["vision"]}).project == "vision"
    for value in (["vision", "speech"], "\ud800", "a\0", ["\n"]):
        with pytest.raises(TokenGrantError):
            BY_NAME.grant(TOKEN | {"project": value})


def test_dots_lead_into_objects_where_no_claim_has_the_whole_name():
    rules = ClaimRules("https://x.org/p", {}, "a.b.c", SCOPES)
    claims = {"sub": "ada", "https://x.org/p": "vision"}
    assert rules.grant(claims | {"a": {"b": {"c": "s:read"}}}).scope is Scope.READ
    whole = {"a.b.c": "s:admin", "a": {"b": {"c": "s:read"}}}
    assert rules.grant(claims | whole).scope is Scope.ADMIN
    for other in ({"a": {"b": "s:read"}}, {"a": [{"b": {"c": "s:read"}}]}, {"a": None}):
        with pytest.raises(TokenScopeMissingError):
            rules.grant(claims | other)


@pytest.mark.parametrize("subject", ["a", "x" * 255, "auth0|5f7c", "\N{GREEK SMALL LETTER ALPHA}"])
def test_subjects(subject):
    grant = BY_NAME.grant(TOKEN | {"sub": subject})
    assert grant.subject == f"oidc:{subject}"
    assert grant.is_of({"sub": subject})
    assert not grant.is_of({"sub": "somebody else"})


@pytest.mark.parametrize("subject", [None, "", 7, ["ada"], "a\nb", "\ud800", "x" * 256, "\x00"])
def test_a_subject_is_a_short_text(subject):
    with pytest.raises(TokenInvalidError, match="sub"):
        BY_NAME.grant(TOKEN | {"sub": subject})
