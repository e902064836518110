"""A stand-in for Raspberry Pi's camera programs: the same options, the same bytes, a sensor of its own that runs in real time.

Run:  rpicam.py hello --list-cameras --verbose 2
      rpicam.py vid --codec mjpeg|h264 …        JPEGs or H.264 on stdout, metadata where --metadata says
      rpicam.py raw --mode 640:480:12:U …       unpacked raw frames on stdout

Modelled on rpicam-apps 1.9: what it prints, that metadata follows its picture, that SIGINT is looked at between two
pictures only, that a second program is refused. Exposures are rounded to lines and gains to the IMX477's steps.
Environment: RPICAM_LOCK (a file that stands for the camera), RPICAM_PLATFORM (vc4, or pisp: a Pi 5), RPICAM_FAULT: `late=N` (the first N
pictures have other settings), `end=N` (it ends after N pictures), `silent=N`, `clamp=SECONDS` (no exposure is longer), `slow=SECONDS` (a picture comes so long after its end), `none` (no camera).
"""

import argparse
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from mjpeg_source import draw_barcode, picture

LINE_S = 18.9e-6
WIDTH, HEIGHT = 640, 480
LISTED = """Available cameras
-----------------
0 : imx477 [640x480 12-bit RGGB] (/base/soc/i2c0mux/i2c@1/imx477@1a)
    Modes: 'SRGGB10_CSI2P' : 320x240 [120.05 fps - (0, 0)/640x480 crop]
           'SRGGB12_CSI2P' : 320x240 [50.03 fps - (0, 0)/640x480 crop]
                             640x480 [25.00 fps - (0, 0)/640x480 crop]

    Available controls for 640x480 SRGGB12_CSI2P mode:
    --------------------------------------------------
    AeEnable : [false..true]
    AnalogueGain : [1.000000..22.260870]
    Brightness : [-1.000000..1.000000]
    ExposureTime : [114..674191602]
    FrameDurationLimits : [40000..694422939]
    ScalerCrop : [(0, 0)/64x64..(0, 0)/640x480]

1 : imx219 [3280x2464 10-bit RGGB] (/base/soc/i2c0mux/i2c@0/imx219@10)
    Modes: 'SRGGB10_CSI2P' : 640x480 [206.65 fps - (1000, 752)/1280x960 crop]
                             3280x2464 [21.19 fps - (0, 0)/3280x2464 crop]
           'SRGGB8' : 3280x2464 [21.19 fps - (0, 0)/3280x2464 crop]

"""


def sensor_takes(exposure_s: float, gain: float) -> tuple[float, float]:
    """What the sensor makes of wanted values: whole lines, gain 1024 / (1024 - code)."""
    code = min(978, max(0, round(1024 - 1024 / max(1.0, gain))))
    return max(1, int(exposure_s / LINE_S)) * LINE_S, 1024 / (1024 - code)


def jpeg_maker(width: int, height: int, options: argparse.Namespace) -> Callable[[int], bytes]:
    import simplejpeg

    return lambda number: simplejpeg.encode_jpeg(picture(width, height, number), quality=int(options.quality))


def h264_maker(width: int, height: int, options: argparse.Namespace) -> Callable[[int], bytes]:
    import av

    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 1000)
    encoder.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x264-params": f"keyint={options.intra}:repeat-headers=1:annexb=1:threads=1",
    }

    def make(number: int) -> bytes:
        frame = av.VideoFrame.from_ndarray(picture(width, height, number), format="rgb24")
        frame.pts = number
        return b"".join(bytes(packet) for packet in encoder.encode(frame))

    return make


def raw_maker(width: int, height: int, bits: int) -> tuple[Callable[[int], bytes], str, int]:
    pisp = os.environ.get("RPICAM_PLATFORM") == "pisp"
    stride = (width * 2 + 63) // 64 * 64 + 64

    def make(number: int) -> bytes:
        lines = np.zeros((height, stride // 2), "<u2")
        grey = np.full((height, width), 100, np.uint8)
        draw_barcode(grey, number)
        lines[:, :width] = (grey.astype("<u2") << (bits - 8)) << (16 - bits if pisp else 0)
        return lines.tobytes() + bytes(4096 if pisp else 0)  # a buffer may be longer than its picture

    return make, f"SRGGB{16 if pisp else bits}", stride


def run(kind: str, options: argparse.Namespace) -> None:
    fault, _, value = os.environ.get("RPICAM_FAULT", "").partition("=")
    if fault == "none":
        raise RuntimeError("no cameras available")
    lock = os.open(os.environ["RPICAM_LOCK"], os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("[0:00:01.5] [77] ERROR Camera camera.cpp:1115 Camera in Configured state trying acquire() requiring state Available", file=sys.stderr)
        raise RuntimeError("failed to acquire camera /base/soc/i2c0mux/i2c@1/imx477@1a") from None
    interrupted: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: interrupted.append(number))
    if kind == "raw":
        width, height, bits = (int(part) for part in options.mode.split(":")[:3])
        make, name, stride = raw_maker(width, height, bits)
    else:
        width, height = options.width or 640, options.height or 480
        make = (h264_maker if options.codec == "h264" else jpeg_maker)(width, height, options)
        name, stride = "", 0
    shutter_s = float(options.shutter) / 1e6 or 0.008
    if fault == "clamp":
        shutter_s = min(shutter_s, float(value))
    exposure_s, gain = sensor_takes(shutter_s, options.gain or 2.0)
    fps = float(options.framerate)
    frame_s = max(exposure_s + 4 * LINE_S, 1 / fps if fps > 0 else 1 / 30)
    print(
        "[0:00:01.123] [77]  INFO Camera camera.cpp:1197 configuring streams: (0) 640x480-YUV420 (1) 640x480-SRGGB12_CSI2P",
        file=sys.stderr,
        flush=True,
    )
    metadata = os.fdopen(os.open(options.metadata, os.O_WRONLY), "w")
    opened, number = time.monotonic(), 0
    while not interrupted:
        closed = opened + exposure_s
        time.sleep(max(0.0, closed - time.monotonic()))
        if fault == "silent" and number == int(value):
            signal.pause()
        if fault == "end" and number == int(value):
            raise RuntimeError("failed to queue request")
        shown_s, shown_gain = (0.02, 1.0) if fault == "late" and number < int(value) else (exposure_s, gain)
        data = make(number)
        if fault == "slow":
            time.sleep(float(value))
        if kind == "raw" and number == 0:
            print(f"Raw stream: {width}x{height} stride {stride} format {name}", file=sys.stderr, flush=True)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        told = {
            "SensorTimestamp": round(closed * 1e9), "ExposureTime": round(shown_s * 1e6), "AnalogueGain": f"{shown_gain:.6f}", "DigitalGain": "1.000000",
            "FrameDuration": round(frame_s * 1e6), "ColourGains": "[ 2.100000, 1.700000 ]", "SensorTemperature": "31.000000",
            "SensorBlackLevels": "[ 4096, 4096, 4096, 4096 ]",
        }  # fmt: skip
        for key, text in told.items():
            print(f"{key}={text}", file=metadata, flush=True)
        print(file=metadata, flush=True)
        number += 1
        opened = max(opened + frame_s, time.monotonic() - frame_s)


def main() -> int:
    kind = sys.argv[1]
    parser = argparse.ArgumentParser(prog=f"rpicam-{kind}", allow_abbrev=False)
    for flag in ("--nopreview", "--flush", "--inline", "--list-cameras"):
        parser.add_argument(flag, action="store_true")
    for text in (
        "timeout",
        "output",
        "metadata",
        "metadata-format",
        "denoise",
        "awbgains",
        "tuning-file",
        "mode",
        "autofocus-mode",
        "lens-position",
        "codec",
    ):
        parser.add_argument(f"--{text}")
    for number in ("camera", "width", "height", "quality", "intra", "verbose"):
        parser.add_argument(f"--{number}", type=int, default=0)
    for number in ("shutter", "gain"):
        parser.add_argument(f"--{number}", type=float, default=0.0)
    parser.add_argument("--framerate", type=float, default=30.0)
    options = parser.parse_args(sys.argv[2:])
    if options.list_cameras:
        print("No cameras available!" if os.environ.get("RPICAM_FAULT") == "none" else LISTED, end="")
        return 0
    try:
        assert options.timeout == "0" and options.output == "-" and options.metadata_format == "txt"
        run(kind, options)
    except RuntimeError as problem:
        print(f"ERROR: *** {problem} ***", file=sys.stderr)
        return 255
    return 0


if __name__ == "__main__":
    sys.exit(main())
