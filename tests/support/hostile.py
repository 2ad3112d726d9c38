"""Pictures and requests that nobody means well with, and edits that make more of them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

Named = tuple[str, bytes]

_RNG = np.random.default_rng(0)
NOISE = Image.fromarray(_RNG.integers(0, 256, (24, 30, 3), dtype=np.uint8))


def encode(image: Image.Image, format_: str, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def sound_pictures() -> list[bytes]:
    """One of each kind, for edits to begin with."""
    exif = Image.Exif()
    exif[0x0112] = 6
    grey16 = Image.fromarray(_RNG.integers(0, 65536, (24, 30), dtype=np.uint16))
    return [
        encode(NOISE, "JPEG", exif=exif),
        encode(NOISE, "JPEG", progressive=True),
        encode(NOISE.resize((300, 310)), "JPEG", quality=30),
        encode(NOISE.convert("CMYK"), "JPEG"),
        encode(NOISE, "PNG", exif=exif),
        encode(NOISE.quantize(16), "PNG", transparency=3),
        encode(grey16, "PNG"),
        encode(NOISE, "PNG", save_all=True, append_images=[NOISE.rotate(180)]),
        encode(NOISE, "WEBP", exif=exif),
        encode(NOISE.convert("RGBA"), "WEBP", lossless=True, save_all=True, append_images=[NOISE]),
    ]


def chunk(kind: bytes, data: bytes = b"", length: int | None = None, crc: int | None = None) -> bytes:
    """A chunk of a PNG file, true or not."""
    checksum = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data) if length is None else length) + kind + data + struct.pack(">I", checksum)


def png(
    *chunks: bytes, width: int = 30, height: int = 24, depth: int = 8, colour: int = 2, interlace: int = 0
) -> bytes:
    """A PNG file with a header and some chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunks)


def segment(marker: int, data: bytes = b"", length: int | None = None) -> bytes:
    """A segment of a JPEG file, true or not."""
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2 if length is None else length) + data


def bombs() -> Iterator[Named]:
    """Small files that claim, or unpack to, far more than is served."""
    end = chunk(b"IEND")
    zeros = zlib.compress(bytes(50_000_000), 9)
    pixels = chunk(b"IDAT", zlib.compress(bytes(24 * 91)))
    for width, height in ((2**31 - 1, 2**31 - 1), (100_000, 100_000), (7_072, 7_072), (50_000_001, 1)):
        yield f"png {width}x{height}", png(chunk(b"IDAT", zlib.compress(b"\0")), end, width=width, height=height)
    yield "png text", png(chunk(b"zTXt", b"a\0\0" + zeros), pixels, end)
    yield "png international text", png(chunk(b"iTXt", b"a\0\1\0\0\0" + zeros), pixels, end)
    yield "png profile", png(chunk(b"iCCP", b"a\0\0" + zeros), pixels, end)
    yield "png more pixels than it says", png(chunk(b"IDAT", zeros), end)
    jpeg = encode(NOISE, "JPEG", progressive=True)
    header = jpeg.index(b"\xff\xc2")
    for width, height in ((65_535, 65_535), (65_500, 65_500), (8_000, 7_000)):
        size = struct.pack(">HH", height, width)
        yield f"jpeg {width}x{height}", jpeg[: header + 5] + size + jpeg[header + 9 :]
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    yield "jpeg of a thousand scans", jpeg[:-2] + scan * 1000 + jpeg[-2:]
    canvas = struct.pack("<I", 16_382)[:3]
    yield "webp 16383x16383", b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X\x0a\0\0\0\0\0\0\0" + canvas + canvas


def strange_pictures() -> Iterator[Named]:
    """Files that break the rules of their format, or are of another one."""
    end, pixels = chunk(b"IEND"), chunk(b"IDAT", zlib.compress(bytes(24 * 91)))
    yield "png without pixels", png(end)
    yield "png without end", png(pixels)
    yield "png of no width", png(pixels, end, width=0)
    yield "png with a wrong checksum", png(chunk(b"IDAT", zlib.compress(bytes(24 * 91)), crc=1), end)
    yield "png with an endless chunk", png(chunk(b"IDAT", b"abc", length=2**32 - 1))
    yield "png with a palette too many", png(chunk(b"PLTE", bytes(800)), pixels, end)
    yield "png without its palette", png(pixels, end, colour=3)
    yield "png of a thousand headers", png(*[chunk(b"IHDR", bytes(13))] * 1000, pixels, end)
    yield "png of empty chunks", png(*[chunk(b"IDAT")] * 100_000, pixels, end)
    yield (
        "png animated for ever",
        png(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)), chunk(b"fcTL", bytes(26)), pixels, end),
    )
    for depth, colour, interlace in ((3, 2, 0), (8, 5, 0), (16, 3, 0), (8, 2, 7), (1, 0, 1), (16, 6, 1)):
        yield (
            f"png of depth {depth}, colour {colour}",
            png(pixels, end, depth=depth, colour=colour, interlace=interlace),
        )

    jpeg = encode(NOISE, "JPEG")
    body = jpeg[2:]
    for marker in (0xC1, 0xC3, 0xC5, 0xC9, 0xCA, 0xCB):
        yield f"jpeg coded as {marker:x}", jpeg.replace(b"\xff\xc0", bytes((0xFF, marker)))
    frame = jpeg.index(b"\xff\xc0")
    for place, name in ((4, "precision"), (5, "height"), (7, "width"), (9, "components"), (11, "sampling")):
        for value in (0, 1, 12, 255):
            edited = bytearray(jpeg)
            edited[frame + place] = value
            yield f"jpeg with {name} {value}", bytes(edited)
    for kind in (0xDB, 0xC4, 0xDD, 0xDA, 0xE0, 0xE2, 0xEE, 0xFE):
        for data, length in ((b"", None), (b"", 0), (b"", 1), (bytes(65_000), None), (b"abc", 65_535)):
            yield f"jpeg with segment {kind:x} of {len(data)}, {length}", jpeg[:2] + segment(kind, data, length) + body
    yield "jpeg of fill bytes", jpeg[:2] + b"\xff" * 1_000_000 + body
    yield "jpeg in a jpeg", jpeg[:2] + segment(0xE1, b"Exif\0\0" + jpeg) + body
    yield "jpeg with parts that are not there", jpeg[:2] + segment(0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 60) + body
    loop = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x69\x87\x04\0\x01\0\0\0\x08\0\0\0\x08\0\0\0"
    yield "jpeg with metadata that turn in a circle", jpeg[:2] + segment(0xE1, loop) + body
    for kind, value in ((3, 0), (3, 9), (3, 65_535), (2, 6), (5, 6), (12, 6), (255, 6)):
        tag = struct.pack("<HHII", 0x0112, kind, 1, value)
        exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + tag + bytes(4)
        yield f"jpeg turned by {value} of kind {kind}", jpeg[:2] + segment(0xE1, exif) + body
    yield "jpeg and a page", jpeg + b"<script>alert(1)</script>"

    webp = encode(NOISE, "WEBP", lossless=True)
    for size in (0, 1, 2**32 - 1):
        yield f"webp of {size} bytes", webp[:4] + struct.pack("<I", size) + webp[8:]
        yield f"webp with a chunk of {size} bytes", webp[:16] + struct.pack("<I", size) + webp[20:]
    yield "webp of nothing", webp[:12]
    for kind in (b"VP8 ", b"VP8L", b"VP8X", b"ANIM", b"ALPH", b"\0\0\0\0"):
        yield f"webp as {kind!r}", webp[:12] + kind + webp[16:]

    for format_ in ("GIF", "BMP", "TIFF", "ICO", "PPM", "JPEG2000", "PDF", "AVIF"):
        yield format_, encode(NOISE, format_)
    others = [b"", b"\0", b"\xff", b"%!PS", b"<svg onload='x'/>", b"#!/bin/sh\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"{}"]
    others += [signature + bytes(100_000) for signature in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP")]
    others += [bytes(1_000_000), b"\xff" * 1_000_000, _RNG.bytes(1_000_000)]
    for content in others:
        yield f"{content[:12]!r}, {len(content)} bytes", content


POST = b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: image/jpeg\r\n"


def smuggled() -> Iterator[Named]:
    """Requests that two servers could read differently, and so one as two."""
    second = b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n"
    chunks = b"0\r\n\r\n" + second
    both = POST + b"content-length: %d\r\n" % len(chunks)
    yield "length and chunks", both + b"transfer-encoding: chunked\r\n\r\n" + chunks
    yield "chunks and length", POST + b"transfer-encoding: chunked\r\ncontent-length: 4\r\n\r\n" + chunks
    for coding in (b"xchunked", b"chunked, identity", b"\x0bchunked", b"identity", b"chunked\x00", b"chunked, chunked"):
        yield f"{coding!r}", both + b"transfer-encoding: " + coding + b"\r\n\r\n" + chunks
    yield "coding before its colon", both + b"transfer-encoding : chunked\r\n\r\n" + chunks
    yield "folded", both + b"x: y\r\n transfer-encoding: chunked\r\n\r\n" + chunks
    for length in (b"+5", b"-1", b"5, 6", b"0x5", b"5 5", b"", b"9" * 30, b"5\r\ncontent-length: 6"):
        yield f"length {length!r}", POST + b"content-length: " + length + b"\r\n\r\n" + b"abcde" + second
    for size in (b"-1", b"0x5", b"g", b"f" * 17, b" 5", b""):
        yield f"chunk of {size!r}", POST + b"transfer-encoding: chunked\r\n\r\n" + size + b"\r\nabcde\r\n" + chunks
    yield "two hosts in a line", b"GET /ping HTTP/1.1\r\nhost: x\rhost: y\r\n\r\n" + second
    yield "a nought in a header", b"GET /ping HTTP/1.1\r\nhost: x\x00y\r\n\r\n" + second


def strange_requests() -> Iterator[Named]:
    """Requests that are no HTTP, or hardly."""
    yield "blank", b"\r\n\r\n"
    yield "tls", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
    yield "http/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9)
    yield "http/0.9", b"GET /ping\r\n"
    yield "http/9.9", b"GET /ping HTTP/9.9\r\nhost: x\r\n\r\n"
    yield "a long path", b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    yield "a long header", b"GET /ping HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 200_000 + b"\r\n\r\n"
    yield "many headers", b"GET /ping HTTP/1.1\r\nhost: x\r\n" + b"x: y\r\n" * 20_000 + b"\r\n"
    yield "a proxy's", b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n"
    yield "an upgrade", b"GET /ping HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n"
    yield "another path", b"GET /../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n"
    yield "another scheme", b"GET file:///etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n"
    yield "less than it says", POST + b"content-length: 1000\r\n\r\nabc"
    yield "a chunk cut short", POST + b"transfer-encoding: chunked\r\n\r\nffff\r\nabc"
    yield (
        "strange attributes",
        POST + b"x-amzn-sagemaker-custom-attributes: top_k=\xff\xfe\r\ncontent-length: 1\r\n\r\na",
    )
    for type_ in (b"multipart/form-data; boundary=" + b"b" * 5000, b"multipart/form-data", b"\xff\xfe", b";;;"):
        yield (
            f"type {type_[:40]!r}",
            (
                b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: "
                + type_
                + b"\r\ncontent-length: 4\r\n\r\n--b\r\n"
            ),
        )


@st.composite
def edited(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """One of some byte strings after a few cuts, insertions, overwritten and repeated parts."""
    content = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.integers(1, 6))):
        start = draw(st.integers(0, len(content)))
        match draw(st.sampled_from(["overwrite", "insert", "delete", "repeat", "cut"])):
            case "overwrite":
                new = draw(st.binary(min_size=1, max_size=8))
                content[start : start + len(new)] = new
            case "insert":
                content[start:start] = draw(st.binary(min_size=1, max_size=32))
            case "delete":
                del content[start : start + draw(st.integers(1, 64))]
            case "repeat":
                content[start:start] = content[start : start + draw(st.integers(1, 64))] * draw(st.integers(1, 20))
            case "cut":
                del content[start:]
    return bytes(content)
