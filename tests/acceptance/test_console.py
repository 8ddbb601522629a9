"""From a form to the files, in a real browser on a real installation."""

import json

import pytest

from tests.browser import NEEDED, browser, complaints, keep

pytestmark = NEEDED


@pytest.fixture
def page(service):
    with browser() as started:
        context = started.new_context(base_url=service.running.url, accept_downloads=True)
        context.set_default_timeout(90_000)  # milliseconds
        yield context.new_page()


def test_a_job_from_the_form_to_its_files(page, service, tmp_path):
    wrong = complaints(page)
    page.goto("/")
    page.get_by_label("API key").fill(service.running.key)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name="New job").first.click()

    page.locator("#f-model").fill("minilm")
    page.locator("#f-method").select_option("wanda")
    page.locator("#f-sparsity").fill("0.3")
    page.locator("#f-calibration_samples").fill("16")
    page.locator("#f-evaluation_set").fill("sentences")
    page.locator("#f-evaluation_samples").fill("32")
    page.wait_for_selector("#plan :text('of all weights')")
    assert "of memory" in page.locator("#plan").inner_text()
    keep(page, "walk-form")
    page.get_by_role("button", name="Submit the job").click()

    page.wait_for_selector(".strip rect")  # blocks, while they are pruned or after
    page.wait_for_selector(".status.succeeded")
    job_id = page.url.rpartition("/")[2]
    job = service.job(job_id)
    assert (job["status"], job["recipe"]["sparsity"]) == ("succeeded", 0.3)
    assert (job["calibration"]["samples"], job["evaluation"]["samples"]) == (16, 32)
    page.wait_for_selector("a:text('pruning_report.json')")  # the whole page comes anew by itself
    keep(page, "walk-done")
    assert page.locator(".strip rect").count() == 6  # MiniLM's layers
    assert "similarity" in page.locator("main").inner_text()

    with page.expect_download() as download:
        page.get_by_role("link", name="pruning_report.json").click()
    saved = tmp_path / "report.json"
    download.value.save_as(saved)
    assert json.loads(saved.read_text())["model"]["zeros"] > 0

    page.get_by_role("link", name="Workers").click()
    [process] = service.http.get("/v1/workers").json()["processes"]
    listed = page.get_by_role("row", name=process["name"]).inner_text()
    assert f"transformers {process['versions']['transformers']}" in listed
    assert process["state"] in {"idle", "busy"}
    keep(page, "walk-workers")

    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/console/sign-in")
    page.goto(f"/console/jobs/{job_id}")
    assert page.get_by_label("API key").is_visible()
    assert wrong == []
