# %% [markdown]
# # From a CSV to recommendations
#
# A log and a catalogue of a small made-up shop, written as CSV; then read, looked at, learned from, and asked. Seconds on any machine.

# %%
import recsys
from recsys.data.synthetic.shop import make_shop

shop = make_shop(users=300, items=200, seed=1)
shop.events.write_csv("events.csv")
shop.items.write_csv("items.csv")
shop.events.head(3)

# %% [markdown]
# ## Read
#
# Columns are named as they are called in the file. A log shows what was understood.

# %%
log = recsys.read_interactions("events.csv", user="user_id", item="item_id", timestamp="timestamp")
log

# %%
catalog = recsys.read_catalog("items.csv", text=["title", "description", "category"])
catalog

# %% [markdown]
# ## Learn, and look how good it is
#
# Each user's last purchase is kept from training. `fast=True` learns what followed what, in a second; without it towers are trained too.

# %%
split = recsys.leave_last_out(log)
model = recsys.TwoTower(fast=True).fit(split.train, catalog, validation=split.validation)
recsys.evaluate(model, split.test, k=(5, 10, 20))

# %% [markdown]
# ## Ask
#
# One user or many is the same call. An answer is a polars frame; `with_titles` adds names.

# %%
retriever = model.retriever(log=log)
user = log.users.ids[0]
retriever.history(user).tail(3)

# %%
retriever.with_titles(retriever.recommend(user, k=5))

# %% [markdown]
# Somebody who was never seen, by a history of two items:

# %%
history = shop.items["item_id"].head(2).to_list()
retriever.with_titles(retriever.recommend(histories=[history], k=5))

# %% [markdown]
# ## Save
#
# A bundle is one folder with everything. `recsys serve first` answers from it over HTTP.

# %%
retriever.save("first")
recsys.load("first")
