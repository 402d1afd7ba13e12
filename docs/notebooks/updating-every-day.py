# %% [markdown]
# # Updating every day
#
# Two kinds of new: new *events* need no training at all, since a user is nothing but a history; what items *follow* others changes slowly, and is
# learned again from time to time.

# %%
import polars as pl

import recsys
from recsys.data.synthetic.shop import make_shop

shop = make_shop(users=400, items=200, seed=4)
days = shop.events.with_columns(day=pl.from_epoch("timestamp").dt.date())
cut = days["day"].sort()[int(0.9 * days.height)]
old, new = days.filter(pl.col("day") < cut).drop("day"), days.filter(pl.col("day") >= cut).drop("day")
log = recsys.read_interactions(old)
retriever = recsys.TwoTower(fast=True).fit(log).retriever(log=log)
log

# %% [markdown]
# ## A click counts at once
#
# Twice the same person: as the bundle knows them, and with one more event. The server does this by itself for every event that it takes.

# %%
known = set(log.users.ids.to_list())
user = next(one for one in new["user_id"] if one in known)
history = retriever.history(user)["item_id"].to_list()
clicked = new.filter(pl.col("user_id") == user)["item_id"][0]
retriever.with_titles(retriever.recommend(histories=[history, [*history, clicked]], k=3))

# %% [markdown]
# ## How good is yesterday's model today?
#
# `recsys evaluate RUN --log new.parquet` asks this of a bundle. Here by hand: targets are what came after the cut.

# %%
later = new.join(old.select("user_id").unique(), on="user_id", how="semi")
lists = recsys.TwoTower(fast=True).fit(log).retriever(log=log).recommend(later["user_id"].unique().to_list(), k=10)
recsys.evaluate_frame(lists, later, history=log, k=10)

# %% [markdown]
# ## Then update
#
# `recsys update RUN new.parquet --out RUN2` learns from the new events, proves that the result is not worse, and only then saves it:
# see "Update every day" in the guides.
