"""What a run of the pipeline tells, kept for tests."""

from workers.pipeline.context import StoppedError


class Listener:
    """Keeps what is told; the run is stopped in the phase `stop_in`."""

    def __init__(self):
        self.phases, self.events, self.shares, self.stop_in = [], [], [], None

    def phase(self, phase):
        self.phases.append(phase)

    def progress(self, share):
        self.shares.append(share)

    def event(self, event):
        self.events.append(event)

    def check(self):
        if self.phases and self.phases[-1] == self.stop_in:
            raise StoppedError

    def wait(self, seconds): ...

    def kept(self): ...

    def plan(self, seconds): ...
