"""Ranks that wait for each other through the store, not in a collective."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import torch.distributed as dist

from mmtk.distributed.ranks import Ranks

RANKS, TIMES = 3, 4


def test_nobody_leaves_a_meeting_before_all_have_come() -> None:
    store = dist.HashStore()
    log: list[tuple[str, int]] = []

    def attend(number: int) -> None:
        ranks = Ranks(number, number, RANKS, store)
        for time in range(TIMES):
            log.append(("comes", time))
            ranks.meet()
            log.append(("leaves", time))

    with ThreadPoolExecutor(RANKS) as threads:
        list(threads.map(attend, range(RANKS)))
    for time in range(TIMES):
        last_to_come = max(place for place, one in enumerate(log) if one == ("comes", time))
        first_to_leave = log.index(("leaves", time))
        assert last_to_come < first_to_leave


def test_a_rank_alone_meets_nobody() -> None:
    Ranks().meet()
