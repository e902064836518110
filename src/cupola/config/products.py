"""What is made of a night's or day's images while they come. How it is made lies in `darkroom.keogram`, `startrails` and `timelapse`."""

from cupola.config.base import Block, Float, Int, group, key


class Keogram(Block):
    """One line of each image, side by side along the local time."""

    make: bool = key(True, "Make it", "Whether a keogram is made of each night and day.")
    angle_deg: Float = key(
        0.0,
        "Angle",
        "The line through the middle of the image, turned clockwise from the vertical: 0 is a column, 90 a row.",
        unit="°",
        ge=-180,
        le=180,
    )
    width: Int = key(1440, "Width", "Columns from the beginning to the end of the night or day.", unit="px", ge=240, le=8192)


class Startrails(Block):
    """The brightest of all images at each place."""

    make: bool = key(True, "Make them", "Whether startrails are made of each night and day.")
    brightness_margin: Float | None = key(
        0.1,
        "Brightness margin",
        "An image whose sky is brighter than the darkest so far by more than this share of white is left out (twilight, moon, clouds); null: all are taken.",
        gt=0,
        le=1,
    )
    fill_gaps_px: Int = key(
        0,
        "Fill gaps",
        "Stars that move by no more than this from one image to the next are joined by a line, which closes the gaps in their trails; 0: they are not.",
        unit="px",
        ge=0,
        le=200,
    )


class Timelapse(Block):
    """A video with one frame an image."""

    make: bool = key(True, "Make it", "Whether a video is made of each night and day.")
    fps: Int = key(25, "Frame rate", "Images a second of video.", unit="fps", ge=1, le=60)
    width: Int | None = key(
        None, "Width", "Width of the video; null: that of the images, but at most 2160 lines and what phones play.", unit="px", ge=64, le=16384
    )
    crf: Int = key(25, "Quality", "As x264's constant rate factor: smaller looks better and needs more space and time.", ge=10, le=40)


class Products(Block):
    """Keogram, startrails and video, which grow with each image of a night or day."""

    keogram: Keogram = group(dict, "Keogram", "One line of each image, side by side along the local time.")
    startrails: Startrails = group(dict, "Startrails", "The brightest of all images at each place.")
    timelapse: Timelapse = group(dict, "Timelapse", "A video with one frame an image.")
