"""`python -m app.openapi FILE` writes the API's OpenAPI document; `--check` compares instead."""

import sys
from pathlib import Path

from app.api.openapi import text
from app.main import create_app
from app.settings import Settings


def main(arguments: list[str]) -> int:
    """Write or compare; 1 where the file is not what the code says."""
    *options, name = arguments
    file, document = Path(name), text(create_app(Settings()))
    if "--check" not in options:
        file.write_text(document)
    elif not file.exists() or file.read_text() != document:
        sys.stderr.write(f"{file} is not what the code says; run `make openapi`\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
