/** Short messages that come and go; problems stay until they are dismissed. */
import { ApiProblem } from "./api";

export interface Notice {
  id: number;
  tone: "info" | "problem";
  title: string;
  detail: string;
}

const INFO_MS = 5000;
const MOST = 4;

class Notices {
  items = $state<Notice[]>([]);
  #next = 1;

  info(title: string, detail = ""): void {
    const id = this.#add("info", title, detail);
    setTimeout(() => this.dismiss(id), INFO_MS);
  }

  problem(title: string, detail = ""): void {
    this.#add("problem", title, detail);
  }

  /** Runs an action and says why when it fails; true when it worked. */
  async attempt(what: string, action: () => Promise<unknown>): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (error) {
      if (error instanceof ApiProblem) this.problem(`${what}: ${error.title}`, error.detail);
      else this.problem(what, String(error));
      return false;
    }
  }

  dismiss(id: number): void {
    this.items = this.items.filter((item) => item.id !== id);
  }

  #add(tone: Notice["tone"], title: string, detail: string): number {
    const id = this.#next++;
    const others = this.items.filter((item) => item.title !== title);
    this.items = [...others, { id, tone, title, detail }].slice(-MOST);
    return id;
  }
}

export const notices = new Notices();
