"""Whether a Ray cluster listens at an address, found out within seconds, where Ray itself would try for minutes."""

from __future__ import annotations

import re
import socket
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


def asks_for_token(address: str) -> bool:
    """Return whether the cluster that listens at HOST:PORT demands a token.

    Asks for the id of the cluster, without a token, over the protocol that Ray speaks (gRPC, which is HTTP/2).

    Raises:
        OSError: nobody listens there, or something else than a Ray cluster.
    """
    host, _, port = address.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(_SETTINGS, 0, 0, b"") + _question(address))
        answer = _answer(connection)
    if len(answer) < _FRAME or answer[3] != _SETTINGS:
        raise ConnectionError("what listens there is not a Ray cluster")
    return b"InvalidAuthToken" in answer


def refusal(address: str, error: Exception, *, is_locked: bool) -> str:
    """Say in a sentence why a cluster cannot be joined.

    Args:
        address: of the cluster.
        error: that came of trying.
        is_locked: whether the cluster demands a token.
    """
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", str(error))
    if len(versions) == 2:
        theirs, mine = (f"Ray {ray} on Python {python}" for ray, python in versions)
        return f"the cluster at {address} runs {theirs}, this process {mine}; both must be the same"
    if is_locked and isinstance(error, ConnectionError):
        needed = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN to that of the cluster"
        return f"the cluster at {address} refuses the token of this process; {needed}"
    return f"no Ray cluster answers at {address}: {first_line(error)}; start one with `ray start --head`"


def first_line(error: BaseException) -> str:
    """Return the first line of a message, or the kind of an error without one."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


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


def _question(address: str) -> bytes:
    """Return a call without arguments as two frames; names that HTTP/2 numbers are given by their number."""
    named = {b"te": b"trailers", b"content-type": b"application/grpc"}
    # POST, http, :path (4) and :authority (1) as literals that are not remembered
    head = b"\x83\x86\x04" + _text(_PATH) + b"\x01" + _text(address.encode())
    head += b"".join(b"\x00" + _text(name) + _text(value) for name, value in named.items())
    return _frame(_HEADERS, _END_HEADERS, 1, head) + _frame(_DATA, _END_STREAM, 1, bytes(5))


def _text(value: bytes) -> bytes:
    assert len(value) < 127  # longer ones have another form
    return bytes([len(value)]) + value


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body
