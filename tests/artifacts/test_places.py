"""Where files really are: spellings that lead to one entry of one folder are one key."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import runcue
from runcue._artifacts import places
from runcue._artifacts.places import PASS, final, locate, next_pass, place_of, resolve


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return os.path.realpath(tmp_path)


def make(folder):
    Path(folder).mkdir(parents=True)


def key(path):
    return runcue.File(path)._key


def test_spellings_that_reach_one_entry_are_one_key(folder):
    make("real/deep")
    Path("link").symlink_to("real")
    Path("far").symlink_to(f"{folder}/link/deep")
    wanted = f"{folder}/real/deep/f"
    for spelling in [
        "real/deep/f",
        "link/deep/f",
        "far/f",
        "./real//deep/./f",
        "far/../deep/f",
        "link/../real/deep/f",
        "link/deep/../../far/f",
        Path("link") / "deep" / "f",
        b"link/deep/f",
        f"{folder}/link/deep/f",
        f"//{folder}/link/deep/f",
    ]:
        assert key(spelling) == resolve(os.fsdecode(spelling)) == wanted, spelling


def test_dots_after_a_link_go_up_from_where_it_leads(folder):
    make("elsewhere/lib")
    Path("lib").symlink_to("elsewhere/lib")
    file = runcue.File("lib/../o")
    assert file._key == f"{folder}/elsewhere/o"
    Path("elsewhere/o").write_text("there")
    assert Path(file).read_text() == "there"
    assert file.valid()
    assert file == runcue.File("elsewhere/o") != runcue.File("o")


def test_the_last_name_stands_for_itself_even_if_it_is_a_link(folder):
    make("d")
    Path("d/build-42").touch()
    Path("current").symlink_to("d/build-42")
    assert key("current") == f"{folder}/current"
    assert final(key("current")) == f"{folder}/d/build-42"
    Path("current").unlink()
    Path("current").symlink_to("d/build-43")
    assert final(key("current")) == f"{folder}/d/build-43", "which is missing"


def test_a_chain_of_links_is_followed_to_its_end_and_a_circle_ends_somewhere(folder):
    make("a/b")
    Path("a/one").symlink_to("../two")
    Path("two").symlink_to("a/b/three")
    assert final(f"{folder}/a/one") == f"{folder}/a/b/three"
    Path("x").symlink_to("y")
    Path("y").symlink_to("x")
    assert final(f"{folder}/x") in (f"{folder}/x", f"{folder}/y")
    assert not runcue.File("x").valid()
    assert not runcue.File("x/f").valid()
    assert key("x/f").endswith("/f")
    for number in range(60):
        Path(f"n{number}").symlink_to(f"n{number + 1}")
    assert not runcue.File("n0/f").valid()


def test_a_slash_at_the_end_names_the_folder(folder):
    make("real")
    Path("link").symlink_to("real")
    Path("plain").touch()
    assert key("real/") == key("real/.") == key("link/") == key("link/x/..") == f"{folder}/real"
    assert key("link") == f"{folder}/link"
    assert runcue.File("link/").valid()
    assert not runcue.File("plain/").valid(), "as the operating system has it"
    assert key("/") == key("/..") == "/"


def test_what_is_missing_is_known_by_its_nearest_folder_and_later_by_what_came(folder):
    make("real")
    Path("link").symlink_to("real")
    assert key("link/new/f") == f"{folder}/real/new/f"
    make("elsewhere")
    Path("real/new").symlink_to(f"{folder}/elsewhere")
    next_pass()
    assert key("link/new/f") == f"{folder}/elsewhere/f"


def test_bytes_and_surrogates_are_the_names_that_the_filesystem_has(folder):
    name = b"caf\xe9"
    Path(os.fsdecode(name)).write_text("x")
    assert runcue.File(name).valid()
    assert key(name) == key(os.fsdecode(name)) == f"{folder}/{os.fsdecode(name)}"
    assert runcue.File(name) == runcue.File(os.fsencode(folder) + b"/" + name)


@pytest.mark.parametrize("path", ["", b"", "a\0b", b"a\0b", "\ud800", 3, None, 1.5, ["x"]])
def test_what_can_be_no_path_is_refused(path):
    with pytest.raises(runcue.ConfigurationError):
        runcue.File(path)


def test_relative_paths_are_those_of_the_working_folder_at_that_moment(folder, monkeypatch):
    make("one")
    make("two")
    monkeypatch.chdir("one")
    first = runcue.File("f")
    monkeypatch.chdir("../two")
    second = runcue.File("f")
    assert (first._key, second._key) == (f"{folder}/one/f", f"{folder}/two/f")
    Path(f"{folder}/two").rmdir()
    with pytest.raises(runcue.ConfigurationError, match="working folder"):
        runcue.File("g")


class TestMemory:
    def test_a_plain_absolute_path_is_its_own_key(self, folder):
        path = f"{folder}/f"
        for _ in range(2):
            file = runcue.File(path)
            assert file._path is file._key is path
        assert file._place is place_of(folder) is place_of(f"{folder}/")

    def test_within_a_pass_a_folder_is_looked_at_once(self, folder, monkeypatch):
        looks = []
        lstat = os.lstat
        monkeypatch.setattr(places.os, "lstat", lambda path: looks.append(path) or lstat(path))
        next_pass()
        PASS.until += 60
        for number in range(100):
            runcue.File(f"{folder}/{number}")
        assert looks.count(folder) == 1
        next_pass()
        runcue.File(f"{folder}/0")
        assert looks.count(folder) == 2

    def test_all_spellings_of_a_folder_share_what_is_remembered_of_it(self, folder):
        make("real")
        Path("link").symlink_to("real")
        real, link = runcue.File("real/f")._place, runcue.File("link/f")._place
        assert real is link
        assert real.identity == (Path("real").stat().st_dev, Path("real").stat().st_ino)

    def test_a_link_that_is_turned_is_noticed_in_the_next_pass(self, folder):
        make("a")
        make("b")
        Path("link").symlink_to("a")
        assert key("link/f") == f"{folder}/a/f"
        turned = PASS.turned
        Path("new").symlink_to("b")
        Path("new").replace("link")
        next_pass()
        assert key("link/f") == f"{folder}/b/f"
        assert PASS.turned > turned

    def test_a_folder_that_was_moved_with_a_link_in_its_place_is_one_folder(self, folder):
        make("here/deep")
        make("there")
        assert key("here/deep/f") == f"{folder}/here/deep/f"
        Path("here/deep").rename("there/deep")
        Path("here/deep").symlink_to("../there/deep")
        next_pass()
        assert key("here/deep/f") == key("there/deep/f") == f"{folder}/there/deep/f"

    def test_the_same_for_one_further_up_after_a_while(self, folder, monkeypatch):
        make("here/deep")
        assert key("here/deep/f") == f"{folder}/here/deep/f"
        Path("here").rename("there")
        Path("here").symlink_to("there")
        monkeypatch.setattr(places, "_LASTING", 0.0)
        next_pass()
        assert key("here/deep/f") == key("there/deep/f") == f"{folder}/there/deep/f"

    def test_a_folder_that_goes_and_comes_is_known_as_another_one(self, folder):
        make("d")
        make("e")
        place = place_of("d")
        was = place.identity
        Path("d").rmdir()
        next_pass()
        assert place_of("d") is place
        assert place.identity is None
        Path("e").rename("d")
        next_pass()
        assert place_of("d").identity not in (None, was)

    def test_it_is_bounded_and_gives_one_place_for_one_spelling(self, folder, monkeypatch):
        monkeypatch.setattr(places, "_MOST_REMEMBERED", 50)
        kept = runcue.File(f"{folder}/d/f")
        for number in range(500):
            place_of(f"{folder}/{number}")
        assert len(places._folders) <= 50
        assert runcue.File(f"{folder}/d/f")._place is kept._place

    def test_a_thousand_folders_deep_is_no_trouble(self, folder):
        deep = "/".join(["d"] * 1500)
        assert key(f"{folder}/{deep}/f") == f"{folder}/{deep}/f"
        assert not runcue.File(f"{folder}/{deep}/f").valid()

    def test_threads_share_it(self, folder):
        found = []

        def look():
            found.extend(runcue.File(f"{folder}/{number % 7}/f")._place for number in range(200))

        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(map(id, found))) == 7

    def test_a_forked_child_goes_on_by_itself(self, folder):
        with places._lock:  # as if another thread held it
            child = os.fork()
            if not child:
                os._exit(0 if key(f"{folder}/d/f") == f"{folder}/d/f" else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_location_tells_path_key_and_folder(folder):
    make("real")
    Path("link").symlink_to("real")
    found = locate("link/f")
    assert found == (f"{folder}/link/f", f"{folder}/real/f", place_of("real"))


class TestLinksInAFolder:
    """`Place.has_link`: by a look at each name, or by one listing for many, and never wrong."""

    @pytest.fixture
    def looks(self, monkeypatch):
        found = []
        islink = os.path.islink
        monkeypatch.setattr(places.os.path, "islink", lambda path: found.append(path) or islink(path))
        return found

    def fill(self, folder, number=100):
        for one in range(number):
            Path(folder, f"f{one}").touch()
        Path(folder, "link").symlink_to("f1")
        os.utime(folder, (1_000_000_000.5, 1_000_000_000.5))  # long ago
        next_pass()

    def ask(self, folder, number=100):
        for one in range(number):
            assert not place_of(folder).has_link(f"f{one}")
        assert place_of(folder).has_link("link")

    def test_many_names_are_listed_at_once(self, folder, looks):
        self.fill(folder)
        self.ask(folder)
        assert 0 < len(looks) < 20
        Path("link").unlink()
        os.utime(folder, (1_000_000_001.5, 1_000_000_001.5))
        next_pass()
        assert not place_of(folder).has_link("link")
        for one in range(100):
            place_of(folder).has_link(f"f{one}")
        assert place_of(folder).linkless == PASS.number

    def test_what_came_since_is_seen(self, folder, looks):
        self.fill(folder)
        self.ask(folder)
        Path("f1").unlink()
        Path("f1").symlink_to("f2")
        next_pass()
        assert place_of(folder).has_link("f1")

    def test_what_changed_within_a_tick_is_not_believed(self, folder, looks, monkeypatch):
        self.fill(folder)
        monkeypatch.setattr(places, "time_ns", lambda: Path(folder).stat().st_mtime_ns + 10_000_000)
        next_pass()
        self.ask(folder)
        assert len(looks) == 101

    def test_a_large_folder_is_not_listed_for_a_few_names(self, folder, looks, monkeypatch):
        monkeypatch.setattr(places, "_CHEAPER", 2)
        self.fill(folder, 300)
        self.ask(folder, 40)
        assert len(looks) == 41

    def test_a_folder_that_is_missing_holds_none(self, folder, looks):
        place, number = place_of("nowhere"), PASS.number
        assert not place.has_link("x")
        assert place.linkless >= number  # a pass may have ended meanwhile
        assert not looks


def test_a_file_made_again_keeps_what_is_asked_of_it(folder):
    make("real")
    make("other")
    Path("link").symlink_to("real")

    class Checked(runcue.File):
        def __init__(self, path, note):
            super().__init__(path, max_age="1h", validate=lambda path: path.exists())
            self.note = note

    file = Checked("link/f", "mine")
    assert file.again() is file
    Path("link").unlink()
    Path("link").symlink_to("other")
    twin = file.again()
    assert (twin._key, file._key) == (f"{folder}/other/f", f"{folder}/real/f")
    assert type(twin) is Checked
    assert (twin.note, twin.max_age, twin.validate, str(twin)) == ("mine", 3600, file.validate, "link/f")


def test_files_and_artifacts_go_to_other_processes(folder):
    make("real")
    Path("link").symlink_to("real")
    file = runcue.File("link/f", max_age="1h")
    for twin in (pickle.loads(pickle.dumps(file)), copy.copy(file), copy.deepcopy(file)):
        assert twin == file
        assert (twin._path, twin.max_age, twin._place) == (file._path, 3600, file._place)
    code = (
        "import pickle, sys; file, row = pickle.load(sys.stdin.buffer); other = type(row)(row.name); "
        "print(file._key, row == other, hash(row) == hash(other))"
    )
    row = Row("a")
    hash(row)
    answer = subprocess.run(
        [sys.executable, "-c", code],
        input=pickle.dumps((file, row)),
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"},
    ).stdout.decode()
    assert answer.split() == [f"{folder}/real/f", "True", "True"]


class Row(runcue.Artifact):
    def __init__(self, name):
        self.name = name

    def valid(self):
        return True


def test_a_folder_named_as_one_is_not_made_by_a_touch(folder):
    make("d")
    Path("f").write_text("x")
    runcue.File("d/").touch()
    for name in ("f/", "missing/"):
        with pytest.raises(OSError, match="irectory"):
            runcue.File(name).touch()
    assert not Path("missing").exists()


def test_a_link_tells_all_that_it_leads_to(folder):
    Path("a").symlink_to("b")
    Path("b").symlink_to("c")
    assert runcue.File("a").pointed() == (runcue.File("b"), runcue.File("c"))
    assert runcue.File("c").pointed() == ()
    Path("c").symlink_to("a")
    assert set(runcue.File("a").pointed()) == {runcue.File("a"), runcue.File("b"), runcue.File("c")}
