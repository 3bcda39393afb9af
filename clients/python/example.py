"""Five minutes with Vecraft DB: needs a node (`make serve`) and this client (`pip install ./clients/python`).

    python clients/python/example.py [host:port]
"""
import sys

from vecraft import Client

NOTES = [
    ("moon", [0.9, 0.1, 0.0], {"lang": "en", "stars": 5}),
    ("mond", [0.8, 0.2, 0.1], {"lang": "de", "stars": 4}),
    ("tide", [0.4, 0.8, 0.1], {"lang": "en", "stars": 3}),
    ("bread", [0.0, 0.1, 0.9], {"lang": "en"}),
]

with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7400") as db:
    db.create("example-notes", dimension=3, indexes={"lang": "keyword", "stars": "integer"})
    write = db.upsert("example-notes", NOTES)
    print(f"{len(NOTES)} notes written: journal {write.partition}, offset {write.offset}")

    print("Near the moon:")
    for hit in db.search("example-notes", [1, 0, 0], limit=3):
        print(f"  {hit.distance:.3f}  {hit.id}  {hit.payload}")

    print("In English, three stars or more:")
    good = {"must": [{"key": "lang", "match": {"value": "en"}}, {"key": "stars", "range": {"gte": 3}}]}
    for hit in db.search("example-notes", [1, 0, 0], filter=good):
        print(f"  {hit.distance:.3f}  {hit.id}  {hit.payload}")

    entry = db.lineage("example-notes", "moon")[-1]
    print(f"'moon' was written by request {entry.request_id}, trace {entry.trace_id}")
    db.drop("example-notes")
