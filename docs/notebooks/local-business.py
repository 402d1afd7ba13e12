# %% [markdown]
# # Local businesses: a place, a clock and a city
#
# Set `DOWNLOAD` to the folder of the Yelp Open Dataset (`yelp_academic_dataset_review.json`, `yelp_academic_dataset_business.json`). Without
# one, the notebook makes files of the same form up.

# %%
import json
from pathlib import Path

import polars as pl

import recsys
from recsys.data.synthetic.shop import make_shop

DOWNLOAD = None  # Path("yelp")
if DOWNLOAD is None:
    DOWNLOAD = Path("download")
    DOWNLOAD.mkdir(exist_ok=True)
    shop = make_shop(users=200, items=120, seed=14)
    when = pl.from_epoch("timestamp", time_unit="s").dt.strftime("%Y-%m-%d %H:%M:%S")
    with open(DOWNLOAD / "yelp_academic_dataset_review.json", "w") as file:
        for user, item, date in shop.events.select("user_id", "item_id", when).iter_rows():
            file.write(
                json.dumps({"review_id": "r", "user_id": user, "business_id": item, "stars": 4.0, "date": date}) + "\n"
            )
    with open(DOWNLOAD / "yelp_academic_dataset_business.json", "w") as file:
        for i, (item, name, kind) in enumerate(shop.items.select("item_id", "title", "category").iter_rows()):
            city = ("Tampa", "Tucson")[i % 2]
            row = {"business_id": item, "name": name, "categories": kind, "city": city, "is_open": int(i % 10 > 0)}
            file.write(json.dumps(row) + "\n")

# %%
prepared = recsys.prepare("yelp", DOWNLOAD, "places", overwrite=True)
print(prepared)

# %% [markdown]
# ## Judge by the clock
#
# Reviews have real times. One cut in time asks what a service is asked: learn from all that was known at noon, and say what people will
# visit afterwards. Leave-last-out learns from other people's tomorrow, and flatters.

# %%
log = recsys.read_interactions("places/interactions.parquet")
catalog = recsys.read_catalog("places/items.parquet", text=["title", "categories"])
cut = recsys.time_split(log)
models = [recsys.TwoTower(fast=True).fit(cut.train, catalog, validation=cut.validation)]
models += [one.fit(cut.train, catalog) for one in (recsys.Popularity(), recsys.Popularity(days=90), recsys.ALS(16))]
recsys.compare(models, cut.test, k=10)

# %% [markdown]
# ## Only here, and only what is open
#
# A list of places in another town is of no use. A predicate over the catalogue holds for every index, and k places come back whenever
# the town has k.

# %%
retriever = models[0].retriever(log=log)
retriever.with_titles(retriever.recommend(log.users.ids[7], k=5, where='city == "Tampa" and is_open == 1'))

# %% [markdown]
# As a standing rule it need not be asked for each time:

# %%
rules = recsys.Rules.of({"exclude": [{"where": "is_open == 0"}], "cap": [{"column": "categories", "at_most": 2}]})
retriever.with_titles(retriever.recommend(log.users.ids[7], k=5, rules=rules))
