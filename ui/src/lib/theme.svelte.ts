/** What this browser prefers: theme and time zone, kept across visits. */
import type { Zone } from "./format";

export type Theme = "dark" | "red" | "light";

const THEMES: readonly Theme[] = ["dark", "red", "light"];
/** The browser's own bars follow; black in red mode, so that nothing white stays beside the picture. */
const BAR: Record<Theme, string> = { dark: "#06080b", red: "#000000", light: "#eef1f5" };

function read<T extends string>(key: string, allowed: readonly T[], otherwise: T): T {
  try {
    const kept = localStorage.getItem(key) as T | null;
    return kept !== null && allowed.includes(kept) ? kept : otherwise;
  } catch {
    return otherwise; // storage is off: the choice lasts as long as the page
  }
}

function write(key: string, value: string): void {
  try {
    localStorage.setItem(key, value);
  } catch {
    return;
  }
}

class Preferences {
  theme = $state<Theme>(read("cupola.theme", THEMES, "dark"));
  zone = $state<Zone>(read("cupola.zone", ["utc", "local"] as const, "utc"));
  #beforeRed: Theme = read("cupola.before-red", ["dark", "light"] as const, "dark");

  constructor() {
    this.#show();
  }

  setTheme(theme: Theme): void {
    if (theme !== "red") {
      this.#beforeRed = theme;
      write("cupola.before-red", theme);
    }
    this.theme = theme;
    write("cupola.theme", theme);
    this.#show();
  }

  toggleRed(): void {
    this.setTheme(this.theme === "red" ? this.#beforeRed : "red");
  }

  toggleZone(): void {
    this.zone = this.zone === "utc" ? "local" : "utc";
    write("cupola.zone", this.zone);
  }

  #show(): void {
    document.documentElement.dataset.theme = this.theme;
    document.querySelector('meta[name="theme-color"]')?.setAttribute("content", BAR[this.theme]);
  }
}

export const preferences = new Preferences();
