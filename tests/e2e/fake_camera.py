"""`camera` of cnadler86/micropython-camera-API as far as the documentation uses it; a board of the tests has it."""


class PixelFormat:
    JPEG = 4


class FrameSize:
    QVGA = 5


class Camera:
    """Writes each picture into the same buffer, as the real one may."""

    def __init__(self, pixel_format, frame_size):
        assert pixel_format == PixelFormat.JPEG and frame_size == FrameSize.QVGA
        self._buffer = bytearray(6000)
        self._buffer[:] = b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\xf0\x01\x40" + bytes(5987) + b"\xff\xd9"
        self._count = 0

    def capture(self):
        self._count += 1
        for at in range(100, 5900):
            self._buffer[at] = self._count & 255
        return memoryview(self._buffer)
