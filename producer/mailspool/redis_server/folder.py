"""Is this folder fit for the embedded server? Its owner, its mode, its file system, its room, its socket's path.

Called by embedded.py (and by safety.py's callers for the room on the disk). Raises ConfigError with what to do:
`foreign_folder` (exit 77), `not_writable`, `network_folder`, `shared_folder`, `moved`.

Known limits: a socket below /tmp is not seen by a process with a private /tmp (systemd's PrivateTmp). A folder on
tmpfs is taken, though it forgets at a reboot.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pwd
import re
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from mailspool.errors import ConfigError, MailspoolError, SpoolFull
from mailspool.redis_server.address import human_path

DOOR = "door.lock"
USERS = "users.lock"
SERVER = "server.lock"
LOG = "server.log"
MOVED = "moved"

# sun_path holds 104 bytes on macOS and 108 on Linux, with the final NUL; Valkey's own limit lies below that.
SOCKET_PATH_LIMIT = 100
FOREIGN_EXIT = 77

# File systems of several hosts: two hosts could start two servers, for flock and unix sockets end at the host.
NETWORK_TYPES = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "afpfs", "webdav", "ceph", "lustre", "glusterfs", "gpfs", "beegfs"}
    | {"ocfs2", "gfs2", "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse"}
)


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """What `statvfs` says about the disk below a folder."""

    free_bytes: int
    total_bytes: int


def disk_room(folder: Path) -> DiskRoom:
    """The room that this user may still fill. Raises OSError."""
    facts = os.statvfs(folder)
    return DiskRoom(free_bytes=facts.f_bavail * facts.f_frsize, total_bytes=facts.f_blocks * facts.f_frsize)


def prepare(data_dir: Path) -> Path:
    """Make or check the folder; returns it resolved, ours, 0700 and writable."""
    try:
        folder = data_dir.expanduser().resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        _check_mode(folder)
        kind = network_type(folder, _mounts())
    except OSError as exc:
        _refuse(data_dir, exc)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(_not_writable(folder, "permission denied"), code="not_writable")
    if kind is not None:
        raise ConfigError(
            f"{human_path(folder)} lies on a network file system ({kind}), where two hosts could each start a server."
            " Set data_dir to a local folder, or redis_url to a server that all hosts reach.",
            code="network_folder",
        )
    return folder


def check_not_moved(folder: Path) -> None:
    """`mailspool move` leaves the line to set in the file `moved`; the folder then refuses with it."""
    try:
        line = (folder / MOVED).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return
    raise ConfigError(f"the spool of {human_path(folder)} has moved. Set: {line}", code="moved")


def socket_path(folder: Path) -> Path:
    """Where the server of this (resolved) folder listens: inside it, or below /tmp if that path is too long."""
    inside = folder / "redis.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_LIMIT:
        return inside
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    # Not tempfile.gettempdir(): all processes must agree, whatever their TMPDIR says.
    return Path(f"/tmp/mailspool-{os.geteuid()}-{digest}/redis.sock")  # noqa: S108 - made and verified as ours, 0700


def prepare_socket_folder(folder: Path, socket: Path) -> None:
    """Make the socket's own folder below /tmp, or verify that the one there is ours and nobody else's."""
    if socket.parent == folder:
        return
    try:
        socket.parent.mkdir(mode=0o700, exist_ok=True)
        facts = socket.parent.lstat()
    except OSError as exc:
        _refuse(socket.parent, exc)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) != 0o700:
        raise ConfigError(
            f"{socket.parent} is not a folder that belongs to you alone, so the server cannot listen there."
            " Remove it, or set data_dir to a shorter path.",
            code="not_writable",
        )


def network_type(path: Path, mounts: list[tuple[str, str]]) -> str | None:
    """The type of the network file system that holds this path, None for a local one. `mounts`: (point, type)."""
    best, kind = -1, ""
    for point, this_kind in mounts:
        if len(point) >= best and path.is_relative_to(point):  # of two on one point the later one covers the other
            best, kind = len(point), this_kind
    return kind if kind in NETWORK_TYPES else None


def parse_mountinfo(text: str) -> list[tuple[str, str]]:
    """(mount point, type) of Linux' /proc/self/mountinfo, in its order."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4])
        found.append((point, after.split(" ")[0]))
    return found


def parse_mount_listing(text: str) -> list[tuple[str, str]]:
    """(mount point, type) of what macOS' mount(8) prints: `server:/export on /Volumes/x (nfs, nodev)`."""
    return re.findall(r"^.+ on (/.*) \(([^,)]+)[^()]*\)$", text, re.MULTILINE)


def _mounts() -> list[tuple[str, str]]:
    if sys.platform == "linux":
        text = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        return parse_mountinfo(text)
    else:  # noqa: RET505 - mypy takes a platform check by its branches
        listing = subprocess.run(["/sbin/mount"], capture_output=True, check=True, timeout=10)
        return parse_mount_listing(os.fsdecode(listing.stdout))


def _check_owner(folder: Path) -> None:
    owner = folder.stat().st_uid
    if owner == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner).pw_name
        sudo = name
    except KeyError:
        name, sudo = f"uid {owner}", f"'#{owner}'"
    raise ConfigError(
        f"this spool belongs to {name}: sudo -u {sudo} mailspool status",
        hint=f"The folder is {human_path(folder)}; root does not enter it either.",
        code="foreign_folder",
        exit_code=FOREIGN_EXIT,
    )


def _check_mode(folder: Path) -> None:
    """0700; a folder that others may enter is closed if it is empty or a spool already, else left alone and refused."""
    if not stat.S_IMODE(folder.stat().st_mode) & 0o077:
        return
    if not (folder / DOOR).exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{human_path(folder)} is open to other users and holds other files. Give Mailspool a folder of its own"
            f" (data_dir), or close it yourself: chmod 700 {human_path(folder)}",
            code="shared_folder",
        )
    folder.chmod(0o700)


def _not_writable(folder: Path, why: str) -> str:
    return f"cannot write to {human_path(folder)}: {why}. Set data_dir (MAILSPOOL_DATA_DIR) to a folder of yours."


def _refuse(folder: Path, exc: OSError) -> NoReturn:
    raise os_refusal(folder, exc) from exc


def os_refusal(folder: Path, exc: OSError) -> MailspoolError:
    """What the operating system said about this folder, in our words."""
    why = (exc.strerror or str(exc)).lower()
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpoolFull(f"the disk of {human_path(folder)} is full: {why}. Make room and try again.")
    return ConfigError(_not_writable(folder, why), code="not_writable")
