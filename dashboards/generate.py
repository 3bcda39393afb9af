#!/usr/bin/env python3
"""Writes grafana/*.json from boards/*.py.

    dashboards/generate.py            write
    dashboards/generate.py --check    write nothing; fail if a file differs from what would be written
"""

import json
import sys
from pathlib import Path

from boards import control, journal, lineage, overview, query, slo, storage

FOLDER = Path(__file__).resolve().parent / "grafana"
BOARDS = [overview.board, journal.board, storage.board, query.board, slo.board, lineage.board, control.board]


def texts():
    """What the files hold, by name."""
    return {board.uid + ".json": json.dumps(board.json(), indent=2, ensure_ascii=False) + "\n" for board in BOARDS}


def main():
    wanted = texts()
    there = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}
    if "--check" in sys.argv[1:]:
        wrong = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        for name in wrong:
            print(f"dashboards/grafana/{name} is not what dashboards/generate.py writes", file=sys.stderr)
        return 1 if wrong else 0
    FOLDER.mkdir(exist_ok=True)
    for name in there.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
