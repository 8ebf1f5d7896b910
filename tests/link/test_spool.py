"""The spool: what is stored stays, whatever happens to the process, and every change of stage is on the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tagstrain.errors import OutputError
from tagstrain.link import Spool, SpooledStudy, Stage

NAME = "Doe^Jane"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def only(spool: Spool) -> SpooledStudy:
    (study,) = spool.in_stage(*Stage)
    return study


def contents(spool: Spool, key: str) -> set[bytes]:
    return {file.read_bytes() for file in spool.images(key).iterdir()}


def finish(spool: Spool) -> SpooledStudy:
    """Take the only study through all stages."""
    study = only(spool)
    for stage in (Stage.QUEUED, Stage.ANALYZING, Stage.SENDING, Stage.DONE):
        changed = spool.update(study, stage)
        assert changed is not None
        study = changed
    return study


@settings(max_examples=30)  # every image waits for the disk
@given(
    images=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.binary(max_size=8)), max_size=12),
    restarts=st.sets(st.integers(0, 11)),
)
def test_the_last_image_of_every_uid_is_there_in_any_order_with_restarts(
    tmp_path_factory: pytest.TempPathFactory, images: list[tuple[int, int, bytes]], restarts: set[int]
) -> None:
    root = tmp_path_factory.mktemp("spool")
    spool = Spool(root)
    keys: dict[int, str] = {}
    expected: dict[int, dict[int, bytes]] = {}
    for k, (study, instance, content) in enumerate(images):
        keys[study] = spool.store(f"1.2.{study}", f"1.2.{study}.{instance}", content)
        expected.setdefault(study, {})[instance] = content
        if k in restarts:
            spool.close()
            spool = Spool(root)
    for study, by_instance in expected.items():
        found = [file.read_bytes() for file in spool.images(keys[study]).iterdir()]
        assert sorted(found) == sorted(by_instance.values())
    assert {study.key for study in spool.in_stage(Stage.RECEIVING)} == set(keys.values())
    spool.close()


def test_no_identifier_names_a_file_and_none_leaves_the_spool(root: Path) -> None:
    with Spool(root) as spool:
        key = spool.store(f"../../{NAME}", f"/etc/{NAME}", b"x")
    names = [path.relative_to(root).as_posix() for path in root.rglob("*")]
    assert not [name for name in names if "Doe" in name or ".." in name]
    assert f"studies/{key}" in names
    assert len([name for name in names if name.endswith(".dcm")]) == 1
    assert (root / "salt").stat().st_mode & 0o077 == 0
    assert root.stat().st_mode & 0o077 == 0


def test_another_salt_gives_other_names(tmp_path: Path) -> None:
    with Spool(tmp_path / "a") as one, Spool(tmp_path / "b") as other:
        assert one.store("1.2", "1.2.3", b"") != other.store("1.2", "1.2.3", b"")


def test_two_processes_cannot_use_one_spool(root: Path) -> None:
    with Spool(root), pytest.raises(OutputError, match="another process"):
        Spool(root)
    Spool(root).close()


@pytest.mark.parametrize("stage", [stage for stage in Stage if stage is not Stage.RECEIVING])
def test_a_late_image_reopens_a_study_of_any_stage(root: Path, stage: Stage) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"first")
        before = spool.update(only(spool), stage, reason="why", sent=(("A", "b.dcm"),), n_starts=2)
        assert before is not None
        key = spool.store("1.2", "1.2.2", b"second")
        study = only(spool)
        assert (study.stage, study.reason, study.sent, study.n_starts) == (Stage.RECEIVING, "", (), 0)
        assert contents(spool, key) == {b"first", b"second"}
        assert spool.update(before, Stage.DONE) is None, "who worked on the study must learn that it changed"
        assert only(spool) == study


def test_a_copy_does_not_reopen_what_was_analyzed_with_it(root: Path) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"first")
        done = finish(spool)
        spool.store("1.2", "1.2.1", b"first")
        assert only(spool) == done
        spool.store("1.2", "1.2.1", b"other pixels")
        assert only(spool).stage is Stage.RECEIVING


def test_a_copy_gives_a_failed_study_another_chance(root: Path) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"first")
        spool.update(only(spool), Stage.FAILED, reason="disk full")
        spool.store("1.2", "1.2.1", b"first")
        assert only(spool).stage is Stage.RECEIVING


def test_an_image_whose_process_was_killed_before_its_record_was_written_is_analyzed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Spool(root) as spool:
        key = spool.store("1.2", "1.2.1", b"first")
        finish(spool)
        calls: list[Path] = []

        def killed(path: Path, content: bytes) -> None:
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
            path.write_bytes(content)

        monkeypatch.setattr("tagstrain.link.spool.write_durably", killed)
        with pytest.raises(KeyboardInterrupt):
            spool.store("1.2", "1.2.2", b"second")
        monkeypatch.undo()
    with Spool(root) as spool:
        # The sender got no answer and sends it again: only then it counts, but then it must.
        spool.store("1.2", "1.2.2", b"second")
        assert only(spool).stage is Stage.RECEIVING
        assert contents(spool, key) == {b"first", b"second"}


def test_what_a_killed_writer_left_is_removed(root: Path) -> None:
    with Spool(root) as spool:
        key = spool.store("1.2", "1.2.1", b"whole")
    (root / "studies" / key / ".1.dcm.0123456789ab.partial").write_bytes(b"ha")
    (root / "records" / f".{key}.json.0123456789ab.partial").write_bytes(b"{")
    (root / "studies" / ".0123456789ab.partial").mkdir()
    (root / "studies" / "never_written").mkdir()
    with Spool(root) as spool:
        assert only(spool).key == key
        assert contents(spool, key) == {b"whole"}
    assert [path.name for path in (root / "studies").iterdir()] == [key]
    assert [path.name for path in (root / "records").iterdir()] == [f"{key}.json"]


def test_a_record_outlives_the_process_field_by_field(root: Path) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"")
        written = spool.update(
            only(spool), Stage.SENDING, sent=(("A@h:1", "a.dcm"), ("B@h:1", "a.dcm")), n_failed_sends=3, reason="down"
        )
    with Spool(root) as spool:
        assert only(spool) == written


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"sent": 3}', '{"sent": [], "stage": "else"}'])
def test_a_study_with_a_damaged_record_is_received_again(root: Path, damage: str) -> None:
    with Spool(root) as spool:
        key = spool.store("1.2", "1.2.1", b"image")
        finish(spool)
    (root / "records" / f"{key}.json").write_text(damage)
    with Spool(root) as spool:
        assert only(spool).stage is Stage.RECEIVING
        assert contents(spool, key) == {b"image"}


def test_a_write_that_fails_raises_and_leaves_the_earlier_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with Spool(root) as spool:
        key = spool.store("1.2", "1.2.1", b"first")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            spool.store("1.2", "1.2.1", b"second")
        monkeypatch.undo()
        assert contents(spool, key) == {b"first"}
        spool.store("1.2", "1.2.1", b"second")
        assert contents(spool, key) == {b"second"}


def test_only_studies_that_have_been_idle_are_complete(root: Path) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"")
        spool.queue_idle(60)
        assert only(spool).stage is Stage.RECEIVING
        spool.queue_idle(0)
        assert only(spool).stage is Stage.QUEUED


def test_done_studies_are_forgotten_after_their_time_and_no_others(root: Path) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"")
        finish(spool)
        waiting = spool.store("1.3", "1.3.1", b"")
        spool.forget_done(60)
        assert len(spool.in_stage(*Stage)) == 2
        time.sleep(0.01)
        spool.forget_done(0.005)
        assert only(spool).key == waiting
    assert [path.name for path in (root / "studies").iterdir()] == [waiting]
    assert [path.name for path in (root / "records").iterdir()] == [f"{waiting}.json"]


def test_failed_studies_are_queued_again_when_asked_to(root: Path) -> None:
    with Spool(root) as spool:
        spool.store("1.2", "1.2.1", b"")
        spool.update(only(spool), Stage.FAILED, reason="why", n_starts=3)
        spool.queue_failed()
        assert (only(spool).stage, only(spool).reason, only(spool).n_starts) == (Stage.QUEUED, "", 0)
