"""Trying again for a while."""

import asyncio

import pytest

from legation.runtime.tasks import patiently


def test_what_fails_for_a_while_is_done_and_what_fails_for_long_says_why():
    tried: list[int] = []

    async def third() -> str:
        tried.append(1)
        if len(tried) < 3:
            raise OSError(f"try {len(tried)}")
        return "done"

    async def run() -> None:
        assert await patiently(third, 5, transient=(OSError,), base=0.001) == "done"
        tried.clear()
        with pytest.raises(OSError, match="try 1"):
            await patiently(third, 0, transient=(OSError,))
        tried.clear()
        with pytest.raises(OSError, match="try 1"):
            await patiently(third, 5, transient=(ValueError,))

    asyncio.run(run())
