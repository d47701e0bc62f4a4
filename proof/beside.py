"""What goes on beside a test or an experiment, in threads of its own."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self


@dataclass
class Beside(ABC):
    """Works from entering the block to leaving it, until `_ended` is set."""

    _ended: threading.Event = field(init=False, default_factory=threading.Event)
    _threads: Sequence[threading.Thread] = field(init=False, default=())

    def __enter__(self) -> Self:
        name = type(self).__name__.lower()
        self._threads = [threading.Thread(target=self._run, name=name) for _ in range(self._at_once())]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _at_once(self) -> int:
        return 1

    @abstractmethod
    def _run(self) -> None:
        """The work of one thread."""
