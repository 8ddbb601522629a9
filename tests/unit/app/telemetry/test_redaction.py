"""Secrets by form, name and value are masked; what is none stays; no text takes long."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.projects.service import PREFIX
from app.telemetry import redaction
from app.telemetry.redaction import is_secret, scrub
from app.webhooks import sender

SECRET = "kRt0_vQ-9xZ3"

HOLDING = [
    f"Authorization: Bearer {SECRET}",
    f"authorization=Bearer%20{SECRET}",
    f"(b'authorization', b'Bearer {SECRET}')",
    f"{{'Authorization': 'Token {SECRET}'}}",
    f"Bearer {SECRET}",
    f"sct_{SECRET}",
    f"whsec_{SECRET}+/=",
    "hf_kRt0vQ9xZ3kRt0vQ9xZ3kRt0vQ9xZ3kRt0",
    f"postgresql+psycopg://secateur:{SECRET}@db/secateur",
    f"postgresql://secateur:a@b/{SECRET}@db:5432/secateur",
    f"redis://:{SECRET}@valkey:6379/0",
    f"https://{SECRET}@example.org/x",
    f"https://user:1234{SECRET}@example.org:8321/x",
    f"https://bucket.s3/x?X-Amz-Credential={SECRET}&X-Amz-Date=1",
    f"https://bucket.s3/x?X-Amz-Date=1&X-Amz-Signature={SECRET}",
    f"https://bucket.s3/x?AWSAccessKeyId=1&Signature={SECRET}&Expires=1",
    f"GET /v1/jobs?token={SECRET}&limit=1 200",
    f"GET /console/sign-in/callback?code={SECRET}&state=x 303",
    f"GET /console/sign-in/callback?state=x&code={SECRET} 303",
    f"redirect?to=https%3A%2F%2Fb%3FX-Amz-Signature%3D{SECRET}%26x",
    f"AWS_SECRET_ACCESS_KEY={SECRET}/+kRt0",
    "aws: AKIAKRT0VQ9XZ3KRT0VQ",
    f"host=db password={SECRET} dbname=secateur",
    f"{{'password': 'two words {SECRET}', 'x': 1}}",
    f'{{"api_key": "{SECRET}"}}',
    f'"{{\\"client_secret\\": \\"{SECRET}\\"}}"',
    f"requirepass {SECRET}",
    f"celery --hub-token {SECRET} --x",
    f"Cookie: theme=dark; session={SECRET}",
    f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET}\n-----END RSA PRIVATE KEY-----",
    f"-----BEGIN ENCRYPTED PRIVATE KEY-----\nDEK-Info: A-B\n\n{SECRET}\n-----END PRIVATE KEY-----",
    json.dumps({"password": f'with "quotes" {SECRET}', "x": 1}),
    json.dumps(json.dumps({"password": f'with "quotes" {SECRET}', "x": 1})),
    repr({"password": f"""with 'both" {SECRET}"""}),
    f"<Credentials><SecretAccessKey>{SECRET}</SecretAccessKey></Credentials>",
    f"<saml:password>{SECRET}</saml:password>",
    f"to=https%253A%252F%252Fb%253Fpassword%253D{SECRET}%2526x",
    f"to=https%3A%2F%2Fuser%3A{SECRET}%40host%2Fx",
    f'Authorization: Digest username="a", nonce="b", response="{SECRET}"',
    f"<RequestsCookieJar[<Cookie session={SECRET} for example.org/>]>",
    f"curl -u user:{SECRET} https://example.org",
    f"npm_{SECRET.replace('-', '_')}kRt0vQ9xZ3",
    f"sk_live_{SECRET.replace('-', '_')}",
]


@pytest.mark.parametrize("text", HOLDING)
def test_a_secret_is_masked_wherever_it_stands(text):
    secret = SECRET if SECRET in text else text.rsplit(" ", maxsplit=1)[-1]
    for given_text in (
        text,
        f"before: {text}",
        f"[{text}]",
        f"{text}, after",
        " ".join([text] * 3),
    ):
        assert secret not in scrub(given_text)


@pytest.mark.parametrize(
    "secret", [sender.new_secret(), f"{PREFIX}{SECRET}"], ids=["webhook", "key"]
)
def test_our_own_secrets_are_known_by_their_prefix(secret):
    assert scrub(f"a {secret} b") == "a *** b"


@pytest.mark.parametrize(
    "text",
    [
        "POST /v1/jobs/job_0192f3a0/events?after=10&limit=100 200",
        "send an API key as `Authorization: Bearer <key>`",
        "http://localhost:8321/v1/jobs and https://huggingface.co/org/model@main",
        "hf_hub_download and hf_raise_for_status are functions",
        "16 tokens, max_new_tokens=16, tokenizer=x",
        "there is no live API key 'key_0192f3a0'",
        "the password is wrong",
        "<tokens>16</tokens> and <b>bold</b>, docker run -u 1000 x, a digest of 32 bytes",
        "HTTP cookie jar, cookies are not sent",
        "perplexity per token: 12.5 (before: 11.0), pad_token=0",
    ],
)
def test_what_is_no_secret_stays(text):
    assert scrub(text) == text


def test_what_the_process_was_given_is_masked_bare(monkeypatch):
    monkeypatch.setenv("HF_PUSH_TOKEN", f"plain{SECRET}")
    monkeypatch.setenv("SECATEUR_DATABASE__URL", f"postgresql+psycopg://a:other{SECRET}@db/x")
    monkeypatch.setenv("GIVEN_SECRET", "short")
    redaction.given.cache_clear()
    try:
        assert scrub(f"short plain{SECRET} other{SECRET}") == "short *** ***"
    finally:
        monkeypatch.undo()
        redaction.given.cache_clear()


@given(st.integers(0, 60), st.sampled_from(HOLDING[:6] + HOLDING[8:13]))
def test_no_cut_lets_half_a_secret_through(longest, text):
    assert SECRET[:6] not in scrub("x " * 10 + text, longest)


@given(st.text(max_size=200), st.integers(1, 100))
def test_any_text_is_bounded(text, longest):
    masked = scrub(text, longest)
    assert len(masked) <= 4 * longest + 10


@pytest.mark.parametrize("name", ["password", "X-Api-Key", "hub_token", "AWS_SECRET_ACCESS_KEY"])
def test_names_of_secrets(name):
    assert is_secret(name)
    assert not is_secret(f"{name}s_left")


def test_a_text_is_kept_to_its_longest():
    words = "word " * 1638 + "ab"  # 8192 characters
    assert scrub(words) == words
    assert scrub(words + "c") == "word " * 1638 + " [cut]"
    assert scrub("one two", 7) == "one two"
    assert scrub("one two", 6) == "one  [cut]"
    assert scrub(" " * 9, 5) == " " * 5 + " [cut]"


def test_of_what_has_no_spaces_a_piece_is_dropped():
    """Half a secret may be all that is left of it, and would not be known."""
    assert scrub("x" * 9000) == "x" * (8192 - 512) + " [cut]"
    assert scrub("a " + "x" * 9000) == "a " + "x" * (8190 - 512) + " [cut]"
    assert scrub("a " + "x" * 900, 512) == "a  [cut]"


def test_a_text_that_is_cut_is_scrubbed_too():
    assert scrub("password=hunter22 " + "word " * 9, 30) == "password=*** word word  [cut]"


@pytest.fixture
def environment(monkeypatch):
    """Sets variables, which are read anew."""

    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        redaction.given.cache_clear()

    yield set_all
    redaction.given.cache_clear()


def test_values_that_are_too_short_to_be_secrets_are_left(environment):
    environment(SOME_TOKEN="elevenchars", OTHER_TOKEN="twelve-chars")
    assert scrub("elevenchars twelve-chars") == "elevenchars ***"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("password", True), ("x" * 60 + "token", True), ("set-cookie", True), ("tokens", False)],
)
def test_names_whose_values_are_not_shown(name, secret):
    assert is_secret(name) is secret


def test_the_longest_secrets_are_masked_first(environment):
    environment(SOME_TOKEN="twelve-chars", OTHER_TOKEN="twelve-chars-and-more")
    assert scrub("twelve-chars-and-more") == "***"
