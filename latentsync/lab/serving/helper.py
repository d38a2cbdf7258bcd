"""A process beside the server for what needs large packages: players, mouths, copies of clips.

The server itself stays small and answers at once. Of the tasks that wait, the most urgent begins first, and among
these the one that was asked for last: it is what the viewer looks at.
"""

import asyncio
import heapq
import itertools
import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from latentsync.errors import MediaError
from latentsync.workers import Workers

TRIES = 2  # of a task whose process ends, for example because the memory was short
NOW, SOON, LATER = 0, 1, 2  # urgencies: a click, what is on the screen, what may be needed


@dataclass(order=True)
class _Task:
    urgency: int
    order: int
    function: Callable = field(compare=False)
    arguments: tuple = field(compare=False)
    answer: asyncio.Future = field(compare=False)
    viewers: list[Callable[[], Awaitable[bool]]] = field(compare=False, default_factory=list)


class Helper:
    """Runs tasks in one process, which starts with the first of them."""

    def __init__(self) -> None:
        self._pool: Workers | None = None
        self._waiting: list[_Task] = []
        self._by_call: dict[tuple, _Task] = {}
        self._counter = itertools.count()
        self._work: asyncio.Task | None = None
        self._is_busy = False

    async def call(
        self, urgency: int, function: Callable, *arguments: Any, is_gone: Callable[[], Awaitable[bool]] | None = None
    ) -> Any:
        """The answer of a function of a module. The same call that is already asked for is made once.

        Args:
            is_gone: whether nobody waits for the answer any more; such a task is left out.

        Raises:
            MediaError: the process ended, or the task was left out; or what the function raises.
        """
        key = (function, arguments)
        task = self._by_call.get(key)
        if task is None:
            future = asyncio.get_running_loop().create_future()
            task = self._by_call[key] = _Task(urgency, -next(self._counter), function, arguments, future)
            heapq.heappush(self._waiting, task)
        elif urgency < task.urgency and task in self._waiting:
            task.urgency = urgency
            heapq.heapify(self._waiting)
        task.viewers.append(is_gone or _never)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        return await asyncio.shield(task.answer)

    async def _run(self) -> None:
        while self._waiting:
            task = heapq.heappop(self._waiting)
            if all([await is_gone() for is_gone in task.viewers]):
                self._end(task, MediaError("nobody waits for it any more"))
                continue
            self._is_busy = True
            try:
                self._end(task, await self._answer(task))
            except Exception as error:  # the one who waits reports it
                self._end(task, error)
            self._is_busy = False

    def _end(self, task: _Task, answer: Any) -> None:
        self._by_call.pop((task.function, task.arguments), None)
        if task.answer.done():
            return
        if isinstance(answer, Exception):
            task.answer.set_exception(answer)
            task.answer.exception()  # it counts as seen, also where nobody waits
        else:
            task.answer.set_result(answer)

    def refuse_all(self) -> None:
        """Answers all who wait that the server ends."""
        for task in [*self._by_call.values()]:
            self._end(task, MediaError("the server ends"))
        self._waiting.clear()

    async def _answer(self, task: _Task) -> Any:
        for _ in range(TRIES):
            if self._pool is None:
                self._pool = Workers(1)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._pool, task.function, *task.arguments)
            except BrokenProcessPool:
                self._pool = None
        raise MediaError("the process that prepares videos ended; it may have run out of memory")

    def close(self) -> None:
        """Ends the process, and the task that it is at."""
        if self._work is not None:
            self._work.cancel()
        if self._pool is not None:
            for process in multiprocessing.active_children() if self._is_busy else ():
                process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)


async def _never() -> bool:
    return False
