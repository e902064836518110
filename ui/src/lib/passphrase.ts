/** What the station asks of a new passphrase, said before it is sent. */

export const SHORTEST = 12;

/** What is wrong with it; null: the station takes it. */
export function passphraseProblem(text: string): string | null {
  const length = [...text.normalize("NFC")].length;
  if (length < SHORTEST) return `At least ${SHORTEST} characters; these are ${length}.`;
  if (length > 200) return "At most 200 characters.";
  return new Set(text).size < 4 ? "That is one character again and again: take a few words." : null;
}
