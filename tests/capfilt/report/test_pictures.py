import base64
import io

import pytest
from mmtk_capfilt.report.pictures import LONGEST_EDGE, data_uri, find_pictures
from PIL import Image

from tests.capfilt.report.samples import ListReader, picture


def decoded(uri: str) -> tuple[str, bytes]:
    head, _, data = uri.partition(";base64,")
    return head, base64.b64decode(data)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF"])
def test_small_pictures_are_embedded_as_they_are(format_: str) -> None:
    image = picture(format_=format_)
    assert decoded(data_uri(image) or "") == (f"data:image/{format_.lower()}", image)


@pytest.mark.parametrize(("size", "format_"), [((1000, 500), "PNG"), ((64, 64), "BMP"), ((64, 64), "TIFF")])
def test_large_pictures_and_other_formats_become_small_webp(size: tuple[int, int], format_: str) -> None:
    head, data = decoded(data_uri(picture(size=size, format_=format_)) or "")
    assert head == "data:image/webp"
    with Image.open(io.BytesIO(data)) as image:
        assert max(image.size) == min(LONGEST_EDGE, max(size))
        assert image.size[0] * size[1] == image.size[1] * size[0]


@pytest.mark.parametrize("image", [b"", b"<svg onload=alert(1)>", picture()[:40], picture(size=(1, 1))])
def test_what_is_no_picture_is_not_shown(image: bytes) -> None:
    assert data_uri(image) is None


def test_pictures_by_key_from_several_readers() -> None:
    one, two = (
        ListReader({"a": b"1", "broken": None, "b": b"2"}),
        ListReader({"b": b"other", "c": b"3", "d": b"4"}),
    )
    assert find_pictures([one, two], ["c", "b", "broken"]) == {"b": b"2", "c": b"3"}


def test_reading_stops_when_all_are_found() -> None:
    reader = ListReader({"a": b"1", "b": b"2", "c": b"3"})
    assert find_pictures([reader], ["a"]) == {"a": b"1"}
    assert reader.read == ["a"]
