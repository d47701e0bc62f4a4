"""What keeps a service whole: its background work outlives what it raises."""

import asyncio

import pytest

from chassis.service import kept_running


async def test_background_work_is_begun_anew_whatever_it_raises(caplog: pytest.LogCaptureFixture) -> None:
    begun = 0
    third = asyncio.Event()

    async def work() -> None:
        nonlocal begun
        begun += 1
        if begun < 3:
            raise RuntimeError(f"no {begun}")
        third.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(kept_running(work, pause=0))
    await asyncio.wait_for(third.wait(), 5)
    assert [str(r.exc_info[1]) for r in caplog.records if r.exc_info] == ["no 1", "no 2"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
