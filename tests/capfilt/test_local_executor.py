"""Parts on one machine: who works on them changes nothing, and what ends them is one message."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from mmtk_capfilt.executors.local import Local

from mmtk.api import DataError, ImageCandidates, StageError
from tests.capfilt.passes import Hashed, Writes, clean, config
from tests.small_learner import ListReader, picture, sample


@dataclass
class Notes:
    """Work whose parts note in a folder who has done them, and with how many threads."""

    folder: Path
    fails: int = -1
    kills: int = -1
    endless: bool = False

    def open(self) -> Notes:
        (self.folder / f"opened-{os.getpid()}").touch()
        return self

    def __call__(self, part: int) -> tuple[int, int]:
        if part == self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        while self.endless:
            (self.folder / f"begun-{os.getpid()}").touch()
            time.sleep(0.05)
        if part == self.fails:
            raise DataError(f"part {part} can't be read")
        (self.folder / f"done-{part}").touch()
        return os.getpid(), torch.get_num_threads()


@pytest.fixture
def no_threads_given(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def names(folder: Path, prefix: str) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{prefix}-*"))


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    done = dict(Local(workers=1, threads=None)(Notes(tmp_path), [2, 0, 1]))
    assert list(done) == [2, 0, 1]
    assert {pid for pid, _ in done.values()} == {os.getpid()}
    assert names(tmp_path, "opened") == [f"opened-{os.getpid()}"]


def test_several_workers_are_processes_that_open_the_work_once_each(tmp_path: Path) -> None:
    done = dict(Local(workers=2, threads=1)(Notes(tmp_path), range(8)))
    pids = {pid for pid, _ in done.values()}
    assert sorted(done) == list(range(8))
    assert os.getpid() not in pids
    assert names(tmp_path, "opened") == sorted(f"opened-{pid}" for pid in pids)


@pytest.mark.usefixtures("no_threads_given")
@pytest.mark.parametrize("workers", [1, 2])
def test_threads_are_as_given_however_few_parts_are_left(tmp_path: Path, workers: int) -> None:
    """The last bits of scores may depend on them, also in the last part of an interrupted pass."""
    torch.set_num_threads(2)
    for parts in ([0], [0, 1, 2]):
        done = dict(Local(workers=workers, threads=3)(Notes(tmp_path), parts))
        assert {threads for _, threads in done.values()} == {3}
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("no_threads_given")
def test_without_threads_the_processor_is_shared_out_or_the_environment_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert {threads for _, (_, threads) in Local(workers=4, threads=None)(Notes(tmp_path), [0])} == {3}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert {threads for _, (_, threads) in Local(workers=4, threads=None)(Notes(tmp_path), [0])} == {1}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_part_is_raised_as_it_is(tmp_path: Path, workers: int) -> None:
    with pytest.raises(DataError, match=r"^part 1 can't be read$"):
        list(Local(workers=workers, threads=1)(Notes(tmp_path, fails=1), range(3)))
    assert "done-0" in names(tmp_path, "done")


def test_an_interruption_ends_workers_in_the_middle_of_their_parts(tmp_path: Path) -> None:
    def interrupt() -> None:
        while len(names(tmp_path, "begun")) < 2:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        list(Local(workers=2, threads=1)(Notes(tmp_path, endless=True), range(8)))
    assert multiprocessing.active_children() == []
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_a_killed_worker_is_one_message(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"^a worker process of executor 'local' was killed") as error:
        list(Local(workers=2, threads=1)(Notes(tmp_path, kills=2), range(4)))
    assert "the same command goes on" in str(error.value)


@dataclass
class KillsOnce:
    """A step that kills its process at an image, the first time only."""

    key: str
    mark: Path

    def __call__(self, images: Sequence[ImageCandidates]) -> Sequence[ImageCandidates]:
        if any(image.key == self.key for image in images) and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return images


def samples() -> ListReader:
    broken = sample(5)
    return ListReader(
        [
            *(sample(n, f"a text {n}", f"text {n % 3}") for n in range(18)),
            broken.__class__("bad", b"none", ("a",), "bad", "web", "memory"),
            broken.__class__("small", picture(1, (2, 2)), ("a",), "small", "web", "memory"),
        ]
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_the_files_do_not_depend_on_the_workers(tmp_path: Path, workers: int) -> None:
    steps = Writes(2), Hashed()
    one = clean(tmp_path / "one", config(samples(), *steps))
    other = clean(tmp_path / "other", config(samples(), *steps, workers=workers, data={"workers": 2}))
    assert other.files == one.files
    assert len(one.files) == 3 + 5
    assert one.funnel["failed_images"] == 2


def test_a_pass_whose_worker_was_killed_goes_on(tmp_path: Path) -> None:
    steps = Writes(2), KillsOnce("k9", tmp_path / "mark"), Hashed()
    again = config(samples(), *steps, workers=2)
    with pytest.raises(StageError, match="was killed"):
        clean(tmp_path / "killed", again)
    before = len(list((tmp_path / "killed" / "parts").glob("*.parquet")))
    started = time.time()
    done = clean(tmp_path / "killed", again)
    if before:
        assert done.lines[0] == f"going on behind {before} of 5 parts"
    anew = [path for path in (done.folder / "parts").iterdir() if path.stat().st_mtime >= started]
    assert len(anew) == 5 - before
    assert done.files == clean(tmp_path / "through", config(samples(), *steps)).files


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    for name in ("dataset/.stage-000001.tar.partial", "parts/.000001.parquet.unfinished"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    done = clean(tmp_path, config(samples(), Hashed()))
    assert done.files == clean(tmp_path / "other", config(samples(), Hashed())).files


def test_a_limit_of_failed_images_holds_over_restarts(tmp_path: Path) -> None:
    """A number counts what interrupted tries have met; a share is of what this one has."""
    limited = config(samples(), Hashed(), data={"max_quarantined": 1})
    for _ in range(2):
        with pytest.raises(StageError, match=r"^2 images failed, and data.max_quarantined is 1; the"):
            clean(tmp_path, limited)
    done = clean(tmp_path, config(samples(), Hashed(), data={"max_quarantined": 2}))
    assert done.funnel["failed_images"] == 2
    reasons = [one["reason"].partition(":")[0] for one in done.quarantine]
    assert reasons == ["unreadable image", "image too small"]


def test_a_share_of_failed_images_counts_from_a_hundred_on(tmp_path: Path) -> None:
    data = {"max_quarantined": 0.01}
    clean(tmp_path / "few", config(samples(), Hashed(), data=data))
    many = [sample(n) for n in range(200, 300)] + list(samples().samples)
    with pytest.raises(StageError, match=r"^2 of 120 images failed, and data.max_quarantined is 0.01;"):
        clean(tmp_path / "many", config(ListReader(many), Hashed(), part_size=60, data=data))


def test_a_dataset_of_which_nothing_can_be_used_is_an_error(tmp_path: Path) -> None:
    damaged = [dataclasses.replace(sample(number), image=b"no picture") for number in range(6)]
    with pytest.raises(StageError, match="none of 6 images can be used; the first is 'k0': "):
        clean(tmp_path, config(ListReader(damaged), Hashed()))
