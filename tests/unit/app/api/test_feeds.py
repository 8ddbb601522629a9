"""Watchers miss no event, whatever comes between a read of the log and its answer."""

import asyncio

import pytest

from app.api.feeds import Hub, Message

JOB = "job_1"
FIRST, LAST = Message(1, b"first", last=False), Message(2, b"last", last=True)


class Log:
    """The log of one job, whose reads a test can delay and break."""

    def __init__(self, *messages):
        self.messages = list(messages)
        self.faults = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.asked = asyncio.Event()

    async def read(self, _job_id, after):
        found = [message for message in self.messages if message.id > after]
        self.asked.set()
        await self.answering.wait()
        if self.faults:
            self.faults -= 1
            raise ConnectionError("the database is away")
        return found


async def watched(hub):
    return [text async for text in hub.watch(JOB, 0, keep_alive=60)]


def told(hub):
    hub._update_soon(JOB)


def run(story):
    asyncio.run(asyncio.wait_for(story(), 10))


def test_what_comes_while_the_log_is_read_is_not_missed():
    async def story():
        log = Log()
        log.answering.clear()
        hub = Hub("postgresql://", log.read)
        watching = asyncio.create_task(watched(hub))
        await log.asked.wait()  # it will say that there is nothing
        log.messages += [FIRST, LAST]
        told(hub)
        await asyncio.sleep(0.05)
        log.answering.set()
        assert await watching == [b"first", b"last"]

    run(story)


@pytest.mark.parametrize("watchers", [1, 3])
def test_an_event_whose_read_fails_reaches_every_watcher(watchers):
    async def story():
        log = Log(FIRST)
        hub = Hub("postgresql://", log.read)
        watching = [asyncio.create_task(watched(hub)) for _ in range(watchers)]
        await asyncio.sleep(0.05)
        log.messages.append(LAST)
        log.faults = 1
        told(hub)
        assert await asyncio.gather(*watching) == [[b"first", b"last"]] * watchers

    run(story)
