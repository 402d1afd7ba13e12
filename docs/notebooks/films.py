# %% [markdown]
# # Films: ratings, and what one likes
#
# Set `DOWNLOAD` to the folder of MovieLens as published (`ratings.csv`, `movies.csv`). Without one, the notebook makes a small
# log of the same form up, so that it runs anywhere; its figures then say nothing about films.

# %%
from pathlib import Path

import polars as pl

import recsys
from recsys.data.synthetic.shop import make_shop

DOWNLOAD = None  # Path("ml-latest-small")
if DOWNLOAD is None:
    DOWNLOAD = Path("download")
    DOWNLOAD.mkdir(exist_ok=True)
    shop = make_shop(users=200, items=120, seed=11)
    stars = (pl.col("item_id").hash(seed=1) % 10 + 1) / 2
    who, film = pl.col("user_id").str.slice(1).cast(pl.Int64), pl.col("item_id").str.slice(1).cast(pl.Int64)
    shop.events.select(userId=who, movieId=film, rating=stars, timestamp="timestamp").write_csv(DOWNLOAD / "ratings.csv")
    shop.items.select(movieId=film, title="title", genres="category").write_csv(DOWNLOAD / "movies.csv")

# %% [markdown]
# ## From the published files to a log
#
# A recipe knows the files, their units and their quirks, counts every row that it leaves out, and says how to read the result.

# %%
prepared = recsys.prepare("ml-latest", DOWNLOAD, "films", overwrite=True)
print(prepared)

# %% [markdown]
# ## A rating is no choice
#
# Two stars were a film that was seen and not liked. To recommend what people will *like*, train on what they liked; `clean` says what
# that leaves.

# %%
ratings = recsys.read_interactions("films/interactions.parquet", weight="rating")
log, waterfall = recsys.clean(ratings, recsys.CleaningRules(min_weight=4.0))
print(waterfall)
catalog = recsys.read_catalog("films/items.parquet", text=["title", "genres"])
split = recsys.leave_last_out(log)
log

# %%
models = [recsys.TwoTower(fast=True).fit(split.train, catalog, validation=split.validation)]
models += [one.fit(split.train, catalog) for one in (recsys.ItemKNN(), recsys.Popularity())]
recsys.compare(models, split.test, k=10)

# %% [markdown]
# On films the *order* of events is worth a lot on MovieLens, more than it will be to you: people rated what a page showed them, one
# after the other. A log of what was watched shows less of it.
#
# ## Recommendations, of one genre, with reasons

# %%
retriever = models[0].retriever(log=log)
user = log.users.ids[3]
genre = catalog.columns["genres"][0]
best = retriever.recommend(user, k=5, where=f'genres == "{genre}"')
retriever.with_titles(best)

# %%
retriever.explain(user, best["item_id"][0]).head(3)

# %% [markdown]
# To train towers that read titles and genres: `recsys fit films/interactions.parquet --weight rating --catalog films/items.parquet
# --text title genres --out runs/films`.
