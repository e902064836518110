"""Whether a JPEG is whole, and how large its picture is, without decoding it. Standard library only."""

_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG, DAC are no frames
_SOS, _EOI, _ALONE = 0xDA, b"\xff\xd9", frozenset((0x01, *range(0xD0, 0xD9)))


def jpeg_size(content: bytes | memoryview) -> tuple[int, int]:
    """(width, height) of a whole JPEG; raises ValueError when it is not one or its end is missing.

    Markers as in ITU-T T.81, annex B. Within the picture's data FF is followed by 00 or a restart marker, so FF D9 there is
    the end; one before it belongs to a preview.
    """
    data = bytes(content)
    if data[:2] != b"\xff\xd8":
        raise ValueError("it does not begin as a JPEG")
    at, size = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError(f"byte {at} is not a marker")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in _ALONE:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4])
        if marker in _SOF and at + 9 <= len(data):
            size = int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        if marker == _SOS:
            if size is None or 0 in size:
                raise ValueError("it has no size")
            if data.find(_EOI, at + 2 + length) < 0:
                raise ValueError("its end is missing")
            return size
        at += 2 + max(length, 2)
    raise ValueError("it ends before the picture")
