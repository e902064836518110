/** Turns encoded frames into something a canvas can draw, newest first and never in a queue. */
import type { FrameHeader, LiveFrame } from "./framing";
import { codecFromAnnexB } from "./h264";

export type Picture = ImageBitmap | VideoFrame;

export interface Decoder {
  push(frame: LiveFrame, openedNow: number): void;
  close(): void;
}

/** `openedNow` is performance.now() at the moment the shutter opened, as far as this side can tell. */
export type Show = (picture: Picture, header: FrameHeader, openedNow: number) => void;

export class JpegDecoder implements Decoder {
  #busy = false;
  #closed = false;
  #newest: [LiveFrame, number] | null = null;

  constructor(
    private readonly show: Show,
    private readonly broken: (why: string) => void,
  ) {}

  push(frame: LiveFrame, openedNow: number): void {
    this.#newest = [frame, openedNow];
    if (!this.#busy) void this.#drain();
  }

  close(): void {
    this.#closed = true;
    this.#newest = null;
  }

  async #drain(): Promise<void> {
    this.#busy = true;
    while (this.#newest) {
      const [{ header, payload }, openedNow] = this.#newest;
      this.#newest = null;
      try {
        const picture = await createImageBitmap(new Blob([payload], { type: "image/jpeg" }));
        if (this.#closed) picture.close();
        else this.show(picture, header, openedNow);
      } catch {
        if (!this.#closed) this.broken(`Picture ${header.seq} arrived damaged and is not shown`);
      }
    }
    this.#busy = false;
  }
}

/** Frames waiting in the decoder beyond this are skipped up to the next keyframe. */
const BEHIND = 8;

export class H264Decoder implements Decoder {
  #decoder: VideoDecoder | null = null;
  #codec = "";
  #skipping = true;
  #clock = 0;
  #facts = new Map<number, [FrameHeader, number]>();

  constructor(
    private readonly show: Show,
    private readonly failed: (why: string) => void,
  ) {}

  push({ header, payload }: LiveFrame, openedNow: number): void {
    if (header.keyframe) {
      const codec = codecFromAnnexB(payload) ?? this.#codec;
      if (!codec) return;
      if (codec !== this.#codec || !this.#decoder) this.#configure(codec);
      this.#skipping = false;
    } else if (this.#skipping || !this.#decoder) {
      return;
    } else if (this.#decoder.decodeQueueSize > BEHIND) {
      this.#skipping = true;
      return;
    }
    const timestamp = (this.#clock += 1000);
    this.#facts.set(timestamp, [header, openedNow]);
    try {
      this.#decoder?.decode(new EncodedVideoChunk({ type: header.keyframe ? "key" : "delta", timestamp, data: payload }));
    } catch (error) {
      this.failed(String(error));
    }
  }

  close(): void {
    if (this.#decoder && this.#decoder.state !== "closed") this.#decoder.close();
    this.#decoder = null;
    this.#facts.clear();
  }

  #configure(codec: string): void {
    this.close();
    this.#codec = codec;
    this.#decoder = new VideoDecoder({
      output: (picture) => {
        const facts = this.#facts.get(picture.timestamp);
        for (const key of this.#facts.keys()) if (key <= picture.timestamp) this.#facts.delete(key);
        if (facts) this.show(picture, ...facts);
        else picture.close();
      },
      error: (error) => this.failed(error.message),
    });
    this.#decoder.configure({ codec, optimizeForLatency: true });
  }
}
