/**
 * The live picture of one camera: socket, decoder, age. Draws nothing; hands each picture on once.
 * Connecting again is the business of `link.ts`, what to show of it that of `Stage.svelte`.
 */
import { ArrivalClock, isStale } from "./age";
import { type Decoder, H264Decoder, JpegDecoder, type Picture } from "./decode";
import { type FrameHeader, type Hello, type LiveFrame, type LiveState, parseFrame } from "./framing";
import { acceptedCodecs } from "./h264";
import { Link, type LinkState, socketAddress } from "./link";

export interface LiveHandlers {
  /** The picture is yours to close. `openedNow`: performance.now() when its shutter opened. */
  picture(picture: Picture, header: FrameHeader, openedNow: number): void;
  hello(hello: Hello): void;
  state(state: LiveState): void;
  link(state: LinkState): void;
  damaged(why: string): void;
}

/** Frames that stay this long old only because of the connection: a fresh one drops what is buffered. */
const LATE_MS = 20_000;

export class LiveStream {
  #link: Link;
  #decoder: Decoder | null = null;
  #clock = new ArrivalClock();
  #lateSince: number | null = null;
  #jpegOnly = false;

  constructor(
    camera: string,
    private readonly on: LiveHandlers,
  ) {
    this.#link = new Link({
      address: async () => {
        const accept = this.#jpegOnly ? "jpeg" : await acceptedCodecs();
        return socketAddress(`/ws/live/${encodeURIComponent(camera)}?accept=${accept}`);
      },
      text: (message) => this.#text(message),
      binary: (message) => this.#binary(message),
      state: (state) => on.link(state),
    });
  }

  retryNow(): void {
    this.#link.retryNow();
  }

  drop(reason: string): void {
    this.#link.drop(reason);
  }

  end(): void {
    this.#link.end();
    this.#decoder?.close();
  }

  #text(message: string): void {
    const said = JSON.parse(message) as Hello | LiveState;
    if (said.type === "state") this.on.state(said);
    else if (said.type === "hello") {
      this.#clock = new ArrivalClock();
      this.#clock.hello(Date.parse(said.server_time), performance.now());
      this.#lateSince = null;
      this.#decoder?.close();
      this.#decoder = this.#decoderFor(said.codec);
      this.on.hello(said);
    }
  }

  #binary(message: ArrayBuffer): void {
    const now = performance.now();
    let frame: LiveFrame;
    try {
      frame = parseFrame(message);
    } catch (error) {
      this.on.damaged(`A message of the station could not be read (${String(error)})`);
      return;
    }
    const { header } = frame;
    this.#link.proved();
    const excess = this.#clock.excess(Date.parse(header.opened_at) + header.age_ms, now);
    const age = header.age_ms + excess;
    this.#decoder?.push(frame, now - age);

    const late = isStale(age / 1000, header.exposure_s) && !isStale(header.age_ms / 1000, header.exposure_s);
    if (!late) this.#lateSince = null;
    else if (this.#lateSince === null) this.#lateSince = now;
    else if (now - this.#lateSince > LATE_MS) this.#link.drop("The connection is too slow for the live picture");
  }

  #decoderFor(codec: string): Decoder {
    if (codec !== "h264") return new JpegDecoder(this.on.picture, this.on.damaged);
    return new H264Decoder(this.on.picture, (why) => {
      this.#jpegOnly = true;
      this.on.damaged(`This browser cannot show the video (${why}); changing to single pictures`);
      this.#link.drop("changing to single pictures");
    });
  }
}
