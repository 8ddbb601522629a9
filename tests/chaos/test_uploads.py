"""Bombs and malformed files over HTTP: a refusal in words, no 5xx, no memory lost.

The parsers have property tests of their own; here the same kinds meet the running service.
"""

import io
import json
import struct
import zipfile
import zlib

PATIENCE = 30.0  # seconds an upload may take
BOMB = 192 << 20  # bytes that a bomb unpacks to
GROWTH = 128 << 20  # bytes the API may grow by while it refuses


def archive(*entries, how=zipfile.ZIP_DEFLATED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", how) as made:
        for name, content in entries:
            made.writestr(name, content)
    return file.getvalue()


def lying(content):
    """The archive, with sizes of a hundred bytes declared for every entry."""
    at = 0
    content = bytearray(content)
    while (at := content.find(b"PK\x01\x02", at)) >= 0:
        struct.pack_into("<I", content, at + 24, 100)
        at += 4
    return bytes(content)


def png(width, height):
    """A picture that says it is so large."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind, data):
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + pixels + chunk(b"IEND", b"")


ROW = b'{"text": "a", "image": "a.png"}\n'
HOW = {"deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


def zeros():
    return b"\0" * BOMB


def bomb(how):
    return lambda _: lying(archive(("rows.jsonl", zeros()), how=HOW[how]))


def image_bomb(how):
    return lambda _: lying(archive(("rows.jsonl", ROW), ("a.png", zeros()), how=HOW[how]))


def damaged(draw):
    """A good archive with some bytes changed."""
    good = bytearray(archive(("rows.jsonl", ROW), ("a.png", png(8, 8))))
    for _ in range(draw.randint(1, 8)):
        good[draw.randrange(len(good))] = draw.randrange(256)
    return bytes(good)


UPLOADS = {
    **{f"{how} bomb": bomb(how) for how in HOW},
    **{f"{how} image bomb": image_bomb(how) for how in HOW},
    "many entries": lambda _: archive(*((f"{number}/", b"") for number in range(20_000))),
    "pixels": lambda _: archive(("rows.jsonl", ROW), ("a.png", png(60_000, 60_000))),
    "missing pixels": lambda _: archive(("rows.jsonl", ROW), ("a.png", png(4000, 4000))),
    "deep row": lambda _: b"[" * 500_000 + b"]" * 500_000,
    "deep objects": lambda _: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "long row": lambda _: json.dumps({"text": "x" * (8 << 20)}).encode(),
    "long number": lambda _: b'{"text": ' + b"1" * 400_000 + b"}",
    "surrogates": lambda _: b'{"text": "\\ud800"}',
    "long path": lambda _: archive(("rows.jsonl", ROW), ("a" * 300 + ".png", b"")),
    "upwards": lambda _: archive(("rows.jsonl", ROW), ("../a.png", b"")),
    "nothing": lambda _: b"",
    **{f"damaged {number}": damaged for number in range(20)},
}


def test_no_upload_harms_the_api(world, ledger, draw, turns):
    api = world.process("api")
    before = api.memory_info().rss
    for name in turns(UPLOADS, each=12):
        content = UPLOADS[name](draw)
        kind = "application/zip" if content[:2] == b"PK" else "application/jsonl"
        answer = world.root.ask(
            "POST",
            "/v1/datasets",
            content=content,
            headers={"Content-Type": kind},
            timeout=PATIENCE,
        )
        refused = 400 <= answer.status_code < 500
        assert refused or name.startswith("damaged"), (name, answer.status_code, answer.text)
        assert api.memory_info().rss - before < GROWTH, name
    ledger.submit("quick")
    assert world.process("api").pid == api.pid
