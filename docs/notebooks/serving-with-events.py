# %% [markdown]
# # Serving: the next answer knows the last click
#
# A bundle becomes a server, the client asks it, reports an event, and asks again.

# %%
import socket
import subprocess
import sys
import time

import recsys
from recsys.data.synthetic.shop import make_shop

made = make_shop(users=200, items=120, seed=15)
log = recsys.read_interactions(made.events)
catalog = recsys.read_catalog(made.items, text=["title", "category"])
recsys.TwoTower(fast=True).fit(log, catalog).retriever(log=log).save("bundle")

# %% [markdown]
# ## Two keys, and the server
#
# Closed by default. The shop may ask, the collector of clicks may report, and neither may do more. A key is printed once, and only its
# digest is kept. In production the database is PostgreSQL, and the server stands behind a proxy with TLS ([Deploy](../serving.md)).


# %%
def key_for(role: str) -> str:
    """A new key."""
    words = [sys.executable, "-m", "recsys", "keys", "create", "--db", "sqlite:///events.db", "--role", role]
    made = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return next(word for word in made.split() if word.startswith("rk_"))


keys = {role: key_for(role) for role in ("read", "events")}
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
server = subprocess.Popen(
    [sys.executable, "-m", "recsys", "serve", "bundle", "--db", "sqlite:///events.db", "--port", str(port)],
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
)

# %%
shop, collector = (recsys.Client(f"http://127.0.0.1:{port}", keys[role]) for role in ("read", "events"))
for _ in range(600):
    try:
        if shop.is_ready():
            break
    except recsys.RecsysError:  # it does not listen yet
        pass
    time.sleep(0.1)

# %% [markdown]
# ## Ask, report, ask again
#
# What was shown and what was chosen are both events. The answer to `send_event` comes when the event is on disk.

# %%
user = log.users.ids[2]
before = shop.recommend(user, k=5)
before.to_frame()

# %%
chosen = before.items[0].item_id
collector.send_events(before.impressions(user))
collector.send_event(user_id=user, item_id=chosen)
after = shop.recommend(user, k=5)
print(after.fresh_events, "fresh event counted in this answer")
after.to_frame()

# %% [markdown]
# What was chosen is history now, and no longer recommended:

# %%
assert chosen not in [one.item_id for one in after.items]
shop.close()
collector.close()
server.terminate()
server.wait(60)
