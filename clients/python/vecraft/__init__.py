"""A thin client for Vecraft DB.

    from vecraft import Client
    db = Client("127.0.0.1:7400")
    db.create("notes", dimension=3)
    db.upsert("notes", [("a", [1, 0, 0], {"lang": "en"})])
    print(db.search("notes", [1, 0, 0], limit=3))
"""
from vecraft._stubs import load as _load

_load()

from vecraft.client import Client, Hit, Point, VecraftError  # noqa: E402  (it needs what was just loaded)

__all__ = ["Client", "Hit", "Point", "VecraftError"]
