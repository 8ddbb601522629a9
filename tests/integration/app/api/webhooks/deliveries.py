"""Something to deliver, and what became of it."""

JOB = {"model": "tiny", "method": "magnitude", "sparsity": 0.5}


def end_a_job(client):
    job_id = client.post("/v1/jobs", json=JOB).json()["id"]
    client.post(f"/v1/jobs/{job_id}/cancel")
    return job_id


def delivery_log(client, webhook):
    path = f"/v1/webhooks/{webhook['webhook']['id']}/deliveries"
    return client.get(path).json()["deliveries"]
