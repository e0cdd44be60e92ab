"""Which folders the embedded server takes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mailspool.errors import ConfigError, MailspoolError, SpoolFull
from mailspool.redis_server import folder as folders
from mailspool.redis_server.embedded import EmbeddedServer
from mailspool.redis_server.folder import network_type, parse_mount_listing, parse_mountinfo, prepare, socket_path

NOBODY = 65534
IS_ROOT = os.geteuid() == 0


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    made = prepare(tmp_path / "a" / "b")
    assert made == tmp_path / "a" / "b"
    assert mode(made) == 0o700


def test_links_are_followed_so_that_all_meet(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert prepare(tmp_path / "link") == tmp_path / "real"
    assert EmbeddedServer(tmp_path / "link").socket_path == tmp_path / "real" / "redis.sock"


def test_an_open_folder_is_closed_if_it_is_empty_or_a_spool(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty").chmod(0o755)
    prepare(tmp_path / "empty")
    assert mode(tmp_path / "empty") == 0o700
    (tmp_path / "empty" / "door.lock").touch()
    (tmp_path / "empty").chmod(0o750)
    prepare(tmp_path / "empty")
    assert mode(tmp_path / "empty") == 0o700


def test_an_open_folder_with_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home").chmod(0o755)
    (tmp_path / "home" / "letters").touch()
    with pytest.raises(ConfigError, match=r"holds other files.*chmod 700") as caught:
        prepare(tmp_path / "home")
    assert caught.value.code == "shared_folder"
    assert mode(tmp_path / "home") == 0o755


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a folder away")
@pytest.mark.parametrize(
    ("uid", "words"),
    [
        (NOBODY, "this spool belongs to nobody: sudo -u nobody mailspool status"),
        (54321, "this spool belongs to uid 54321: sudo -u '#54321' mailspool status"),
    ],
)
def test_another_users_folder_is_refused_by_root_too(tmp_path: Path, uid: int, words: str) -> None:
    (tmp_path / "spool").mkdir(mode=0o700)
    os.chown(tmp_path / "spool", uid, -1)
    with pytest.raises(ConfigError) as caught:
        EmbeddedServer(tmp_path / "spool").enter()
    assert str(caught.value) == words
    assert (caught.value.code, caught.value.exit_code) == ("foreign_folder", 77)
    assert list((tmp_path / "spool").iterdir()) == []


def test_my_folder_is_refused_by_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spool").mkdir(mode=0o700)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    with pytest.raises(ConfigError, match=r"this spool belongs to .*: sudo -u .* mailspool status"):
        prepare(tmp_path / "spool")


def refusal_as_nobody(path: Path) -> str:
    """What `prepare` says to a user who is not root (in a forked child, if we are)."""
    if not IS_ROOT:
        with pytest.raises(MailspoolError) as caught:
            prepare(path)
        return f"{caught.value.code}: {caught.value}"
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setuid(NOBODY)
            prepare(path)
        except MailspoolError as exc:
            os.write(writing, f"{exc.code}: {exc}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


@pytest.fixture
def common(tmp_path: Path) -> Path:
    """A folder that everybody may walk through."""
    for part in (tmp_path, *tmp_path.parents[:2]):
        part.chmod(0o711) if part.name.startswith("pytest-") or part == tmp_path else None
    (tmp_path / "common").mkdir(mode=0o711)
    return tmp_path / "common"


def test_a_read_only_folder_is_refused(common: Path) -> None:
    (common / "spool").mkdir(mode=0o500)
    if IS_ROOT:
        os.chown(common / "spool", NOBODY, -1)
    said = refusal_as_nobody(common / "spool")
    assert said.startswith(f"not_writable: cannot write to {common / 'spool'}: permission denied. Set data_dir")


def test_a_folder_that_cannot_be_made_is_refused(common: Path) -> None:
    (common / "locked").mkdir(mode=0o500)
    if IS_ROOT:
        os.chown(common / "locked", NOBODY, -1)
    said = refusal_as_nobody(common / "locked" / "spool")
    assert said.startswith(f"not_writable: cannot write to {common / 'locked' / 'spool'}: permission denied.")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "spool").touch()
    with pytest.raises(ConfigError, match=r"cannot write to .*: file exists"):
        prepare(tmp_path / "spool")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_another_thing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def mkdir(*args: object, **kwargs: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(SpoolFull, match=r"the disk of .* is full"):
        prepare(tmp_path / "spool")


def test_a_moved_spool_refuses_with_the_line_to_set(tmp_path: Path) -> None:
    prepare(tmp_path / "spool")
    (tmp_path / "spool" / "moved").write_text('redis_url = "redis://queue:6379"\n')
    with pytest.raises(ConfigError, match=r'has moved\. Set: redis_url = "redis://queue:6379"$') as caught:
        EmbeddedServer(tmp_path / "spool").enter()
    assert caught.value.code == "moved"


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /home rw shared:1 - nfs4 server:/home rw
31 30 254:1 / /home/me/local\\040disk rw - xfs /dev/vdb rw
32 22 0:41 / /mnt/x rw - ext4 /dev/vdc rw
33 32 0:42 / /mnt/x rw master:1 propagate_from:2 - fuse.sshfs me@host: rw
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/lib/mailspool", None),
        ("/home/me/.local/share/mailspool", "nfs4"),
        ("/home", "nfs4"),
        ("/homes/me", None),
        ("/home/me/local disk/spool", None),
        ("/mnt/x/spool", "fuse.sshfs"),
    ],
)
def test_network_file_systems(path: str, kind: str | None) -> None:
    assert network_type(Path(path), parse_mountinfo(MOUNTS)) == kind


def test_macos_mounts() -> None:
    listing = "/dev/disk3s1s1 on / (apfs, sealed, local)\nserver:/export on /Volumes/my (x) disk (nfs, nodev, nosuid)\n"
    assert parse_mount_listing(listing) == [("/", "apfs"), ("/Volumes/my (x) disk", "nfs")]


def test_a_network_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "_mounts", lambda: [("/", "ext4"), (str(tmp_path), "nfs4")])
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\).*redis_url") as caught:
        prepare(tmp_path / "spool")
    assert caught.value.code == "network_folder"


def test_the_real_mounts_can_be_read(tmp_path: Path) -> None:
    assert any(point == "/" for point, _ in folders._mounts())
    assert network_type(tmp_path, folders._mounts()) is None


@pytest.mark.parametrize(("length", "inside"), [(99, True), (100, True), (101, False), (150, False)])
def test_the_socket_moves_out_of_a_long_path(length: int, inside: bool) -> None:
    place = Path("/" + "x" * (length - len("//redis.sock")))
    assert len(str(place / "redis.sock")) == length
    assert (socket_path(place) == place / "redis.sock") is inside
    assert len(str(socket_path(place))) <= 100


def test_a_long_path_in_bytes_counts_not_in_letters() -> None:
    assert socket_path(Path("/" + "ش" * 50)).parent.parent == Path("/tmp")
    assert socket_path(Path("/" + "ش" * 50)) != socket_path(Path("/" + "ص" * 50))
