"""`python -m app.openapi FILE` writes the API's OpenAPI document; `--check` compares instead."""

import argparse
import sys
from pathlib import Path

from app.api.document.openapi import text
from app.main import create_app
from app.settings import Settings


def main() -> int:
    """Write or compare; 1 where the file is not what the code says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    given = parser.parse_args()
    document = text(create_app(Settings()))
    if not given.check:
        given.file.write_text(document)
    elif not given.file.exists() or given.file.read_text() != document:
        sys.stderr.write(f"{given.file} is not what the code says; run `make openapi`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
