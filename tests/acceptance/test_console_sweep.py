"""From a data set on this machine to a version of a model, in a real browser, by a sweep."""

import pytest

from tests.browser import NEEDED, barriers, browser, complaints, keep

pytestmark = NEEDED


@pytest.fixture
def page(service):
    with browser() as started:
        context = started.new_context(base_url=service.running.url)
        context.set_default_timeout(90_000)  # milliseconds
        yield context.new_page()


def test_a_data_set_a_sweep_and_its_best_job_as_a_version(page, service, tmp_path):
    wrong = complaints(page)
    page.goto("/console/datasets")
    page.get_by_label("API key").fill(service.running.key)
    page.keyboard.press("Enter")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"text": "sentence {number}"}}\n' for number in range(12)))
    page.get_by_label("File").set_input_files(rows)
    page.get_by_role("button", name="Upload").click()
    stored = page.locator("[role=status] code").inner_text()

    page.get_by_role("link", name="Sweeps").click()
    page.get_by_role("link", name="New sweep").click()
    page.locator("#f-model").fill("bert")
    page.get_by_label("recommended").uncheck()
    page.get_by_label("wanda").check()
    page.locator("#f-sparsities").fill("0.3, 0.9")
    page.locator("#f-calibration_set").fill(stored)
    page.locator("#f-evaluation_set").fill("sentences")
    page.locator("#f-evaluation_samples").fill("16")
    page.locator("#f-objective_metric").select_option("similarity")
    page.wait_for_selector("#plan p:has-text('4 jobs')")
    keep(page, "walk-new-sweep")
    page.get_by_role("button", name="Submit the sweep").click()

    page.wait_for_selector(".numbers .status.succeeded")
    sweep = service.http.get(f"/v1/sweeps/{page.url.rpartition('/')[2]}").json()
    jobs = service.http.get("/v1/jobs", params={"sweep": sweep["id"]}).json()["jobs"]
    calibrated = [each["calibration"]["set"] for each in jobs if each["method"] == "wanda"]
    assert calibrated == [stored, stored]
    page.wait_for_selector(".chart canvas")
    keep(page, "walk-sweep")
    page.get_by_label("As the next version of the model").fill("walked")
    page.get_by_role("button", name="Publish").click()
    page.wait_for_url("**/console/models/walked")
    assert sweep["best_job_id"] in page.content()
    assert barriers(page) == []
    keep(page, "walk-version")
    assert wrong == []
