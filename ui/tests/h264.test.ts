import { expect, test } from "vitest";
import { codecFromAnnexB } from "../src/lib/h264";

const SPS_HIGH_40 = [0x67, 0x64, 0x00, 0x28, 0xac, 0xd9];

test("the codec string is profile, constraints and level of the first SPS", () => {
  expect(codecFromAnnexB(new Uint8Array([0, 0, 0, 1, ...SPS_HIGH_40]))).toBe("avc1.640028");
});

test("a three-byte start code and units before the SPS are understood", () => {
  const bytes = [0, 0, 1, 0x09, 0xf0, 0, 0, 1, 0x27, 0x42, 0xe0, 0x1f, 0x8d];
  expect(codecFromAnnexB(new Uint8Array(bytes))).toBe("avc1.42e01f");
});

test("a picture without an SPS has no codec string", () => {
  expect(codecFromAnnexB(new Uint8Array([0, 0, 0, 1, 0x41, 0x9a, 0x21, 0x6c, 0, 0, 1, 0x68, 0xce]))).toBeNull();
});

test("an SPS cut off before its level is not guessed", () => {
  expect(codecFromAnnexB(new Uint8Array([0, 0, 0, 1, 0x67, 0x64, 0x00]))).toBeNull();
});
