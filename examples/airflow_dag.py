"""Airflow: submit a job, wait for its result without holding a worker.

Needs `apache-airflow-providers-http` and a connection `secateur`: the service's host, and in its
extras `{"Authorization": "Bearer sct_..."}`. `GET .../result` is 404 until the job has ended, which
is what the deferrable sensor waits on.

`submit` is safe to try again: its Idempotency-Key names the task in this run, so a request whose
answer was lost makes no second job. Where the job has failed and somebody clears the task, the
job is submitted anew, once again under a key of its own. Keys hold for 24 hours.
"""

from datetime import UTC, datetime, timedelta

from airflow.providers.http.hooks.http import HttpHook
from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, get_current_context, task

JOB = {"model": "minilm", "method": "wanda", "sparsity": 0.5}


def post(endpoint: str, key: str, body: dict | None = None) -> dict:
    """Ask the service for something that takes effect once for each key."""
    hook = HttpHook(method="POST", http_conn_id="secateur")
    return hook.run(endpoint, json=body, headers={"Idempotency-Key": key}).json()


with DAG("prune", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None) as dag:

    @task(retries=3, retry_delay=timedelta(seconds=30))
    def submit() -> str:
        """The id of the job: a new one, or the one that an earlier try has made."""
        ti = get_current_context()["ti"]
        key = f"{ti.dag_id}/{ti.run_id}/{ti.task_id}/{ti.map_index}"
        job = post("v1/jobs", key, JOB)
        while job["status"] in {"failed", "cancelled"}:
            job = post(f"v1/jobs/{job['id']}/retry", f"{key}/{job['id']}")
        return job["id"]

    ended = HttpSensor(
        task_id="ended",
        http_conn_id="secateur",
        endpoint="v1/jobs/{{ ti.xcom_pull('submit') }}/result",
        method="GET",
        poke_interval=10,
        deferrable=True,
    )
    fetch = HttpOperator(
        task_id="fetch",
        http_conn_id="secateur",
        endpoint="v1/jobs/{{ ti.xcom_pull('submit') }}/result",
        method="GET",
        response_filter=lambda response: response.json(),
    )

    @task
    def succeeded(result: dict) -> str:
        """Fail the run where the job did not succeed."""
        if result["status"] != "succeeded":
            raise RuntimeError(result["error"])
        return result["id"]

    submit() >> ended >> fetch
    succeeded(fetch.output)
