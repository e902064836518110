"""An RTSP camera on 127.0.0.1 made with GStreamer: H.264 at /cam, MJPEG at /mjpeg; a keyframe each second.

Needs Debian's python3-gi, gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-plugins-base, -good and -ugly, and Debian's python3.
Run:   /usr/bin/python3 rtsp_server.py [--size 640x360] [--fps 25] [--file F.mp4 [--codec h265]] [--user NAME --password WORD]
Prints one line of JSON with its addresses when it is ready; ends when its standard input does, or on SIGTERM.
"""

import argparse
import json
import sys
import threading

import gi  # pyright: ignore[reportMissingImports]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # pyright: ignore[reportMissingImports]  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--file", help="an MP4, served at /file from its beginning to everybody who comes")
    parser.add_argument("--codec", choices=("h264", "h265"), default="h264", help="of the file")
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    args = parser.parse_args()
    Gst.init(None)
    width, height = map(int, args.size.split("x"))
    size = f"width={width},height={height},framerate={args.fps}/1"
    launches = {
        "/cam": f"( videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,{size} ! x264enc tune=zerolatency speed-preset=ultrafast "
        f"key-int-max={args.fps} ! rtph264pay name=pay0 pt=96 )",
        "/mjpeg": f"( videotestsrc is-live=true ! video/x-raw,format=I420,{size} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )",
    }
    if args.file:
        launches["/file"] = f'( filesrc location="{args.file}" ! qtdemux ! rtp{args.codec}pay name=pay0 pt=96 config-interval=-1 )'
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    if args.user:
        auth, token = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
        token.set_string("media.factory.role", "user")
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(args.user, args.password), token)
        server.set_auth(auth)
    for path, launch in launches.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        factory.set_shared(True)
        if args.user:
            factory.add_role_from_structure(
                Gst.Structure.new_from_string("user,media.factory.access=(boolean)true,media.factory.construct=(boolean)true")
            )
        server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        raise SystemExit("cannot listen on 127.0.0.1")
    port = server.get_bound_port()
    print(json.dumps({path: f"rtsp://127.0.0.1:{port}{path}" for path in launches}), flush=True)
    loop = GLib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), loop.quit()), daemon=True).start()
    loop.run()


if __name__ == "__main__":
    main()
