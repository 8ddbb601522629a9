"""Signs of life go on while the database is away, and end with the process's work."""

import threading

from sqlalchemy.exc import SQLAlchemyError

from workers.runtime import heartbeat


def test_signs_are_given_until_it_is_closed(monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS", 0.01)
    given, enough = [], threading.Event()

    def tell():
        given.append(1)
        if len(given) == 1:
            raise SQLAlchemyError("the database is away")
        enough.set()

    def leave():
        given.append("gone")
        raise SQLAlchemyError("the database is away")

    present = heartbeat.WorkerHeartbeat(tell, leave)
    assert enough.wait(30)
    present.close()
    assert not present._thread.is_alive()
    assert (given.count("gone"), given[-1]) == (1, "gone")
