"""Many clients who ask again at once: answers, and milliseconds of each answer, by status.

    python training/benchmarks/crowd.py PORT CLIENTS SECONDS < users.json

wrk tells percentiles of all answers together; in overload those of the accepted ones are what counts.
"""

from __future__ import annotations

import json
import random
import selectors
import socket
import sys
import time

import numpy as np

HEAD = "POST /v1/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


def requests_of(users: list[str]) -> list[bytes]:
    bodies = [json.dumps({"user": user, "k": 10}) for user in users]
    return [(HEAD % (len(body), body)).encode() for body in bodies]


def whole(answer: bytes) -> bool:
    """Whether an answer has come to its end."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return len(body) >= length


def crowd(port: int, clients: int, seconds: float, users: list[str]) -> dict[str, list[float]]:
    """Status → milliseconds of each answer."""
    asked, took, since = requests_of(users), dict[str, list[float]](), dict[socket.socket, float]()
    begun, draw = dict[socket.socket, bytes](), random.Random(0)  # noqa: S311 - a sample
    with selectors.DefaultSelector() as looking:
        for _ in range(clients):
            one = socket.create_connection(("127.0.0.1", port))
            one.setblocking(False)
            looking.register(one, selectors.EVENT_READ, one)
            since[one], begun[one] = time.perf_counter(), b""
            one.send(draw.choice(asked))
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for key, _ in looking.select(timeout=0.1):
                one = key.data
                begun[one] += one.recv(65536)
                if whole(begun[one]):
                    now = time.perf_counter()
                    took.setdefault(begun[one][9:12].decode(), []).append(1e3 * (now - since[one]))
                    since[one], begun[one] = now, b""
                    one.send(draw.choice(asked))
    return took


def main() -> None:
    port, clients, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    found = crowd(port, clients, seconds, json.load(sys.stdin))
    told = {status: [len(times), *np.percentile(times, [50, 99, 100]).round(1).tolist()] for status, times in found.items()}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
