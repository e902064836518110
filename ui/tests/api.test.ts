import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type ApiProblem, api, hooks } from "../src/lib/api";

const usual = { ...hooks };
const strange = vi.fn();
const notInControl = vi.fn();
let sent: RequestInit[] = [];

function answers(status: number, body: unknown, headers: Record<string, string> = {}): void {
  vi.stubGlobal("fetch", async (_path: string, request: RequestInit) => {
    sent.push(request);
    return new Response(status === 204 ? null : JSON.stringify(body), { status, headers });
  });
}

const refused = async (asked: Promise<unknown>): Promise<ApiProblem> => asked.then(() => expect.unreachable(), (problem: ApiProblem) => problem);

beforeEach(() => {
  sent = [];
  Object.assign(hooks, { strange, notInControl, epoch: (camera: string) => (camera === "sky" ? 41 : undefined) });
});

afterEach(() => {
  Object.assign(hooks, usual);
  vi.unstubAllGlobals();
  vi.clearAllMocks();
});

test("a 401 to any request asks for the login", async () => {
  answers(401, { title: "Log in", detail: "This needs a login", status: 401 });
  expect((await refused(api.cameras())).status).toBe(401);
  expect(strange).toHaveBeenCalledOnce();
});

test("a wrong passphrase is not a lost login", async () => {
  answers(401, { title: "Not logged in", detail: "User or passphrase are wrong", status: 401 });
  await refused(api.login("kim", "wrong", false));
  await refused(api.changePassphrase("wrong", "another one"));
  expect(strange).not.toHaveBeenCalled();
});

test("a station that is not claimed any more brings up the claim page", async () => {
  answers(403, { title: "Not claimed yet", detail: "", status: 403, unclaimed: true });
  await refused(api.cameras());
  expect(strange).toHaveBeenCalledOnce();
});

test("too many tries say when the next one is possible", async () => {
  answers(429, { title: "Too many tries", detail: "Wait 42 s.", status: 429 }, { "Retry-After": "42" });
  expect((await refused(api.login("kim", "wrong", false))).retryAfterS).toBe(42);
  answers(503, { title: "Later", detail: "", status: 503 });
  expect((await refused(api.health())).retryAfterS).toBeNull();
});

test("what moves a camera carries the epoch of its control, and nothing else does", async () => {
  answers(202, {});
  await api.stop("sky");
  await api.stop("roof");
  await api.cameras();
  expect(sent.map((request) => new Headers(request.headers).get("X-Control-Epoch"))).toEqual(["41", null, null]);
});

test("a refusal for want of control has the page look who has it", async () => {
  answers(409, { title: "Not in control", detail: "kim has control.", status: 409, holder: null });
  const problem = await refused(api.snap("sky", 1));
  expect([problem.title, problem.detail]).toEqual(["Not in control", "kim has control."]);
  expect(notInControl).toHaveBeenCalledWith("sky");
  notInControl.mockClear();
  answers(409, { title: "The camera is busy", detail: "", status: 409 });
  await refused(api.snap("sky", 1));
  expect(notInControl).not.toHaveBeenCalled();
});
