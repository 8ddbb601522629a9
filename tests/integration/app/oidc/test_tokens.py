"""Tokens of an issuer open a project; forged, foreign and outdated ones open nothing."""

import base64
import json
import logging
import time

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from starlette.testclient import TestClient

from app.main import create_app
from app.oidc import issuer as issuer_module
from app.oidc.verifier import MOST
from app.services.projects import service as projects
from tests.integration.app.problem import assert_problem
from tests.integration.oidc_issuer import AUDIENCE

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}
INVALID = 'Bearer error="invalid_token"'
INSUFFICIENT = 'Bearer error="insufficient_scope"'


def part(told):
    text = told if isinstance(told, bytes) else json.dumps(told).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


def join(header, claims):
    return f"{part(header)}.{part(claims)}.AA"


def opened(token):
    """Header and claims of a token, without looking at its signature."""
    return [json.loads(base64.urlsafe_b64decode(each + "==")) for each in token.split(".")[:2]]


def refused(answer, code, status=401):
    assert_problem(answer, status, code)
    wanted = INVALID if status == 401 else INSUFFICIENT
    assert answer.headers["www-authenticate"] == wanted


def test_a_token_opens_its_project_and_its_subject_is_recorded(ask, token, vision, api):
    held = token(sub="ada@lab", scope="secateur:admin")
    assert ask(held).json()["id"] == vision.id
    job_id = ask(held, "/v1/jobs", "POST", json=JOB).json()["id"]
    entry = ask(held, "/v1/audit").json()["entries"][0]
    assert (entry["key_id"], entry["action"]) == ("oidc:ada@lab", "job.submit")
    assert entry["target"] == job_id
    stream = {"Accept": "text/event-stream", "Authorization": f"Bearer {held}"}
    assert api.get("/v1/jobs/none/events", headers=stream).status_code == 404
    assert ask(held, "/v1/datasets", "POST", content=b'{"text": "x"}\n').status_code == 201


def test_keys_work_as_before_beside_tokens(api, engine, token, ask):
    with engine.begin() as connection:
        secret = projects.create_key(connection, "k")
    assert ask(secret).json()["name"] == "default"
    assert ask(token()).json()["name"] == "vision"
    assert_problem(ask("sct_none"), 401, "api_key_invalid")
    assert_problem(api.get("/v1/project"), 401, "api_key_missing")


def test_without_an_issuer_a_token_is_no_key(client, token):
    answer = client.get("/v1/project", headers={"Authorization": f"Bearer {token()}"})
    assert_problem(answer, 401, "api_key_invalid")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("scope", "statuses"),
    [
        ("secateur:read", [200, 403, 403]),
        ("email secateur:submit secateur:read", [200, 202, 403]),
        (["secateur:admin"], [200, 202, 200]),
    ],
)
def test_scopes_are_those_of_keys(ask, token, scope, statuses):
    held = token(scope=scope)
    answers = [ask(held), ask(held, "/v1/jobs", "POST", json=JOB), ask(held, "/v1/keys")]
    assert [answer.status_code for answer in answers] == statuses
    for answer in answers:
        if answer.status_code == 403:
            assert_problem(answer, 403, "scope_missing")


def test_a_token_without_a_scope_of_ours_opens_nothing(ask, token):
    for scope in (None, "", "openid email", "secateur:root", 7, ["read"], {}):
        refused(ask(token(scope=scope)), "token_scope_missing", 403)


def test_a_token_names_one_project_that_exists(ask, token):
    for project in (None, [], ["vision", "default"], 7, {"a": 1}, [["vision"]]):
        refused(ask(token(project=project)), "token_project_missing", 403)
    for project in ("", "other", "Vision", "vision ", "prj_default", "x" * 5000):
        refused(ask(token(project=project)), "token_project_unknown", 403)


def test_a_project_that_is_gone_refuses_its_tokens(ask, token, engine):
    assert ask(token()).status_code == 200
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE projects SET name = 'closed' WHERE name = 'vision'")
    refused(ask(token()), "token_project_unknown", 403)


def test_projects_do_not_see_each_other(ask, token, engine):
    with engine.begin() as connection:
        projects.create(connection, "audio")
    job_id = ask(token(), "/v1/jobs", "POST", json=JOB).json()["id"]
    assert ask(token(sub="bob"), f"/v1/jobs/{job_id}").status_code == 200
    assert_problem(ask(token(project="audio"), f"/v1/jobs/{job_id}"), 404, "job_not_found")
    held = token(project="audio", scope="secateur:admin")
    assert_problem(ask(held, "/v1/projects"), 403, "scope_missing")
    held = token(project="default", scope="secateur:admin")
    assert ask(held, "/v1/projects").status_code == 200


def test_limits_of_the_project_hold_for_tokens(ask, token, engine, vision):
    with engine.begin() as connection:
        connection.exec_driver_sql(
            'UPDATE projects SET limits = \'{"requests_per_minute": 2, "queued_jobs": 0}\''
        )
    full = ask(token(), "/v1/jobs", "POST", json=JOB)
    assert_problem(full, 429, "quota_queued_jobs")
    answers = [ask(token(sub=name)) for name in ("a", "b", "c")]
    assert_problem(answers[-1], 429, "rate_limited")


def test_an_idempotency_key_is_the_projects(api, token):
    def submit(subject):
        headers = {"Authorization": f"Bearer {token(sub=subject)}", "Idempotency-Key": "k"}
        return api.post("/v1/jobs", json=JOB, headers=headers)

    first, second = submit("ada"), submit("bob")
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotency-replayed"] == "true"


def test_audiences_may_be_listed(ask, token):
    assert ask(token(aud=[AUDIENCE])).status_code == 200
    assert ask(token(aud=["other", AUDIENCE], azp="x")).status_code == 200


def test_a_token_for_others_opens_nothing(ask, token):
    others = (None, "other", [], ["other"], AUDIENCE + "/", AUDIENCE[:-1], 7, {AUDIENCE: 1})
    for audience in (*others, [7, AUDIENCE]):
        refused(ask(token(aud=audience)), "token_audience_wrong")


def test_a_token_of_others_opens_nothing(ask, token, issuer):
    others = (None, "https://evil.example", "", 7, ["x"])
    for url in (*others, issuer.url + "/", issuer.url.upper(), [issuer.url]):
        refused(ask(token(iss=url)), "token_issuer_wrong")


def test_genuine_tokens_that_are_not_to_be_taken(ask, token):
    now = int(time.time())
    for claims in ({"exp": now - 60}, {"exp": 0}, {"exp": -1}):
        refused(ask(token(**claims)), "token_expired")
    for claims in (
        *({"exp": value} for value in (None, "never", True, [now + 60])),
        *({"nbf": value} for value in (now + 3600, "x", True)),
        *({"iat": value} for value in (now + 3600, "x")),
        *({"sub": value} for value in (None, "", "a\nb", "x" * 256, 7)),
        {"cnf": {"jkt": "x"}},
        *({name: "x"} for name in ("at_hash", "c_hash", "nonce")),
        {"typ": "ID"},
    ):
        refused(ask(token(**claims)), "token_invalid")
    assert ask(token(typ="Bearer", nonce="x")).status_code == 200, "as of old Keycloaks"


def test_clocks_may_differ_a_little(ask, token):
    assert ask(token(exp=int(time.time()) - 20)).status_code == 200
    assert ask(token(nbf=int(time.time()) + 20, iat=int(time.time()) + 20)).status_code == 200


def test_headers_of_tokens(ask, token):
    for kind in ("JWT", "at+jwt", "application/at+jwt", "AT+JWT", None):
        assert ask(token({"typ": kind})).status_code == 200
    for header in (
        *({"typ": kind} for kind in ("logout+jwt", "dpop+jwt", "secevent+jwt")),
        *({"kid": kid} for kid in ("none", "", "../../etc/passwd")),
        {"crit": ["b64"], "b64": True},
    ):
        refused(ask(token(header)), "token_invalid")


def test_a_token_without_a_key_id_is_fine_with_one_key_and_not_with_two(ask, token, issuer):
    assert ask(token({"kid": None})).status_code == 200
    [key] = issuer.http.get("/jwks").json()["keys"]
    issuer.spoil(jwks={"keys": [key | {"use": "enc", "kid": "other"}, key]})
    assert ask(token({"kid": None})).status_code == 200, "the other does not sign"
    issuer.spoil()
    issuer.rotate("RS256", "ES256")
    assert ask(token({"alg": "ES256"})).status_code == 200
    refused(ask(token({"kid": None})), "token_invalid")


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "Ed25519"])
def test_kinds_of_signatures(ask, token, issuer, algorithm):
    issuer.rotate(algorithm)
    held = token()
    assert ask(held).status_code == 200
    head, body, signature = held.split(".")
    for other in (signature[:-8] + "AAAAAAAA", part(b"\0" * 64), part(b"x"), part(b"\0" * 4096)):
        refused(ask(f"{head}.{body}.{other}"), "token_invalid")


def forge(claims, header, key):
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    registry.max_header_length = MOST
    return jwt.encode(header, claims, key, registry=registry, default_type=None)


def test_forged_tokens_open_nothing(ask, token, issuer):
    held = token()
    header, claims = opened(held)
    body = held.split(".")[1]
    richer = claims | {"scope": "secateur:admin", "project": "default"}
    [published] = issuer.http.get("/jwks").json()["keys"]
    public = RSAKey.import_key(published)
    mine = RSAKey.generate_key(2048)
    forged = {
        "no signature": f"{part(header | {'alg': 'none'})}.{part(richer)}.",
        "none, signed": f"{part(header | {'alg': 'none'})}.{part(richer)}.{part(b'x')}",
        "None": f"{part(header | {'alg': 'None'})}.{body}.{part(b'x')}",
        "other claims": ".".join([held.split(".")[0], part(richer), held.split(".")[2]]),
        "my key, its name": forge(richer, header, mine),
        "my key in the header": forge(richer, header | {"jwk": mine.as_dict(private=False)}, mine),
        "my key's address": forge(richer, header | {"jku": "https://evil.example/jwks"}, mine),
        "another kind of key": forge(
            richer, header | {"alg": "ES256"}, ECKey.generate_key("P-256")
        ),
        "critical": forge(richer, header | {"crit": ["b64"], "b64": True}, mine),
        "the algorithm a list": f"{part(header | {'alg': ['RS256']})}.{body}.{part(b'x')}",
        "the key id an object": f"{part(header | {'kid': {}})}.{body}.{part(b'x')}",
    }
    for algorithm in ("HS256", "HS512"):
        for name, text in {
            "PEM": public.as_pem(private=False),
            "DER": public.as_der(private=False),
            "n": published["n"].encode(),
        }.items():
            head = header | {"alg": algorithm}
            forged[f"{algorithm} with {name}"] = forge(richer, head, OctKey(text, text))
    for name, each in forged.items():
        assert ask(each).status_code == 401, name
        refused(ask(each), "token_invalid")
    assert ask(held).status_code == 200


def test_what_is_no_token_is_refused(ask):
    for text in (
        "a.b.c",
        "...",
        "eyJ.eyJ.eyJ",
        join([], []),
        join(b"[" * 9000, b"[" * 3000),
        join(b'{"a":1e999}', b"9" * 5000),
        join(b'{"alg":"RS256","alg":"none"}', {}),
        join(b"\xff", {}),
        "a.b.c.d.e",
        "x." + "A" * 60_000,
    ):
        refused(ask(text), "token_invalid")


def test_a_token_is_bounded(ask, token):
    assert ask(token(groups=["g" * 100] * 90)).status_code == 200
    long = ask(token(filler="x" * MOST))
    refused(long, "token_invalid")
    assert f"at most {MOST} characters" in long.json()["detail"]
    refused(ask(token(filler=[[]] * 2500)), "token_invalid")


def test_a_wrong_body_is_hidden_from_who_may_not_ask(ask, token):
    bad = {"model": 7}
    refused(ask(token(aud="other"), "/v1/jobs", "POST", json=bad), "token_audience_wrong")
    chunks = iter([b"x"])
    refused(ask(token(aud="other"), "/v1/jobs", "POST", content=chunks), "token_audience_wrong")
    assert_problem(ask(token(), "/v1/jobs", "POST", json=bad), 422, "request_invalid")


def test_browsers_pages_take_tokens_as_passwords(api, token):
    path = "/v1/jobs/none/report"
    assert_problem(api.get(path, auth=("any", token())), 404, "job_not_found")
    answer = api.get(path, auth=("any", token(aud="other")))
    assert_problem(answer, 401, "token_audience_wrong")
    assert answer.headers["www-authenticate"].startswith("Basic")


def test_guests_from_elsewhere_show_a_token(token_settings, token, vision):
    away = ("203.0.113.9", 50000)
    with TestClient(create_app(token_settings), client=away) as client:
        assert_problem(client.get("/docs"), 401, "api_key_missing")
        held = {"Authorization": f"Bearer {token()}"}
        assert client.get("/docs", headers=held).status_code == 200
        assert_problem(client.get("/metrics", headers=held), 403, "scope_missing")
        held = {"Authorization": f"Bearer {token(exp=0)}"}
        assert_problem(client.get("/docs", headers=held), 401, "token_expired")


def test_no_token_reaches_a_log(ask, token, caplog):
    caplog.set_level(logging.DEBUG)
    for held in (
        token(),
        token(aud="x"),
        token(project="none"),
        token({"kid": "none"}),
        "a.b.c1d2",
    ):
        ask(held)
        assert held not in caplog.text
        assert held.rpartition(".")[2] not in caplog.text


class TestSettings:
    @pytest.fixture
    def oidc(self, oidc):
        scopes = {"Jobs.Read": "read", "pruners": "submit"}
        return oidc.model_validate(
            oidc.model_dump()
            | {
                "clients": "ci, notebooks",
                "algorithms": "ES256",
                "project_claim": "https://example.org/groups",
                "projects": {"/teams/vision": "vision", "/teams/speech": "speech"},
                "scope_claim": "resource_access.secateur.roles",
                "scopes": scopes,
            }
        )

    @pytest.fixture
    def made(self, issuer):
        issuer.rotate("ES256", "RS256")

        def make(header=None, groups=("/all", "/teams/vision"), roles=("pruners",), **claims):
            named = {"https://example.org/groups": list(groups), "project": "speech"}
            roles = {"resource_access": {"secateur": {"roles": list(roles)}}}
            return issuer.token(header, **named | roles | {"azp": "ci"} | claims)

        return make

    def test_claims_and_their_values_are_the_operators_choice(self, ask, made):
        assert ask(made()).json()["name"] == "vision"
        assert ask(made(), "/v1/jobs", "POST", json=JOB).status_code == 202
        assert ask(made(roles=["Jobs.Read", "x"]), "/v1/jobs", "POST", json=JOB).status_code == 403
        refused(ask(made(roles=["secateur:admin"])), "token_scope_missing", 403)
        refused(ask(made(resource_access="x")), "token_scope_missing", 403)
        refused(ask(made(groups=["vision"])), "token_project_missing", 403)
        both = ["/teams/vision", "/teams/speech"]
        refused(ask(made(groups=both)), "token_project_missing", 403)
        refused(ask(made(groups=["/teams/speech"])), "token_project_unknown", 403)

    def test_clients_and_algorithms_are_too(self, ask, made):
        for claims in ({"azp": "ci"}, {"azp": None, "client_id": "notebooks"}):
            assert ask(made(**claims)).status_code == 200
        for claims in ({"azp": "other"}, {"azp": None}, {"azp": ["ci"]}):
            refused(ask(made(**claims)), "token_client_not_allowed", 403)
        refused(ask(made({"alg": "RS256"})), "token_invalid")


def test_the_default_pause_between_fetches_is_not_nothing():
    assert issuer_module.LAST_RESORT > issuer_module.FRESH > 60
