"""Small files that look like those of public data sets, as they are published."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def lines(*rows: str, ends: str = "\n") -> str:
    return ends.join([*rows, ""])


def ml_100k(into: Path) -> None:
    (into / "u.data").write_text(lines("196\t242\t3\t881250949", "186\t1\t3\t891717742", "196\t1\t4\t881250940"))
    flags = "|".join("1" if place in (3, 5) else "0" for place in range(19))
    odd = f"1|Toy Story (1995)|01-Jan-1995||http://imdb|{flags}"
    plain = f"242|Kolyá (1996)|24-Jan-1997||http://imdb|{'|'.join('1' if place == 0 else '0' for place in range(19))}"
    (into / "u.item").write_bytes(lines(odd, plain).encode("latin-1"))
    (into / "u.user").write_text(lines("196|24|M|writer|T8H1N", "186|53|F|other|94043"))


def ml_1m(into: Path) -> None:
    (into / "ratings.dat").write_text(lines("1::1193::5::978300760", "1::661::3::978300760", "2::1193::4::978298413"))
    (into / "movies.dat").write_bytes(lines("1193::Amélie (1975)::Drama", "661::A :: B (1996)::Musical").encode("latin-1"))
    (into / "users.dat").write_text(lines("1::F::1::10::48067", "2::M::56::16::70072"))


def ml_latest(into: Path) -> None:
    ratings = ("userId,movieId,rating,timestamp", "1,1,4.0,964982703", "1,3,0.5,964981247", "2,3,5.0,1537799250")
    (into / "ratings.csv").write_bytes(lines(*ratings, ends="\r\n").encode())
    movies = ("movieId,title,genres", '3,"American President, The (1995)",Drama', '1,"A ""quoted"" one",(no genres listed)')
    (into / "movies.csv").write_bytes(lines(*movies, ends="\r\n").encode())


def amazon_2014(into: Path) -> None:
    reviews = [
        {"reviewerID": "A1", "asin": "B001", "overall": 5.0, "reviewText": "Nice", "unixReviewTime": 1393545600},
        {"reviewerID": "A1", "asin": "7806397051", "overall": 1.0, "unixReviewTime": 1393545600},
        {"reviewerID": "A2", "asin": "B001", "overall": 4.0, "unixReviewTime": 1355443200},
    ]
    packed(into / "reviews_Beauty_5.json.gz", *map(json.dumps, reviews))
    meta: list[dict[str, Any]] = [
        {"asin": "B001", "title": "Soap &amp; 'Water'", "categories": [["Beauty", "Bath"], ["Gifts"]], "price": 3.5},
        {"asin": "7806397051", "description": "a\nb", "categories": [["Beauty"]], "related": {"also": ["x"]}},
    ]
    packed(into / "meta_Beauty.json.gz", *map(repr, meta))


def amazon_2018(into: Path) -> None:
    packed(into / "All_Beauty.csv.gz", "B001,A1,5.0,1393545600", "B001,A2,4.0,1355443200", "0545,A1,4.0,1355443200")
    meta: list[dict[str, Any]] = [
        {
            "asin": "B001",
            "title": "<b>Soap</b>\n bar",
            "category": ["Beauty", "Bath &amp; Shower"],
            "description": ["a", "b"],
        },
        {"asin": "B001", "title": "again"},
        {"asin": "0545", "title": "var aPageStart = (new Date()).getTime();", "brand": "Acme"},
    ]
    packed(into / "meta_All_Beauty.json.gz", *map(json.dumps, meta))


def amazon_2023(into: Path) -> None:
    reviews = [
        {"user_id": "AG", "asin": "B1", "parent_asin": "P1", "rating": 5.0, "title": "wow", "timestamp": 1588687728923},
        {"user_id": "AG", "asin": "B2", "parent_asin": "P1", "rating": 4.0, "timestamp": 1588687728923},
    ]
    packed(into / "All_Beauty.jsonl.gz", *map(json.dumps, reviews))
    meta = {"parent_asin": "P1", "title": "Comb", "store": None, "features": ["a", "b"], "categories": [], "price": 9.99}
    packed(into / "meta_All_Beauty.jsonl.gz", json.dumps(meta))


def yelp(into: Path) -> None:
    rows = [
        {
            "review_id": "r",
            "user_id": "u1",
            "business_id": "b1",
            "stars": 4.0,
            "text": "a\nb",
            "date": "2018-07-07 22:09:11",
        },
        {"review_id": "s", "user_id": "u2", "business_id": "b1", "stars": 2.0, "date": "2016-05-28"},
        {"review_id": "t", "user_id": "u2", "business_id": "b1", "stars": 2.0, "date": "someday"},
    ]
    (into / "yelp_academic_dataset_review.json").write_text(lines(*map(json.dumps, rows)))
    business = {"business_id": "b1", "name": "Café", "categories": "Cafes, Food", "city": "Tampa", "is_open": 0}
    (into / "yelp_academic_dataset_business.json").write_text(lines(json.dumps(business)))


def steam(into: Path) -> None:
    libraries = [
        {"user_id": "js41637", "items_count": 2, "items": [
            {"item_id": "10", "item_name": "Counter-Strike", "playtime_forever": 6, "playtime_2weeks": 0},
            {"item_id": "20", "item_name": "Don't", "playtime_forever": 0, "playtime_2weeks": 0}]},
        {"user_id": "7656", "items_count": 0, "items": []},
    ]  # fmt: skip
    packed(into / "australian_users_items.json.gz", *map(repr, libraries))
    games = [{"id": "10", "app_name": "Counter-Strike", "genres": ["Action"], "price": "Free"}, {"app_name": "no id"}]
    packed(into / "steam_games.json.gz", *map(repr, games))


def steam_reviews(into: Path) -> None:
    rows = [
        {"username": "Chaos", "hours": 0.1, "product_id": "725280", "date": "2017-12-17", "text": "it's"},
        {"username": "Ariman1", "product_id": "328100", "date": "2017-08-02"},
    ]
    packed(into / "steam_reviews.json.gz", *map(repr, rows))


def goodbooks(into: Path) -> None:
    (into / "ratings.csv").write_text(lines("user_id,book_id,rating", "2,4081,4", "1,258,5", "2,258,5"))
    books = ("book_id,authors,original_publication_year,title,language_code", '258,"Ann, B.",-750.0,"The ""X""",eng')
    (into / "books.csv").write_text(lines(*books, "4081,Zoë,2008.0,Y,"))


def lastfm(into: Path) -> None:
    one, two = "00000c289a1829a808ac09c00daf10bc3c4e223b", "ffffffff9a1829a808ac09c00daf10bc3c4e223b"
    rows = (f"{one}\t3bd73256\tbetty blowtorch\t2137", f'{one}\t\t"the" band\t5', f"{two}\t3bd73256\t\t4")
    (into / "usersha1-artmbid-artname-plays.tsv").write_text(lines(*rows, "sep 20, 2008\tx\ty\t1", f"{two}\tbroken"))
    (into / "usersha1-profile.tsv").write_text(lines(f"{one}\tf\t22\tGermany\tFeb 1, 2007"))


def online_retail(into: Path) -> None:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
    rows = (
        '536365,85123A,"HOLDER, £ SET",6,12/1/2010 8:26,2.55,17850,United Kingdom',
        "536366,85123A,?,6,12/13/10 8:28,2.55,17850.0,United Kingdom",
        "536367,85123A,\"HOLDER, £ SET\",2,12/1/2010 9:00,2.55,13047,United Kingdom",
        "C536379,22632,HAND WARMER,-1,12/1/2010 9:41,27.5,14527,United Kingdom",
        "536380,22961,JAM,1,12/1/2010 9:45,1.45,,United Kingdom",
        "536381,POST,POSTAGE,1,12/1/2010 9:45,18,12583,France",
    )  # fmt: skip
    (into / "data.csv").write_bytes(lines(header, *rows).encode("latin-1"))


def mind(into: Path) -> None:
    rows = (
        "1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN3-1 N4-0",
        "2\tU2\t11/12/2019 6:11:30 PM\t\tN3-0 N5-1",
        "3\tU1\t11/13/2019 1:00:00 PM\tN1 N2\tN5-1 N6-1",
    )
    (into / "behaviors.tsv").write_text(lines(*rows))
    news = [f'N{place}\tsports\tgolf\tA "quoted" title {place}\t\thttp\t[]\t[]' for place in range(1, 7)]
    (into / "news.tsv").write_text(lines(*news))


def retailrocket(into: Path) -> None:
    events = ("timestamp,visitorid,event,itemid,transactionid", "1433221332117,257597,view,355908,")
    more = ("1433221337106,257597,transaction,355908,4000", "1433221337106,257597,addtocart,355908,")
    (into / "events.csv").write_text(lines(*events, *more))
    header = "timestamp,itemid,property,value"
    first = ("1435460400000,355908,categoryid,1338", "1435460400000,355908,888,1116713 960601", "1,355908,5,n1.0")
    (into / "item_properties_part1.csv").write_text(lines(header, *first))
    second = ("1433646000000,355908,categoryid,9", "1435460400000,355908,790,n552.000", "1435460400000,7,available,0")
    (into / "item_properties_part2.csv").write_text(lines(header, *second))


def hm(into: Path) -> None:
    header = "t_dat,customer_id,article_id,price,sales_channel_id"
    row = "2018-09-20,000058a12d,0663713001,0.0508,2"
    (into / "transactions_train.csv").write_text(lines(header, row, row, "2018-09-21,00007d2de8,0541518023,0.03,1"))
    articles = "article_id,prod_name,product_type_name,product_group_name,colour_group_name,department_name,detail_desc"
    (into / "articles.csv").write_text(lines(articles, '0663713001,Strap,Vest,Upper,Black,Jersey,"Soft,\nwarm"'))
    customers = ("customer_id,FN,Active,club_member_status,fashion_news_frequency,age", "000058a12d,,,ACTIVE,NONE,49")
    (into / "customers.csv").write_text(lines(*customers))


def packed(file: Path, *rows: str) -> None:
    with gzip.open(file, "wt", encoding="utf-8") as stream:
        stream.write(lines(*rows))


LOOK_ALIKES: dict[str, Callable[[Path], None]] = {
    "amazon-2014": amazon_2014, "amazon-2018": amazon_2018, "amazon-2023": amazon_2023, "goodbooks-10k": goodbooks,
    "hm": hm, "lastfm-360k": lastfm, "mind": mind, "ml-100k": ml_100k, "ml-1m": ml_1m, "ml-latest": ml_latest,
    "online-retail": online_retail, "retailrocket": retailrocket, "steam": steam, "steam-reviews": steam_reviews,
    "yelp": yelp,
}  # fmt: skip
EDITIONS = ["ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small"]
