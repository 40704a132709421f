"""Files and folders are replaced as a whole, whatever happens to the writer."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gnnpre import _atomic
from gnnpre._atomic import (
    finish_folder_swap,
    remove_stale,
    replace_file,
    replace_folder,
    write_file,
)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def write_folder(path: Path, text: str) -> None:
    with replace_folder(path) as new:
        (new / "a").write_text(text)
        (new / "b").write_text(text)


def fail_within(writer, place) -> None:
    with writer as new:
        place(new).write_text("half")
        raise OSError("disk full")


def run_and_die(code: str) -> None:
    """Run code in a process that kills itself."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr


DIE = "import os, signal; from gnnpre import _atomic; die = lambda *a: os.kill(os.getpid(), 9)\n"


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path):
    write_file(tmp_path / "a", "old")
    write_file(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_text() == "new"
    assert names(tmp_path) == ["a"]


def test_text_is_utf8(tmp_path):
    write_file(tmp_path / "a", "Å")
    assert (tmp_path / "a").read_bytes() == b"\xc3\x85"


def test_an_error_keeps_the_old_file(tmp_path):
    write_file(tmp_path / "a", "old")
    with pytest.raises(OSError, match="full"):
        fail_within(replace_file(tmp_path / "a"), lambda new: new)
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("folder.txt", IsADirectoryError, r"folder\.txt' is a folder; expected the name of a file"),
        ("none/a.txt", FileNotFoundError, r"no folder '.*none' to write a\.txt in"),
        ("file/a.txt", FileNotFoundError, r"no folder '.*file' to write a\.txt in"),
    ],
)
def test_where_no_file_can_be_nothing_is_computed(tmp_path, name, error, message):
    (tmp_path / "folder.txt").mkdir()
    (tmp_path / "file").write_text("a file")
    is_computed = False
    with pytest.raises(error, match=message), replace_file(tmp_path / name):
        is_computed = True
    assert not is_computed
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.txt"]


def test_an_error_keeps_the_old_folder(tmp_path):
    write_folder(tmp_path / "m", "old")
    with pytest.raises(OSError, match="full"):
        fail_within(replace_folder(tmp_path / "m"), lambda new: new / "a")
    assert (tmp_path / "m" / "a").read_text() == "old"
    assert names(tmp_path) == ["m"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_between_the_renames_restores_the_old_folder(tmp_path, monkeypatch, error):
    write_folder(tmp_path / "m", "old")
    rename = os.rename

    def fail(source, target):
        if str(source).endswith(".new"):
            raise error("no")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(error):
        write_folder(tmp_path / "m", "new")
    monkeypatch.undo()
    assert (tmp_path / "m" / "a").read_text() == "old"
    assert names(tmp_path) == ["m"]


def test_a_symbolic_link_is_written_through(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_file(tmp_path / "link", "text")
    assert (tmp_path / "file").read_text() == "text"
    assert (tmp_path / "link").is_symlink()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are of POSIX")
def test_a_pipe_gets_the_content_and_is_not_replaced(tmp_path):
    pipe, received = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write_file(pipe, "new")
    reader.join(10)
    assert received == [b"new"]
    assert pipe.is_fifo()
    assert names(tmp_path) == ["pipe"]


def test_long_names_leave_room_for_the_suffix(tmp_path):
    name = "n" * 250
    write_file(tmp_path / name, "text")
    assert names(tmp_path) == [name]


def test_leftovers_of_dead_processes_are_removed_by_the_next_writer(tmp_path):
    code = f"with _atomic.replace_file({str(tmp_path / 'a')!r}) as new: new.write_text('x'); die()"
    run_and_die(DIE + code)
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".a.")
    write_file(tmp_path / "b", "other")
    assert names(tmp_path) == ["b"]


def test_leftovers_of_living_processes_stay(tmp_path):
    with replace_file(tmp_path / "a") as new:
        new.write_text("half")
        os.utime(new, (0, 0))  # slow, but alive
        remove_stale(tmp_path)
        write_file(tmp_path / "b", "other")
        assert new.exists()
    assert names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(("age", "stays"), [(60, True), (4000, False)])
def test_leftovers_of_other_machines_are_judged_by_age(tmp_path, monkeypatch, age, stays):
    monkeypatch.setattr(_atomic, "_machine", lambda: "0123abcd")
    leftover = _atomic._temporary_path(tmp_path / "a", "0" * 12, "new")
    monkeypatch.undo()
    leftover.write_text("half")
    os.utime(leftover, (time.time() - age,) * 2)
    remove_stale(tmp_path)
    assert leftover.exists() == stays


def test_other_hidden_files_stay(tmp_path):
    for name in (".new", ".a.new", ".config.old", "a.0-0-0.000000000000.new"):
        (tmp_path / name).write_text("the user's")
        os.utime(tmp_path / name, (0, 0))
    before = names(tmp_path)
    remove_stale(tmp_path)
    assert names(tmp_path) == before


@pytest.mark.parametrize("finish", [finish_folder_swap, lambda path: write_folder(path, "third")])
def test_a_swap_that_was_killed_halfway_is_completed(tmp_path, finish):
    path = tmp_path / "m"
    write_folder(path, "old")
    code = f"""
rename = os.rename
_atomic.os.rename = lambda a, b: die() if str(a).endswith('.new') else rename(a, b)
with _atomic.replace_folder({str(path)!r}) as new:
    (new / 'a').write_text('new')
"""
    run_and_die(DIE + code)
    assert not path.exists()
    remove_stale(tmp_path)  # must not delete the only copies
    finish(path)
    assert (path / "a").read_text() in ("new", "third")
    remove_stale(tmp_path)
    assert names(tmp_path) == ["m"]


def test_threads_write_one_file_and_one_folder(tmp_path):
    errors = []

    def work(number):
        try:
            for _ in range(20):
                write_file(tmp_path / "file", str(number) * 1000)
                write_folder(tmp_path / "folder", str(number) * 1000)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names(tmp_path) == ["file", "folder"]
    texts = {path.read_text() for path in (tmp_path / "folder").iterdir()}
    assert len(texts) == 1
    assert len(texts.pop()) == 1000


def test_killed_writers_leave_the_old_folder_or_the_new_one(tmp_path):
    path = tmp_path / "m"
    write_folder(path, "0")
    for number in range(1, 25):
        child = os.fork()
        if child == 0:
            while True:
                write_folder(path, str(number))
        time.sleep(0.001 + 0.0007 * (number % 10))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        finish_folder_swap(path)
        one, two = ((path / name).read_text() for name in "ab")
        assert one == two
        assert int(one) <= number
    remove_stale(tmp_path)
    assert names(tmp_path) == ["m"]
