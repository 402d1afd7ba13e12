# %% [markdown]
# # Honest evaluation: why your recall is wrong
#
# Three ways to get a figure that nobody will see in production, and what to do instead.

# %%
import numpy as np
import polars as pl

import recsys
from recsys.data.synthetic.shop import make_shop

shop = make_shop(users=600, items=300, seed=2)
log = recsys.read_interactions(shop.events)
split = recsys.leave_last_out(log)
model = recsys.TwoTower(fast=True).fit(split.train, validation=split.validation)
honest = recsys.evaluate(model, split.test, k=10)
honest

# %% [markdown]
# ## 1. Ranking the target among a hundred sampled items
#
# Many papers do. The task is easier by as much as the catalogue is larger than the sample, and models even change places.

# %%
random = np.random.default_rng(0)
lists = model.retriever(log=split.train).recommend(log.users.ids.to_list(), k=len(log.items), unknown="skip")
places = {(user, item): rank for user, item, rank in lists.select("user_id", "item_id", "rank").iter_rows()}
hits = []
test = split.test
for user_row, targets in zip(test.user_rows, test.targets, strict=True):
    user, target = log.users.ids[int(user_row)], log.items.ids[int(targets[0])]
    others = random.choice(log.items.ids.to_list(), 99, replace=False)
    mine = places.get((user, target), len(log.items))
    hits.append(sum(places.get((user, other), len(log.items)) < mine for other in others) < 10)
pl.DataFrame({"all items ranked": [honest["recall@10"]], "99 sampled items": [float(np.mean(hits))]})

# %% [markdown]
# ## 2. Training on what is to be found
#
# It is easily done: fit on the whole log, evaluate on a part of it. Here it is an error.

# %%
cheat = recsys.TwoTower(fast=True).fit(log)
try:
    recsys.evaluate(cheat, split.test, k=10)
except recsys.RecsysError as error:
    print(type(error).__name__, "-", error)

# %% [markdown]
# ## 3. Believing a difference
#
# A mean over 600 users is a mean over *these* users. `compare` tests each pair on the same users.

# %%
models = [model, recsys.ItemKNN().fit(split.train), recsys.Popularity().fit(split.train)]
recsys.compare(models, split.test, k=10)

# %% [markdown]
# ## One more: the future in the training data
#
# Leave-last-out trains on other people's events that are later than your target. One cut in time does not, and is the harder and the truer task.

# %%
cut = recsys.time_split(log)
later = recsys.TwoTower(fast=True).fit(cut.train, validation=cut.validation)
recsys.evaluate(later, cut.test, k=10)
