# %% [markdown]
# # Cold items by text
#
# A tenth of the items is taken out of the log altogether. They have a text, and nothing else: can they be found?
#
# Towers are trained here on words alone, for a few epochs, so that it takes seconds; with a pretrained encoder (`encoder="all-MiniLM-L6-v2"`) it is better and
# slower.

# %%
import recsys
from recsys.data.synthetic.shop import make_shop

shop = make_shop(users=150, items=150, seed=5)
log = recsys.read_interactions(shop.events)
catalog = recsys.read_catalog(shop.items, text=["title", "category"])
cold = recsys.item_split(log)
print(len(cold.cold_rows), "items are cold")

# %%
model = recsys.TwoTower(encoder=None, word_features="on", dim=16, max_length=10)
training = recsys.Training(epochs=4, batch_tokens=256, learning_rate=5e-3, device="cpu")
model.fit(cold.train, catalog, validation=cold.validation, training=training)
recsys.evaluate(model, cold.cold, k=(5, 10), eligible=cold.cold_rows)

# %% [markdown]
# By chance, recall@5 would be 5 of the cold items. A popularity list cannot do better than chance here:

# %%
recsys.evaluate(recsys.Popularity().fit(cold.train), cold.cold, k=(5, 10), eligible=cold.cold_rows)

# %% [markdown]
# ## A new item on a running retriever
#
# Text and columns are enough; nothing is trained.

# %%
retriever = model.retriever(log=log, index="exact")
new = shop.items.head(1).with_columns(item_id=shop.items["item_id"].head(1) + "-second-edition")
retriever.add_items(new)
retriever.similar_items(new["item_id"][0], k=4)
