"""Jobs on vision-language models."""

import transformers


def test_a_vision_language_model_is_pruned_with_image_and_text(service, tmp_path):
    calibration = {"set": "shapes", "samples": 4, "batch_size": 2}
    job = {"model": "llava", "method": "wanda", "pattern": "2:4", "calibration": calibration}
    done = service.finish(service.submit(**job))
    assert done["status"] == "succeeded", done
    assert done["result"]["modalities"] == {"vision": 0.5, "language": 0.5}
    directory = service.download(done["id"], tmp_path)
    _, info = transformers.AutoModelForImageTextToText.from_pretrained(
        directory, output_loading_info=True
    )
    assert not info["missing_keys"]


def test_text_only_data_cannot_feed_a_vision_language_model(service):
    job = {"model": "llava", "method": "wanda", "sparsity": 0.5}
    texts = {"calibration": {"set": "sentences"}}
    answer = service.http.post("/v1/jobs", json=job | texts)
    assert (answer.status_code, answer.json()["code"]) == (422, "calibration_data_invalid")


def test_the_bridge_is_pruned_on_request(service):
    job = {"model": "llava", "method": "magnitude", "sparsity": 0.5, "include_bridge": True}
    done = service.finish(service.submit(**job))
    assert done["status"] == "succeeded", done
    assert set(done["result"]["modalities"]) == {"vision", "bridge", "language"}
