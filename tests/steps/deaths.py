# SPDX-License-Identifier: Apache-2.0
"""Kills operations at each of their steps, and looks at what becomes of that.

Dying goes on in a few threads; then the survivors are waited for in many, because the cluster takes
up to half a minute to give a dead client up."""

import itertools
import random
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

from lib.lengths import length
from place import Clients, Place

KILLERS = 3
SURVIVORS = 64
STEPS_MAX = 200

# That a step was done and nobody learned of it is, to others, the same as that the next one was
# never sent; so after a step is for the soak.
WHEN = length(("before",), ("before", "after"))
SECOND_DEATHS = length(0, 2)


class Failure(AssertionError):
    pass


class Deaths:
    """Begins with all OPERATIONS ({name: Operation}) at once."""

    def __init__(self, cluster, directory, operations):
        self.directory = directory
        self.clients = Clients(cluster)
        self.lock = Lock()  # steps, counts
        self.steps = []     # of all runs
        self.counts = {}    # {operation: deaths}
        self.killers = ThreadPoolExecutor(KILLERS)
        self.survivors = ThreadPoolExecutor(SURVIVORS)
        self.series = {name: [self.killers.submit(self._series, name, operation, when)
                              for when in WHEN] for name, operation in operations.items()}

    def close(self):
        for pool in (self.killers, self.survivors):
            pool.shutdown(cancel_futures=True)
        self.clients.close()

    def failures(self, name):
        """Wait for all deaths of an operation: a line for each that was not survived."""
        found = []
        for series in self.series[name]:
            for future in series.result():
                error = future.exception()
                if error:
                    found.append(str(error) if isinstance(error, Failure) else repr(error))
        return found

    def _series(self, name, operation, when):
        """Die at step 1, 2, ... until the end is reached. Returns futures of the survivors."""
        futures = []
        for number in itertools.count(1):
            assert number <= STEPS_MAX, f"{name} never ends"
            place = Place(self.clients, f"{name}-{when}-{number}", self.directory)
            operation.prepare(place)
            done = place.run(*operation.words, die=f"{when} {number}")
            assert done.killed or done.status == 0, f"{place.name}: {done.status} {done.err}"
            assert (len(done.steps) >= number) == done.killed and done.steps, place.name
            futures.append(self.survivors.submit(self._survive, operation, place, number,
                                                 done))
            if not done.killed:
                break
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + number - 1
        return futures

    def _survive(self, operation, place, number, done):
        where = f"{place.name}: "
        if done.killed:
            last = next(step for step in done.steps if step.number == number)
            where += f"killed at {last.function} of {last.object}: "
        try:
            operation.seen(place)
            place.check_whole()
            if done.killed:
                self._die_again(operation, place)
                where += "called again: "
                place.again(operation.words, operation.done)
            where += "afterwards: "
            place.settle()
            operation.finished(place)
            place.check_whole()
            where += "at the end: "
            place.remove_all()
            place.close()
        except Exception as error:
            raise Failure(f"{where}{type(error).__name__}: {error}") from error
        finally:
            with self.lock:
                self.steps += place.steps

    def _die_again(self, operation, place):
        """What takes up after a dead one dies too."""
        chance = random.Random(place.name)
        for _ in range(SECOND_DEATHS):
            place.run(*operation.words, die=f"before {chance.randint(1, 20)}")
            operation.seen(place)
            place.check_whole()
