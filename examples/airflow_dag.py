"""Airflow: submit a job, wait for its result without holding a worker.

Needs `apache-airflow-providers-http` and a connection `secateur`: the service's host, and in its
extras `{"Authorization": "Bearer sct_..."}`. `GET .../result` is 404 until the job has ended, which
is what the deferrable sensor waits on. The Idempotency-Key names the task and the try: two DAGs
never share a job, a request that is sent twice makes one, and a task that is tried again submits
anew.
"""

import json
from datetime import UTC, datetime

from airflow.providers.http.operators.http import HttpOperator
from airflow.providers.http.sensors.http import HttpSensor
from airflow.sdk import DAG, task

with DAG("prune", start_date=datetime(2026, 1, 1, tzinfo=UTC), schedule=None):
    submit = HttpOperator(
        task_id="submit",
        http_conn_id="secateur",
        endpoint="v1/jobs",
        method="POST",
        headers={
            "Content-Type": "application/json",
            "Idempotency-Key": "{{ ti.dag_id }}/{{ ti.run_id }}/{{ ti.task_id }}"
            "/{{ ti.map_index }}/{{ ti.try_number }}",
        },
        data=json.dumps({"model": "minilm", "method": "wanda", "sparsity": 0.5}),
        response_filter=lambda response: response.json()["id"],
    )
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

    submit >> ended >> fetch
    succeeded(fetch.output)
