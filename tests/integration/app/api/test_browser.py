"""`/docs` and reports, seen by a real browser that reaches nothing but this service."""

import pytest

from app.storage.local import LocalStore
from tests.browser import NEEDED, barriers, browser, complaints
from tests.unit.app.reports.made import EVIL, written

pytestmark = NEEDED
# The verb and the path of each operation that Swagger UI shows.
OPERATIONS = """blocks => blocks.map(each =>
  each.querySelector(".opblock-summary-method").textContent.toLowerCase() + " " +
  each.querySelector(".opblock-summary-path").dataset.path)"""
JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


@pytest.fixture(scope="module")
def chromium():
    with browser() as started:
        yield started


@pytest.fixture
def page(chromium, client):
    """A window that answers with the key where a password is asked for."""
    key = client.headers["authorization"].removeprefix("Bearer ")
    context = chromium.new_context(http_credentials={"username": "me", "password": key})
    context.set_default_timeout(120_000)  # milliseconds
    yield context.new_page()
    context.close()


def test_the_documentation_lists_every_operation(page, serving, client):
    wrong = complaints(page)
    page.goto(f"{serving}/docs")
    page.wait_for_selector(".opblock")
    shown = page.locator(".opblock").evaluate_all(OPERATIONS)
    paths = client.get("/openapi.json").json()["paths"]
    assert sorted(shown) == sorted(f"{v} {path}" for path, verbs in paths.items() for v in verbs)
    page.locator("[data-path='/livez']").click()
    page.get_by_role("button", name="Try it out").click()
    page.get_by_role("button", name="Execute").click()
    page.wait_for_selector(".live-responses-table .response")
    assert page.locator(".live-responses-table .response-col_status").last.inner_text() == "200"
    assert wrong == []


def test_the_report_of_a_job_that_waits(page, serving, client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    wrong = complaints(page)
    assert page.goto(f"{serving}/v1/jobs/{job_id}/report").status == 200
    assert "waits for a worker" in page.locator("body").inner_text()
    assert barriers(page) == []
    assert wrong == []


def test_the_report_of_a_finished_job(page, serving, client, worker, settings):
    client.post("/v1/jobs", json=JOB)
    job, store = worker.claim(), LocalStore(settings.storage.dir)
    written(store.stage(job.id, job.attempt))
    files = store.describe(job.id, job.attempt)
    store.publish(job.id, job.attempt)
    worker.succeed(job, files)
    wrong = complaints(page)
    page.goto(f"{serving}/v1/jobs/{job.id}/report")
    assert EVIL in page.locator("h1").inner_text()
    assert page.locator(".plot svg").count() == 4
    box = page.locator("#report-scores rect.fill-vision").last.bounding_box()
    assert box["width"] > 30
    style = "getComputedStyle(document.querySelector('main')).maxWidth"
    assert page.evaluate(style) == "1120px", "its style is not applied"
    assert wrong == []
