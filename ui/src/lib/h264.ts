/** What the browser's decoder must be told about an H.264 stream, read from its first keyframe. */

const SPS = 7;

/**
 * The codec string (`avc1.PPCCLL`: profile, constraints, level in hex) of the first sequence
 * parameter set in Annex B bytes, or null when there is none (ISO/IEC 14496-15, annex E).
 */
export function codecFromAnnexB(bytes: Uint8Array): string | null {
  for (let i = 0; i + 6 < bytes.length; i++) {
    if (bytes[i] !== 0 || bytes[i + 1] !== 0 || bytes[i + 2] !== 1) continue;
    if ((bytes[i + 3]! & 0x1f) !== SPS) continue;
    const hex = [...bytes.subarray(i + 4, i + 7)].map((b) => b.toString(16).padStart(2, "0"));
    return `avc1.${hex.join("")}`;
  }
  return null;
}

/** What to ask the server for: H.264 only where this browser can decode it (needs HTTPS or localhost). */
export async function acceptedCodecs(): Promise<string> {
  if (typeof VideoDecoder === "undefined") return "jpeg";
  try {
    const { supported } = await VideoDecoder.isConfigSupported({ codec: "avc1.640028", optimizeForLatency: true });
    return supported ? "h264,jpeg" : "jpeg";
  } catch {
    return "jpeg";
  }
}
