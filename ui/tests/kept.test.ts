import { expect, test } from "vitest";
import { recall, remember } from "../src/lib/kept";

class Memory {
  items = new Map<string, string>();
  get length(): number {
    return this.items.size;
  }
  key = (at: number): string | null => [...this.items.keys()][at] ?? null;
  getItem = (key: string): string | null => this.items.get(key) ?? null;
  setItem = (key: string, value: string): void => void this.items.set(key, value);
  removeItem = (key: string): void => void this.items.delete(key);
}

test("a page that is loaded anew knows the control it had, for ten minutes", () => {
  const store = new Memory();
  store.setItem("cupola.theme", "red");
  store.setItem("cupola.control.broken", "x");
  remember({ camera: "sky", epoch: 3_000_000_001 }, store, 1000);
  expect(recall(store, 2000)).toEqual([{ camera: "sky", epoch: 3_000_000_001 }]);
  expect(recall(store, 1000 + 11 * 60_000)).toEqual([]);
  remember({ camera: "sky", epoch: null }, store);
  expect(recall(store, 2000)).toEqual([]);
});

test("a browser that keeps nothing is no mistake", () => {
  remember({ camera: "sky", epoch: 1 }, null);
  expect(recall(null)).toEqual([]);
});
