/** One binary message of the live socket: 2-byte big-endian header length, JSON header, payload. */

export type Codec = "jpeg" | "h264" | "h265";

export interface FrameHeader {
  seq: number;
  opened_at: string;
  /** Age when the server published the frame, counted from the opening of the shutter. */
  age_ms: number;
  width: number;
  height: number;
  codec: Codec;
  keyframe: boolean;
  generation: [number, number];
  exposure_s: number | null;
  gain: number | null;
}

export interface LiveFrame {
  header: FrameHeader;
  payload: Uint8Array<ArrayBuffer>;
}

export interface Hello {
  type: "hello";
  session: string;
  role: "observer" | "master" | "admin";
  codec: Codec;
  server_time: string;
  camera: string;
}

export interface LiveState {
  type: "state";
  state: "live" | "stale" | "recovering" | "stopped" | "starting" | "degraded" | "stopping";
  words: string;
  age_s: number | null;
}

/** Throws RangeError when the message is shorter than it claims, SyntaxError when the header is not JSON. */
export function parseFrame(message: ArrayBuffer): LiveFrame {
  if (message.byteLength < 2) throw new RangeError("a frame message needs a header length");
  const headerLength = new DataView(message).getUint16(0);
  const start = 2 + headerLength;
  if (start > message.byteLength) {
    throw new RangeError(`the header claims ${headerLength} bytes, the message has ${message.byteLength - 2}`);
  }
  const text = new TextDecoder().decode(new Uint8Array(message, 2, headerLength));
  return { header: JSON.parse(text) as FrameHeader, payload: new Uint8Array(message, start) };
}
