# %% [markdown]
# # Retail baskets: several items at once, and again and again
#
# Set `DOWNLOAD` to the folder of *Online Retail* (UCI) as published. Without one, the notebook makes invoices of the same form up, with
# cancelled ones and with customers that are missing.

# %%
from pathlib import Path

import polars as pl

import recsys
from recsys.data.synthetic.shop import make_shop

DOWNLOAD = None  # Path("online-retail")
if DOWNLOAD is None:
    DOWNLOAD = Path("download")
    DOWNLOAD.mkdir(exist_ok=True)
    shop = make_shop(users=200, items=120, seed=12)
    sold = shop.events.join(shop.items.select("item_id", "title", "price"), on="item_id").with_row_index("row")
    sold = pl.concat([sold, sold.sample(fraction=0.3, seed=0)])  # people buy again
    number = pl.col("user_id").rank("dense").cast(pl.Int64)
    day = pl.from_epoch("timestamp", time_unit="s").dt.truncate("7d").dt.strftime("%m/%d/%Y %H:%M")
    invoice = pl.when(pl.col("row") % 50 == 0).then(pl.lit("C")).otherwise(pl.lit("")) + (
        600_000 + pl.col("row") // 3
    ).cast(pl.String)
    sold.select(
        InvoiceNo=invoice,
        StockCode=pl.col("item_id").str.slice(1),
        Description="title",
        Quantity=pl.when(pl.col("row") % 50 == 0).then(-1).otherwise(2),
        InvoiceDate=day,
        UnitPrice="price",
        CustomerID=pl.when(pl.col("row") % 40 == 1).then(None).otherwise(number),
        Country=pl.lit("France"),
    ).write_csv(DOWNLOAD / "data.csv")

# %% [markdown]
# ## What is left out, and why
#
# Cancelled invoices, rows without a customer, postage: each reason is counted.

# %%
prepared = recsys.prepare("online-retail", DOWNLOAD, "baskets", overwrite=True)
print(prepared)

# %% [markdown]
# ## A basket has no order
#
# All rows of an invoice have one time. Which of them is "the last" is an accident of the file, and a model that learned the file's
# order would look better than it is. `ties="item"` orders them by item instead, the same in every copy of the log; compare both before
# you believe a figure.

# %%
events = "baskets/interactions.parquet"
log = recsys.read_interactions(events, ties="item")
found = {}
for ties in ("file", "item"):
    split = recsys.leave_last_out(recsys.read_interactions(events, ties=ties))
    model = recsys.TwoTower(fast=True).fit(split.train, validation=split.validation)
    found[ties] = recsys.evaluate(model, split.test, k=10)["recall@10"]
pl.DataFrame(found)

# %% [markdown]
# ## People buy again
#
# Seen items are left out of lists by default. Where people buy again, that hides what they want most: `filter_seen=False`.

# %%
split = recsys.leave_last_out(log)
model = recsys.TwoTower(fast=True).fit(split.train, validation=split.validation)
pl.DataFrame(
    {
        "what": ["new items alone", "items bought before too"],
        "recall@10": [recsys.evaluate(model, split.test, k=10, filter_seen=seen)["recall@10"] for seen in (True, False)],
    }
)

# %%
retriever = model.retriever(log=log)
retriever.recommend(log.users.ids[0], k=5, filter_seen=False)

# %% [markdown]
# ## What goes with this item?
#
# The transition memory knows what came next; asked for one item, it is the classic "bought together".

# %%
retriever.similar_items(log.items.ids[0], k=5)
