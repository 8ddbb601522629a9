import base64
import json
import time

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from app.domain.webhooks import SCHEDULE, pause_after
from app.webhooks import signing

BODY = json.dumps({"type": "job.succeeded"}).encode()


def test_the_public_library_accepts_what_we_sign():
    secret = signing.new_secret()
    headers = signing.headers("msg_1", int(time.time()), BODY, [secret])
    assert Webhook(secret).verify(BODY, headers) == {"type": "job.succeeded"}


def test_each_live_secret_signs():
    old, new = signing.new_secret(), signing.new_secret()
    headers = signing.headers("msg_1", int(time.time()), BODY, [new, old])
    assert Webhook(old).verify(BODY, headers) == Webhook(new).verify(BODY, headers)


@pytest.mark.parametrize("change", ["body", "id", "time", "secret"])
def test_any_change_is_noticed(change):
    secret, now = signing.new_secret(), int(time.time())
    headers = signing.headers("msg_1", now, BODY, [secret])
    body = BODY + b" " if change == "body" else BODY
    headers |= {"webhook-id": "msg_2"} if change == "id" else {}
    headers |= {"webhook-timestamp": str(now + 1)} if change == "time" else {}
    verifier = Webhook(signing.new_secret() if change == "secret" else secret)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(body, headers)


def test_the_schedule_is_the_standards_and_ends():
    seconds = [pause.total_seconds() for pause in SCHEDULE]
    hour = 3600
    hours = [hour * count for count in (2, 5, 10, 14, 20, 24)]
    assert seconds == [0, 5, 300, 1800, *hours]
    for attempts in range(1, len(SCHEDULE)):
        assert SCHEDULE[attempts] <= pause_after(attempts) <= SCHEDULE[attempts] * 1.1
    assert pause_after(len(SCHEDULE)) is None


def test_a_secret_has_256_bits_and_is_another_one_every_time():
    secret = signing.new_secret()
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert secret != signing.new_secret()
