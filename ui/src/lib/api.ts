/** The station's REST interface. Types come from its OpenAPI document (`npm run types`). */
import type { components } from "./openapi";

type Schemas = components["schemas"];
export type Me = Schemas["Me"];
export type RoleName = NonNullable<Me["role"]>;
export type Scope = Schemas["Token"]["scope"];
export type Control = Schemas["Control"];
export type Holder = Schemas["Holder"];
export type User = Schemas["User"];
export type Login = Schemas["Login"];
export type Token = Schemas["Token"];
export type Trigger = Schemas["TriggerStatus"];
export type CameraStatus = Schemas["CameraStatus"];
export type Capture = Schemas["Capture"];
export type CapturePage = Schemas["CapturePage"];
export type ControlRange = Schemas["ControlRange"];
export type Health = Schemas["Health"];
export type ModeSettings = Schemas["ModeSettings"];
export type Session = Schemas["Session"];
export type Period = Schemas["Period"];
export type Product = Schemas["Product"];
export type Clip = Schemas["Clip"];
export type SettingsAccepted = Schemas["SettingsAccepted"];
export type SettingsRequest = Schemas["SettingsRequest"];
export type SeriesNow = Schemas["SeriesNow"];
export type Channel = Schemas["ChannelStatus"];
export type StartRequest = Schemas["StartRequest"];

/** An answer that says no, in the station's own words (RFC 9457), or that there was none. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly field: string | null = null,
    /** When one may try again. */
    readonly retryAfterS: number | null = null,
  ) {
    super(detail || title);
  }
}

/** Who is told of what concerns every request; set by `access.svelte.ts` and `control.svelte.ts`. */
export const hooks = {
  /** The station does not know this browser, or not any more. */
  strange: (): void => undefined,
  /** Somebody else has control of this camera, or nobody. */
  notInControl: (_camera: string): void => undefined,
  /** Proof of control of this camera, if this page has it. */
  epoch: (_camera: string): number | undefined => undefined,
};

const ANSWER_MS = 20_000;

interface Asking {
  timeoutMs?: number;
  /** A request that needs control of this camera. */
  camera?: string;
  /** A 401 says that a passphrase is wrong, not that one is logged out. */
  passphrase?: boolean;
}

async function ask<T>(method: string, path: string, body?: unknown, { timeoutMs = ANSWER_MS, camera, passphrase }: Asking = {}): Promise<T> {
  const epoch = camera === undefined ? undefined : hooks.epoch(camera);
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: {
        Accept: "application/json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...(epoch === undefined ? {} : { "X-Control-Epoch": String(epoch) }),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    throw new ApiProblem(0, "No answer from the station", "It could not be reached. Nothing is known to have changed.");
  }
  if (!response.ok) throw await refusal(response, camera, passphrase);
  return (await response.json().catch(() => null)) as T;
}

/** What the station says to a request it refuses. Whom it concerns is told. */
async function refusal(response: Response, camera: string | undefined, passphrase = false): Promise<ApiProblem> {
  const said = ((await response.json().catch(() => null)) ?? {}) as Partial<Schemas["ProblemDetail"]> & { unclaimed?: boolean; holder?: Holder | null };
  if ((response.status === 401 && !passphrase) || said.unclaimed) hooks.strange();
  if (camera !== undefined && response.status === 409 && "holder" in said) hooks.notInControl(camera);
  const retryAfterS = Number(response.headers.get("Retry-After") ?? NaN);
  return new ApiProblem(
    response.status,
    typeof said.title === "string" ? said.title : `The station answered ${response.status}`,
    typeof said.detail === "string" ? said.detail : "",
    typeof said.field === "string" ? said.field : null,
    Number.isFinite(retryAfterS) ? retryAfterS : null,
  );
}

/** A stream that needs control of a camera, until `signal` ends it. Throws ApiProblem when it is refused. */
async function open(path: string, camera: string, signal: AbortSignal): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const epoch = hooks.epoch(camera);
  const response = await fetch(path, { headers: epoch === undefined ? {} : { "X-Control-Epoch": String(epoch) }, signal });
  if (!response.ok || !response.body) throw await refusal(response, camera);
  return response.body;
}

const part = encodeURIComponent;
const camera = (name: string): string => `/api/cameras/${part(name)}`;
const period = (night: Period): string => `/api/nights/${part(night.camera)}/${night.day}`;
const control = (name: string): string => `/api/control/${part(name)}`;
/** What moves or sets a camera: needs control of it. */
const act = <T = unknown>(method: string, name: string, what: string, body?: unknown, timeoutMs?: number): Promise<T> =>
  ask<T>(method, `${camera(name)}/${what}`, body, { camera: name, timeoutMs });

export const api = {
  health: () => ask<Health>("GET", "/api/health", undefined, { timeoutMs: 5_000 }),
  cameras: () => ask<Schemas["CameraList"]>("GET", "/api/cameras"),
  connect: (name: string) => act("POST", name, "connect"),
  disconnect: (name: string) => act("POST", name, "disconnect"),
  start: (name: string, request: StartRequest) => act("POST", name, "start", request),
  stop: (name: string) => act("POST", name, "stop"),
  /** Go on with the schedule. */
  resume: (name: string) => act("POST", name, "resume"),
  /** A snap answers when its exposure is over, which can take long. */
  snap: (name: string, exposureS: number | null) => act("POST", name, "snap", { exposure_s: exposureS }, ANSWER_MS + 2000 * (exposureS ?? 600)),
  settings: (name: string, request: SettingsRequest) => act<SettingsAccepted>("PATCH", name, "settings", request),
  /** Lines of JSON, a measurement each: see `focus.svelte.ts`. */
  focus: (name: string, place: Record<string, number>, signal: AbortSignal) =>
    open(`${camera(name)}/focus?${new URLSearchParams(Object.entries(place).map(([key, value]) => [key, String(value)]))}`, name, signal),
  captures: (name: string, after: string | null) =>
    ask<CapturePage>("GET", `/api/captures?${new URLSearchParams({ camera: name, limit: "24", ...(after ? { after } : {}) })}`),
  capture: (id: number) => ask<Capture>("GET", `/api/captures/${id}`),

  status: () => ask<Schemas["StationStatus"]>("GET", "/api/status"),
  nights: (name: string, limit: number) =>
    ask<Schemas["PeriodPage"]>("GET", `/api/nights?${new URLSearchParams({ camera: name, limit: String(limit) })}`),
  products: (night: Period) => ask<Schemas["ProductList"]>("GET", `${period(night)}/products?kind=${night.kind}`),
  clips: (name: string, limit: number) =>
    ask<Schemas["ClipPage"]>("GET", `/api/clips?${new URLSearchParams({ camera: name, limit: String(limit) })}`),
  copyClip: (id: number) => ask<Clip>("POST", `/api/clips/${id}/h264`),
  trigger: (name: string) => ask<Clip>("POST", `${camera(name)}/trigger`, { label: "page" }),

  sensors: () => ask<Schemas["SensorList"]>("GET", "/api/sensors"),
  /** The last day of one series. */
  history: (series: string, points: number) =>
    ask<Schemas["HistoryList"]>("GET", `/api/history?${new URLSearchParams({ series, points: String(points) })}`),
  channels: () => ask<Schemas["NotifyStatus"]>("GET", "/api/notify"),
  /** Answers when every channel has taken its message, or not. */
  testChannels: () => ask<Schemas["TestOutcomes"]>("POST", "/api/notify/test", undefined, { timeoutMs: 150_000 }),

  me: () => ask<Me>("GET", "/api/me", undefined, { timeoutMs: 8_000 }),
  claim: (code: string, user: string, passphrase: string | null) => ask<Schemas["Claimed"]>("POST", "/api/claim", { code, user, passphrase }),
  login: (user: string, passphrase: string, remember: boolean) =>
    ask<Me>("POST", "/api/login", { user, passphrase, remember }, { passphrase: true }),
  logout: () => ask<null>("POST", "/api/logout"),
  changePassphrase: (old: string, wanted: string) => ask<null>("POST", "/api/passwd", { old, new: wanted }, { passphrase: true }),

  users: () => ask<Schemas["UserList"]>("GET", "/api/users"),
  addUser: (name: string, role: RoleName) => ask<Schemas["UserWithPassphrase"]>("POST", "/api/users", { name, role, passphrase: null }),
  changeUser: (name: string, change: { role?: RoleName; generate?: boolean }) =>
    ask<Schemas["UserWithPassphrase"]>("PATCH", `/api/users/${part(name)}`, change),
  removeUser: (name: string) => ask<null>("DELETE", `/api/users/${part(name)}`),
  logins: () => ask<Schemas["LoginList"]>("GET", "/api/sessions"),
  endLogin: (id: string) => ask<null>("DELETE", `/api/sessions/${part(id)}`),
  tokens: () => ask<Schemas["TokenList"]>("GET", "/api/tokens"),
  addToken: (name: string, scope: Scope) => ask<Schemas["TokenWithSecret"]>("POST", "/api/tokens", { name, scope }),
  revokeToken: (id: number) => ask<null>("DELETE", `/api/tokens/${id}`),

  control: () => ask<Schemas["ControlList"]>("GET", "/api/control"),
  acquire: (name: string, takeOver: boolean) => ask<Control>("POST", `${control(name)}/acquire`, { take_over: takeOver }),
  release: (name: string, epoch: number) => ask<Control>("POST", `${control(name)}/release`, { epoch }),
  askControl: (name: string) => ask<Control>("POST", `${control(name)}/request`),
  giveControl: (session: string, name: string) => ask<Control>("POST", `/api/force-master/${part(session)}?${new URLSearchParams({ camera: name })}`),
};

export const captureUrl = (id: number, what: "thumb" | "image" | "raw"): string => `/api/captures/${id}/${what}`;
export const clipUrl = (id: number): string => `/api/clips/${id}/video`;
const playsH265 = (): boolean => document.createElement("video").canPlayType('video/mp4; codecs="hvc1.1.6.L123.B0"') !== "";
/** The address of a saved clip as this browser plays it; null as long as that has to be made first. */
export function playable(clip: Clip): string | null {
  if (clip.codec !== "h265" || playsH265()) return clipUrl(clip.id);
  return clip.h264_copy === "ready" ? `${clipUrl(clip.id)}?codec=h264` : null;
}
/** `version` makes a browser fetch it anew. */
export const productUrl = (night: Period, kind: Product["kind"], version: number): string => `${period(night)}/${kind}?kind=${night.kind}&v=${version}`;
