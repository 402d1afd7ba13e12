# %% [markdown]
# # Beauty products: short histories, long texts
#
# Set `DOWNLOAD` to the folder of Amazon reviews 2014 (`reviews_Beauty_5.json.gz`, `meta_Beauty.json.gz`). Without one, the notebook makes
# files of the same form up.

# %%
import gzip
import json
from pathlib import Path

import polars as pl

import recsys
from recsys.data.synthetic.shop import make_shop

DOWNLOAD = None  # Path("amazon-beauty")
if DOWNLOAD is None:
    DOWNLOAD = Path("download")
    DOWNLOAD.mkdir(exist_ok=True)
    shop = make_shop(users=150, items=120, seed=13)
    with gzip.open(DOWNLOAD / "reviews_Beauty_5.json.gz", "wt") as file:
        for user, item, time in shop.events.select("user_id", "item_id", "timestamp").iter_rows():
            row = {"reviewerID": user, "asin": item, "overall": 5.0, "unixReviewTime": time // 86400 * 86400}
            file.write(json.dumps(row) + "\n")
    with gzip.open(DOWNLOAD / "meta_Beauty.json.gz", "wt") as file:
        for item, title, text, kind in shop.items.select("item_id", "title", "description", "category").iter_rows():
            file.write(repr({"asin": item, "title": title, "description": text, "categories": [["Beauty", kind]]}) + "\n")

# %%
prepared = recsys.prepare("amazon-2014", DOWNLOAD, "beauty", overwrite=True)
print(prepared)

# %% [markdown]
# ## Days are no times
#
# Reviews are dated by day, and many people review several products on one. The order within a day is unknown, and published figures
# of this set use the order of the file. Say which one yours is of.

# %%
log = recsys.read_interactions("beauty/interactions.parquet")
catalog = recsys.read_catalog("beauty/items.parquet", text=["title", "categories"])
log

# %% [markdown]
# ## Texts tell
#
# Most people have four or five events: ids alone have little to learn from, words and a pretrained encoder know the products already.
# Here towers learn words for a few epochs; `recsys fit` uses all-MiniLM-L6-v2 beside them, and a longer training.

# %%
split = recsys.leave_last_out(log)
training = recsys.Training(epochs=2, batch_tokens=512, learning_rate=5e-3, device="cpu")
words = recsys.TwoTower(encoder=None, word_features="on", use_ids=False, dim=16, max_length=20)
words.fit(split.train, catalog, validation=split.validation, training=training)
recsys.compare([words, recsys.Popularity().fit(split.train)], split.test, k=10)

# %% [markdown]
# ## Products of tomorrow
#
# A product that nobody has bought is found by its text from the first minute.

# %%
retriever = words.retriever(log=log, index="exact")
known = catalog.columns.head(1).select("title", "categories")
retriever.add_items(known.with_columns(item_id=pl.lit("NEW-1")))
retriever.similar_items("NEW-1", k=3)
