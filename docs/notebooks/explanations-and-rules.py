# %% [markdown]
# # Explanations and rules
#
# Why is an item recommended, and how does the business have its say?

# %%
import recsys
from recsys.data.synthetic.shop import make_shop

shop = make_shop(users=300, items=200, seed=3)
log = recsys.read_interactions(shop.events)
catalog = recsys.read_catalog(shop.items, text=["title", "category"])
retriever = recsys.TwoTower(fast=True).fit(log, catalog).retriever(log=log)
user = log.users.ids[5]
best = retriever.recommend(user, k=5)
retriever.with_titles(best)

# %% [markdown]
# ## Because of which events?
#
# How much the score moves when one event of the history is left out.

# %%
retriever.explain(user, best["item_id"][0]).head(5)

# %% [markdown]
# ## Filters
#
# A predicate over the columns of the catalogue. It is parsed, never evaluated as Python, and k items come back whenever k are eligible.

# %%
retriever.with_titles(retriever.recommend(user, k=5, where="price < 20"))

# %% [markdown]
# ## Rules
#
# Standing rules are data: at most two of a brand, and one item pinned to the first place. `rule_effects` says which rule changed what.

# %%
pinned = shop.items["item_id"][7]
rules = recsys.Rules.of({"cap": [{"column": "brand", "at_most": 2}], "pin": [{"item": pinned, "position": 1}]})
retriever.with_titles(retriever.recommend(user, k=5, rules=rules))

# %%
retriever.rule_effects(user, k=5, rules=rules)
