"""What the tests of both kinds of download share."""

import threading

from app.cli.client import Client, RefusedError, UnreachableError
from app.cli.commands.jobs.download import DownloadError, download_bars, fetch


def contents(directory):
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def fetch_four_times_at_once(house, job_id, destination, *, packed):
    errors = []

    def one():
        try:
            with Client(house.url, house.key) as client, download_bars() as bars:
                fetch(client, job_id, destination, bars, packed=packed)
        except (DownloadError, RefusedError, UnreachableError, OSError) as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
