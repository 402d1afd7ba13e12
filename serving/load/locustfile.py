"""Load like that of a shop: many questions, and an event after some of the answers.

``pip install locust``, then::

    RECSYS_KEY=rk_... RECSYS_USERS=users.txt \
        locust -f serving/load/locustfile.py --host http://127.0.0.1:8000 --headless -u 64 -r 16 -t 60s

``RECSYS_KEY`` is a key of the role admin (it asks and reports events); none for a server that was started with ``--open``.
``RECSYS_USERS`` is a file with one user id a line. The events are real: load a copy of the database, not the one in use.
"""

from __future__ import annotations

import os
import random
import uuid
from pathlib import Path

from locust import FastHttpUser, constant_throughput, task

KEY = os.environ.get("RECSYS_KEY", "")
USERS = Path(os.environ["RECSYS_USERS"]).read_text(encoding="utf-8").split("\n")
USERS = [user for user in USERS if user]


class Visitor(FastHttpUser):
    """Somebody who looks at recommendations at most twice a second, and now and then at one of the items."""

    wait_time = constant_throughput(2)
    default_headers = {"authorization": f"Bearer {KEY}"} if KEY else {}

    @task
    def look(self) -> None:
        """Ask for items, and view one of them after every tenth answer."""
        user = random.choice(USERS)  # noqa: S311 - guards nothing
        body = {"user": user, "k": 20, "fallback": "popular"}
        with self.client.post("/v1/recommend", json=body, catch_response=True) as response:
            if response.status_code == 429:
                response.success()  # refused in time is what an overloaded server should do
                return
            if not response.ok:
                response.failure(f"{response.status_code}: {response.text[:200]}")
                return
            answer = response.json()
        if answer["items"] and random.random() < 0.1:  # noqa: S311
            item = answer["items"][0]["item_id"]
            event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "event": "view",
                     "request_id": answer["request_id"]}  # fmt: skip
            self.client.post("/v1/events", json={"events": [event]})
