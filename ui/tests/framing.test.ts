import { describe, expect, test } from "vitest";
import { parseFrame } from "../src/lib/framing";

function message(header: unknown, payload: number[], claimed?: number): ArrayBuffer {
  const text = new TextEncoder().encode(JSON.stringify(header));
  const bytes = new Uint8Array(2 + text.length + payload.length);
  new DataView(bytes.buffer).setUint16(0, claimed ?? text.length);
  bytes.set(text, 2);
  bytes.set(payload, 2 + text.length);
  return bytes.buffer;
}

describe("a live frame", () => {
  test("is split into its header and the bytes after it", () => {
    const { header, payload } = parseFrame(message({ seq: 7, codec: "jpeg", age_ms: 12.5 }, [0xff, 0xd8, 0xff]));
    expect(header.seq).toBe(7);
    expect(header.age_ms).toBe(12.5);
    expect([...payload]).toEqual([0xff, 0xd8, 0xff]);
  });

  test("reads the header length big-endian, also past 255 bytes", () => {
    const words = "ü".repeat(300);
    const { header, payload } = parseFrame(message({ seq: 1, words }, [1, 2]));
    expect((header as unknown as { words: string }).words).toBe(words);
    expect([...payload]).toEqual([1, 2]);
  });

  test("may have an empty payload", () => {
    expect(parseFrame(message({ seq: 1 }, [])).payload.length).toBe(0);
  });

  test("shorter than it claims is refused", () => {
    expect(() => parseFrame(message({ seq: 1 }, [1], 5000))).toThrow(RangeError);
    expect(() => parseFrame(new ArrayBuffer(1))).toThrow(RangeError);
  });

  test("with a header that is not JSON is refused", () => {
    expect(() => parseFrame(message({ seq: 1 }, [1, 2, 3], 4))).toThrow(SyntaxError);
  });
});
