"""What every refusal looks like."""

from app.api.http.problems import MEDIA_TYPE


def assert_problem(answer, status, code):
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code), body
    assert body["title"]
    assert body["detail"]
    assert body["type"] == f"urn:secateur:problem:{code}"
    return body
