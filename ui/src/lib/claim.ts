/** The code that claims the station comes in the fragment of the printed link: browsers send it to nobody. */

/** The code in `#claim=CODE`; null when the fragment has none. */
export function claimCode(fragment: string): string | null {
  const match = /^#claim=([^&]+)$/.exec(fragment);
  if (!match) return null;
  try {
    return decodeURIComponent(match[1]!).trim() || null;
  } catch {
    return null;
  }
}

/** Takes the code out of the address bar at once, so that it is not bookmarked, shared or seen in the history. */
export function takeClaimCode(where: Pick<Location, "hash" | "pathname" | "search">, past: Pick<History, "replaceState" | "state">): string | null {
  const code = claimCode(where.hash);
  if (where.hash.startsWith("#claim")) past.replaceState(past.state, "", where.pathname + where.search);
  return code;
}
