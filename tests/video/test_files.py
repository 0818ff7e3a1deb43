import os
import stat

import pytest

from nvc_jax.errors import OutputError
from nvc_jax.io.files import atomic_folder, atomic_output, same_file


def test_appears_at_the_end_only(tmp_path):
    path = tmp_path / "a.bin"
    with atomic_output(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_failure_keeps_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def interrupted():
        with atomic_output(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_seeking_back(tmp_path):
    with atomic_output(tmp_path / "a.bin") as file:
        file.write(b"....body")
        file.seek(0)
        file.write(b"HEAD")
        assert file.tell() == 4
    assert (tmp_path / "a.bin").read_bytes() == b"HEADbody"


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "link").symlink_to("real")
    with atomic_output(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"


def test_standard_output(capfdbinary):
    with atomic_output("-") as file:
        file.write(b"\0binary\n")
    assert capfdbinary.readouterr().out == b"\0binary\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("amount", [1, 1 << 20])
def test_full_device(amount):
    with (
        pytest.raises(OutputError, match=r"^/dev/full: cannot write \(No space left on device\)$"),
        atomic_output("/dev/full") as file,
    ):
        file.write(bytes(amount))
    with atomic_output(os.devnull) as file:
        file.write(bytes(amount))


def test_refusals(tmp_path):
    def enter(path):
        with atomic_output(path):
            pytest.fail("opened")

    with pytest.raises(OutputError, match="is a folder, not a file"):
        enter(tmp_path)
    with pytest.raises(OutputError, match=r"the folder .*nowhere does not exist; make it first"):
        enter(tmp_path / "nowhere" / "a")
    with pytest.raises(OutputError, match="cannot create a file in /proc"):
        enter("/proc/nvc-jax-test")
    (tmp_path / "locked").write_bytes(b"")
    (tmp_path / "locked").chmod(0o444)
    if not os.access(tmp_path / "locked", os.W_OK):  # root may write anyway
        with pytest.raises(OutputError, match="is write-protected"):
            enter(tmp_path / "locked")


def test_foreign_errors_pass_unchanged(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_output(tmp_path / "a"):
        open(tmp_path / "missing", "rb")
    assert not list(tmp_path.iterdir())


def test_folder(tmp_path):
    target = tmp_path / "model"
    with atomic_folder(target) as stage:
        (stage / "a").write_text("1")
        assert not target.exists()
    with pytest.raises(OutputError, match=r"holds other files \(a\)"), atomic_folder(target):
        pass
    with atomic_folder(target, replaces=lambda name: name == "a") as stage:
        (stage / "b").write_text("2")
    assert [p.name for p in target.iterdir()] == ["b"]
    with pytest.raises(KeyError), atomic_folder(target, replaces=lambda name: True):
        raise KeyError
    assert [p.name for p in target.iterdir()] == ["b"]
    with pytest.raises(OutputError, match="is a file, not a folder"), atomic_folder(target / "b"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.y4m").write_bytes(b"x")
    (tmp_path / "link.y4m").symlink_to("a.y4m")
    os.link("a.y4m", "hard.y4m")
    (tmp_path / "frames").mkdir()
    same = [
        ("a.y4m", "./a.y4m"),
        ("a.y4m", tmp_path / "frames" / ".." / "a.y4m"),
        ("link.y4m", "a.y4m"),
        ("hard.y4m", "a.y4m"),
        ("new.y4m", tmp_path / "new.y4m"),
        ("frames", "frames/"),
        ("frames", "frames/im%05d.png"),
        ("frames", "frames/im00001.png"),
        ("frames/%d.png", "./frames/%d.png"),
    ]
    different = [
        ("a.y4m", "b.y4m"),
        ("-", "-"),
        ("frames/a%d.png", "frames/b%d.png"),
        ("frames", "a.y4m"),
        (os.devnull, os.devnull),
    ]
    assert all(same_file(a, b) and same_file(b, a) for a, b in same)
    assert not any(same_file(a, b) or same_file(b, a) for a, b in different)
