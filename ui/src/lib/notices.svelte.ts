/** Short messages that come and go; problems stay until they are dismissed, or over. */
import { ApiProblem } from "./api";

export interface Notice {
  id: number;
  tone: "info" | "problem";
  title: string;
  detail: string;
  /** What it is about: a later one about the same takes its place. */
  about: string;
}

const INFO_MS = 5000;
const MOST = 4;

class Notices {
  items = $state<Notice[]>([]);
  #next = 1;

  info(title: string, detail = ""): void {
    const id = this.#add("info", title, detail, title);
    setTimeout(() => this.dismiss(id), INFO_MS);
  }

  problem(title: string, detail = "", about = title): void {
    this.#add("problem", title, detail, about);
  }

  /** What a message was about is not so any more. */
  over(about: string): void {
    this.items = this.items.filter((item) => item.about !== about);
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

  #add(tone: Notice["tone"], title: string, detail: string, about: string): number {
    const id = this.#next++;
    const others = this.items.filter((item) => item.about !== about);
    this.items = [...others, { id, tone, title, detail, about }].slice(-MOST);
    return id;
  }
}

export const notices = new Notices();
