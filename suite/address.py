"""Whether a Ray cluster listens at an address, found out within seconds, where Ray itself would try for minutes."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from time import monotonic

CONNECT_SECONDS = 5.0
_FRAME = 9  # bytes of the head of an HTTP/2 frame
_SETTINGS, _DATA, _HEADERS = 4, 0, 1  # types of frames
_END_HEADERS, _END_STREAM = 4, 1
_PATH = b"/ray.rpc.NodeInfoGcsService/GetClusterId"


def checked(address: str | None) -> str | None:
    """Return the address of a cluster; None for one of our own.

    >>> checked("head:6379"), checked("local")
    ('head:6379', None)

    Raises:
        ValueError: it is no address.
    """
    if not address or address == "local":
        return None
    host, _, port = address.rpartition(":")
    is_place = host and "/" not in host and port.isdecimal() and 0 < int(port) < 2**16
    if not is_place and address != "auto":
        raise ValueError(f"no such cluster address {address!r}; expected HOST:PORT (such as HOST:6379) or auto")
    return address


def unlock(address: str) -> None:
    """Show the cluster the token of this account if it demands one; `auto` is the one that this machine has started.

    Ray looks for a token by itself only where it starts a cluster or finds one, never where an address is given; and it
    reads `RAY_AUTH_MODE`, which is set here, when it is first imported.

    Raises:
        ValueError: no cluster answers, or it refuses the token, or there is none.
    """
    asked, address = address, _started_here() if address == "auto" else address
    if not address:
        return
    try:
        if not demands_token(address):
            return
        mode, mine = (os.environ.get("RAY_AUTH_MODE") or "token").lower(), token()
        if mode != "token" or not mine or demands_token(address, mine):
            raise ValueError(_locked(address, mode, is_wrong=bool(mine)))
    except OSError as error:
        if asked == "auto":  # a note of a cluster that has ended
            return
        raise ValueError(refusal(address, error)) from error
    os.environ["RAY_AUTH_MODE"] = "token"


def token() -> str:
    """Return the token of this account, from where Ray takes it; empty if there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return given
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    return path.read_text().strip() if path.is_file() else ""


def demands_token(address: str, shown: str = "") -> bool:
    """Return whether the cluster that listens at HOST:PORT demands a token, or another one than is shown.

    Asks for the id of the cluster over the protocol that Ray speaks (gRPC, which is HTTP/2).

    Raises:
        OSError: nobody listens there, or something else than a Ray cluster.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"") + _question(address, shown))
        answer = _answer(connection)
    if len(answer) < _FRAME or answer[3] != _SETTINGS:
        raise ConnectionError("what listens there is not a Ray cluster")
    return b"InvalidAuthToken" in answer


def refusal(address: str, error: Exception) -> str:
    """Say in a sentence why a cluster cannot be joined.

    Args:
        address: of the cluster.
        error: that came of trying.

    >>> refusal("auto", ConnectionError("Could not find any running Ray instance."))
    'no Ray cluster runs on this machine; start one with `ray start --head`, or leave --address out'
    >>> refusal("head:6379", OSError("it is closed."))
    'no Ray cluster answers at head:6379: it is closed; start one with `ray start --head`'
    """
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if len(versions) == 2:
        theirs, mine = (f"Ray {ray} on Python {python}" for ray, python in versions)
        return f"the cluster at {address} runs {theirs}, this process {mine}; both must be the same"
    if address == "auto" and isinstance(error, ConnectionError):
        return "no Ray cluster runs on this machine; start one with `ray start --head`, or leave --address out"
    return f"no Ray cluster answers at {address}: {first_line(error).rstrip('.')}; start one with `ray start --head`"


def first_line(error: BaseException) -> str:
    """Return the first line of a message, or the kind of an error without one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _started_here() -> str:
    """Return where the cluster listens that was started last on this machine, as Ray notes it; empty if none was."""
    note = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray" / "ray_current_cluster"
    return note.read_text().strip() if note.is_file() else ""


def _locked(address: str, mode: str, *, is_wrong: bool) -> str:
    """Say why a cluster that demands a token lets nobody in."""
    if mode != "token":
        return f"the cluster at {address} demands a token, and RAY_AUTH_MODE is {mode!r}; set it to token"
    if is_wrong:
        return f"the cluster at {address} refuses the token of this process; set RAY_AUTH_TOKEN to that of the cluster"
    return f"the cluster at {address} demands a token, and there is none here; set RAY_AUTH_TOKEN to that of the cluster"


def _answer(connection: socket.socket) -> bytes:
    """Return what comes until the server has said whether it takes the question, is silent, or closes."""
    answer, end = b"", monotonic() + CONNECT_SECONDS
    while b"grpc-status" not in answer and (left := end - monotonic()) > 0:
        connection.settimeout(left)
        try:
            more = connection.recv(1 << 16)
        except TimeoutError:
            break
        if not more:
            break
        answer += more
    return answer


def _question(address: str, shown: str) -> bytes:
    """Return a call without arguments as two frames; names that HTTP/2 numbers are given by their number."""
    named = {b"te": b"trailers", b"content-type": b"application/grpc"}
    if shown:
        named[b"authorization"] = b"Bearer " + shown.encode()
    # POST, http, :path (4) and :authority (1) as literals that are not remembered
    head = b"\x83\x86\x04" + _text(_PATH) + b"\x01" + _text(address.encode())
    head += b"".join(b"\x00" + _text(name) + _text(value) for name, value in named.items())
    return _frame(_HEADERS, _END_HEADERS, 1, head) + _frame(_DATA, _END_STREAM, 1, bytes(5))


def _text(value: bytes) -> bytes:
    assert len(value) < 127  # longer ones have another form
    return bytes([len(value)]) + value


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
