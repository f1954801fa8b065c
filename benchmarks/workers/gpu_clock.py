"""How long something takes on a GPU: for the caller, and on the device alone."""

import time
from abc import ABC, abstractmethod

# Steps that are queued at once: some 20 launches each, and a queue holds about a thousand.
QUEUED = 16


class Clock(ABC):
    """Events of a library on a stream of its."""

    @abstractmethod
    def event(self): ...

    @abstractmethod
    def record(self, event): ...

    @abstractmethod
    def seconds(self, begin, end): ...

    @abstractmethod
    def is_past(self, event): ...

    @abstractmethod
    def synchronize(self): ...

    @abstractmethod
    def occupy(self, seconds):
        """Keep the device busy for at least so long."""

    def measure(self, step, goal):
        """Median seconds of a step, over about ``goal`` seconds of steps.

        Returns
        -------
        dict
            "caller": with all that the host does, the device being waited for at the end of
            several steps; "device": the device's own time, with the launches queued before.
        """
        for _ in range(3):  # what is compiled, chosen by trial, and allocated
            step()
        self.synchronize()
        caller, device = [], []
        while sum(caller) < goal / QUEUED or len(caller) < 3:
            began = time.perf_counter()
            for _ in range(QUEUED):
                step()
            self.synchronize()
            caller.append((time.perf_counter() - began) / QUEUED)
            device.append(self.queued(step))
        return {"caller": _median(caller), "device": _median(device)}

    def queued(self, step):
        """Seconds of a step on the device, the host being ahead of it all the while."""
        occupied = 0.002
        while True:
            begin, end = self.event(), self.event()
            self.occupy(occupied)
            self.record(begin)
            began = time.perf_counter()
            for _ in range(QUEUED):
                step()
            hurried = not self.is_past(begin)
            self.record(end)
            needed = time.perf_counter() - began
            self.synchronize()
            if hurried or occupied > 2:
                return self.seconds(begin, end) / QUEUED
            occupied = 2 * max(occupied, needed)


def _median(values):
    return sorted(values)[len(values) // 2]
