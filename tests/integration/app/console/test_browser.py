"""Every page in a real browser: wide and narrow, light and dark, for everybody, without errors."""

import pytest

from app.domain.jobs import EventType, FailureKind, JobError, NewEvent
from app.planning.machines import Machine
from app.planning.workers import NewWorker
from app.recipes.pruning_report import REPORT_FILE
from app.services import workers
from app.storage.local import LocalStore
from tests.browser import NEEDED, barriers, complaints, keep
from tests.integration.app.console.test_jobs import JOB, RESULT
from tests.integration.app.console.test_lists import SWEEP
from tests.integration.app.headers import SHAPES, write_header
from tests.unit.app.reports.made import reported, result_of, written

pytestmark = NEEDED


@pytest.fixture
def sign_in(secret):
    def enter(page):
        page.goto("/")
        page.get_by_label("API key").fill(secret[1])
        page.keyboard.press("Enter")
        page.wait_for_selector("h1:has-text('Jobs')")

    return enter


@pytest.fixture
def pages(client, worker, settings, engine, model_root):
    """The addresses of all pages, with something on each, by name."""
    write_header(model_root / "tiny" / "model.safetensors", SHAPES)
    store = LocalStore(settings.storage.dir)

    def finished():
        job = worker.claim()
        staged = store.stage(job.id, job.attempt)
        written(staged)
        (staged / REPORT_FILE).write_text(reported().model_dump_json())
        files = store.describe(job.id, job.attempt)
        store.publish(job.id, job.attempt)
        worker.succeed(job, files, RESULT)
        return job.id

    sweep = client.post("/v1/sweeps", json=SWEEP).json()["id"]
    done = [finished(), finished()][0]
    client.post("/v1/models/captioner/versions", json={"job_id": done})
    client.post("/v1/jobs", json=JOB)
    failed = worker.claim()
    worker.fail(failed, JobError(FailureKind.SYSTEM, "out_of_memory", "no room"))
    client.post("/v1/jobs", json=JOB | {"labels": {"team": "vision"}})
    running = worker.claim()
    data = {"block": "layers.0", "modality": "language", "phase": "pruning", "done": 1, "total": 3}
    log = [NewEvent(EventType.PHASE, "pruning"), NewEvent(EventType.BLOCK, "pruning", data=data)]
    worker.heartbeat(running, "pruning", 0.4, log=log)
    client.post("/v1/jobs", json=JOB)
    searched = {"sparsity": "auto", "quality_gate": {"metric": "similarity", "max_drop": 0.1}}
    client.post("/v1/jobs", json=JOB | searched | {"evaluation": {"set": "sentences"}})
    with engine.begin() as connection:
        machine = Machine("cpu", 1 << 34, 8, "cpu", 0, None, 412.0, 1.2e9, ("timm",))
        versions = {"python": "3.11.2", "torch": "2.13.0", "transformers": "5.14.1"}
        for name in ("hand", "gpu-worker-7d9f8b5c4-x2x9q:12"):
            workers.alive(connection, NewWorker(name, machine, versions))
    return {
        "jobs": "/console/jobs",
        "no-jobs": "/console/jobs?status=cancelled",
        "running": f"/console/jobs/{running.id}",
        "done": f"/console/jobs/{done}",
        "failed": f"/console/jobs/{failed.id}",
        "new": f"/console/new?source={done}",
        "new-sweep": "/console/new-sweep",
        "sweeps": "/console/sweeps",
        "sweep": f"/console/sweeps/{sweep}",
        "datasets": "/console/datasets",
        "models": "/console/models",
        "model": "/console/models/captioner",
        "webhooks": "/console/webhooks",
        "workers": "/console/workers",
        "project": "/console/project",
    }


def test_every_page_for_everybody(window, sign_in, pages):
    found = {}
    for size, scheme in (("wide", "light"), ("narrow", "dark")):
        page = window(size, scheme)
        wrong = complaints(page)
        page.goto("/console/sign-in")
        found[f"sign-in, {size}"] = barriers(page)
        sign_in(page)
        for name, address in pages.items():
            page.goto(address)
            if name == "new":
                page.wait_for_selector("#plan dl")
            if name == "new-sweep":
                page.locator("#f-model").fill("tiny")
                page.wait_for_selector("#plan table")
            closed = barriers(page)
            for summary in page.locator("main summary").all():
                summary.click()
            found[f"{name}, {size}"] = [
                *dict.fromkeys([*closed, *barriers(page)]),
                *([] if fits(page) else ["scrolls sideways"]),
                *wrong,
            ]
            wrong.clear()
            keep(page, f"{name}-{size}-{scheme}")
    assert not (told := [f"{name}: {each}" for name, each in found.items() if each]), "\n".join(
        told
    )


def test_methods_of_a_sweep_are_drawn_in_their_colours(window, sign_in, client, worker):
    sweep = client.post("/v1/sweeps", json=SWEEP).json()["id"]
    for _ in SWEEP["methods"]:
        worker.succeed(worker.claim(), result=RESULT)
    for size, scheme in (("wide", "light"), ("narrow", "dark")):
        page = window(size, scheme)
        sign_in(page)
        page.goto(f"/console/sweeps/{sweep}")
        for name, colour in COLOURS.items():
            marker = page.locator(f".u-legend .u-series:has-text('{name}') .u-marker")
            assert marker.evaluate(SAME_COLOUR, colour), name
        keep(page, f"plot-{size}-{scheme}")


COLOURS = {"dense": "--dense", "magnitude": "--series-1", "random": "--series-2"}
SAME_COLOUR = """(marker, name) => {
  const wanted = document.createElement("i");
  wanted.style.color = `var(${name})`;
  document.body.append(wanted);
  return getComputedStyle(marker).borderTopColor === getComputedStyle(wanted).color;
}"""
SECTIONS = """() => [...document.querySelectorAll("section[id^=report-]")].map(
  section => section.outerHTML)"""


def test_the_report_to_keep_has_the_sections_of_the_page(window, sign_in, client, worker, settings):
    client.post("/v1/jobs", json=JOB)
    job, store = worker.claim(), LocalStore(settings.storage.dir)
    staged = store.stage(job.id, job.attempt)
    written(staged)
    (staged / REPORT_FILE).write_text(reported().model_dump_json())
    files = store.describe(job.id, job.attempt)
    store.publish(job.id, job.attempt)
    worker.succeed(job, files, result_of(reported()).to_json())
    address = f"/console/jobs/{job.id}"
    for size, scheme in (("wide", "light"), ("narrow", "dark"), ("wide", "dark")):
        page = window(size, scheme)
        sign_in(page)
        page.goto(address)
        shown = page.evaluate(SECTIONS)
        wrong = complaints(page)
        page.goto(f"{address}/report")
        kept = page.evaluate(SECTIONS)
        assert len(kept) == len(shown) == 9
        assert kept == shown
        for summary in page.locator("main summary").all():
            summary.click()
        keep(page, f"report-{size}-{scheme}")
        assert barriers(page) == []
        assert fits(page)
        assert wrong == []


def test_secrets_that_are_shown_once(window, sign_in):
    page = window("narrow", "dark")
    sign_in(page)
    wrong = complaints(page)
    page.goto("/console/project")
    page.get_by_label("Name").fill("ci")
    page.get_by_role("button", name="Make the key").click()
    page.wait_for_selector("text=shown here and never again")
    assert page.locator("#secret").inner_text().startswith("sct_")
    assert (barriers(page), fits(page)) == ([], True)
    keep(page, "new-key")
    page.goto("/console/webhooks")
    page.get_by_label("Address").fill("https://93.184.215.14/hooks/" + "secateur" * 12)
    page.get_by_role("button", name="Make the endpoint").click()
    page.wait_for_selector("text=shown here and never again")
    assert page.locator("#secret").inner_text().startswith("whsec_")
    assert (barriers(page), fits(page)) == ([], True)
    keep(page, "new-webhook")
    assert wrong == []


def fits(page):
    return page.evaluate(
        """() => document.documentElement.scrollWidth <= innerWidth
        && [...document.querySelectorAll("main table.stack")].every(
          table => table.offsetWidth <= table.parentElement.clientWidth)"""
    )


def test_the_keyboard_is_enough(window, sign_in, pages):
    page = window()
    sign_in(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.textContent.trim()"))
    assert any(text.startswith("Cancel") for text in seen)


def sign_in_again(page, secret):
    page.wait_for_url("**/console/sign-in?next=*")
    page.get_by_label("API key").fill(secret[1])
    page.keyboard.press("Enter")


def test_what_was_typed_outlives_the_session(window, sign_in, secret):
    page = window()
    sign_in(page)
    wrong = complaints(page)
    page.goto("/console/new")
    page.locator("#f-method").select_option("ecoflap")
    page.get_by_text("Settings of ecoflap").click()
    page.get_by_label("Draws").fill("7")
    page.get_by_text("Labels, priority").click()
    page.locator("#f-labels").fill("team=vision")
    page.context.clear_cookies()
    page.locator("#f-model").fill("tiny")  # its plan is asked for
    sign_in_again(page, secret)
    page.wait_for_selector("#plan dl, #plan .notice")
    page.wait_for_selector("input[name='parameter.draws']")
    assert page.locator("#f-method").input_value() == "ecoflap"
    assert page.get_by_label("Draws").input_value() == "7"
    assert page.locator("#f-model").input_value() == "tiny"
    assert page.locator("#f-labels").is_visible()
    assert page.locator("#f-labels").input_value() == "team=vision"
    page.goto("/console/new")
    assert page.locator("#f-model").input_value() == ""  # a new visit is a new job

    page.goto("/console/new-sweep")
    page.locator("#f-model").fill("tiny")
    page.get_by_label("wanda", exact=True).check()
    page.get_by_label("magnitude", exact=True).uncheck()
    page.context.clear_cookies()
    page.get_by_role("button", name="Submit the sweep").click()
    sign_in_again(page, secret)
    page.wait_for_url("**/console/new-sweep")
    assert page.get_by_label("wanda", exact=True).is_checked()
    assert not page.get_by_label("magnitude", exact=True).is_checked()
    assert wrong == []


def test_what_was_typed_does_not_outlive_a_sign_out(window, sign_in, secret):
    page = window()
    sign_in(page)
    page.goto("/console/new")
    page.locator("#f-model").fill("secret-model")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in")
    page.goto("/console/new")
    sign_in_again(page, secret)
    page.wait_for_url("**/console/new")
    assert page.locator("#f-model").input_value() == ""


def test_what_was_wrong_with_a_form_has_the_focus(window, sign_in):
    page = window()
    sign_in(page)
    for address, button in (("new", "Submit the job"), ("new-sweep", "Submit the sweep")):
        page.goto(f"/console/{address}")
        page.locator("#f-model").fill("none such")
        page.get_by_role("button", name=button).click()
        page.wait_for_selector("#wrong:focus")
        assert barriers(page) == []


def test_lists_follow_what_happens_and_keep_the_focus(window, sign_in, pages, client):
    page = window()
    sign_in(page)
    wrong = complaints(page)
    running = pages["running"].rpartition("/")[2]
    page.locator(f"#open-{running}").focus()
    client.post(f"/v1/jobs/{running}/cancel")
    page.wait_for_selector(".status.cancelling")
    assert page.evaluate("document.activeElement.id") == f"open-{running}"
    assert wrong == []


def test_a_file_is_uploaded_and_one_that_is_too_large_is_not_sent(
    window, sign_in, tmp_path, client, limits
):
    page = window()
    sign_in(page)
    limits(upload_bytes=100)
    wrong = complaints(page)
    page.goto("/console/datasets")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "one"}\n' * 10)
    page.get_by_label("File").set_input_files(rows)
    page.get_by_role("button", name="Upload").click()
    assert "larger than" in page.get_by_label("File").evaluate("field => field.validationMessage")
    fewer = tmp_path / "fewer.jsonl"
    fewer.write_text('{"text": "one"}\n{"text": "two"}\n')
    page.get_by_label("File").set_input_files(fewer)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_selector("text=Uploaded as")
    keep(page, "datasets-uploaded")
    assert barriers(page) == []
    [stored] = client.get("/v1/datasets").json()["datasets"]
    page.get_by_role("link", name="Use").click()
    assert page.get_by_label("Set").first.input_value() == stored["id"]
    assert wrong == []


def test_a_session_that_ended_leads_to_the_sign_in(window, sign_in, pages):
    page = window()
    sign_in(page)
    page.goto(pages["running"])
    page.context.clear_cookies()
    page.wait_for_url("**/console/sign-in?next=*")  # the page asks for its part by itself
    assert pages["running"] in page.locator("[name=next]").input_value()
