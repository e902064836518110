/** The station's REST interface. Types come from its OpenAPI document (`npm run types`). */
import type { components } from "./openapi";

type Schemas = components["schemas"];
export type CameraStatus = Schemas["CameraStatus"];
export type Capture = Schemas["Capture"];
export type CapturePage = Schemas["CapturePage"];
export type ControlRange = Schemas["ControlRange"];
export type Health = Schemas["Health"];
export type ModeSettings = Schemas["ModeSettings"];
export type Session = Schemas["Session"];
export type SettingsAccepted = Schemas["SettingsAccepted"];
export type SettingsRequest = Schemas["SettingsRequest"];
export type StartRequest = Schemas["StartRequest"];

/** An answer that says no, in the station's own words (RFC 9457), or that there was none. */
export class ApiProblem extends Error {
  constructor(
    readonly status: number,
    readonly title: string,
    readonly detail: string,
    readonly field: string | null = null,
  ) {
    super(detail || title);
  }
}

const ANSWER_MS = 20_000;

async function ask<T>(method: string, path: string, body?: unknown, timeoutMs = ANSWER_MS): Promise<T> {
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers: { Accept: "application/json", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(timeoutMs),
    });
  } catch {
    throw new ApiProblem(0, "No answer from the station", "It could not be reached. Nothing is known to have changed.");
  }
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok) return answer as T;
  const said = (answer ?? {}) as Partial<Schemas["ProblemDetail"]>;
  throw new ApiProblem(
    response.status,
    typeof said.title === "string" ? said.title : `The station answered ${response.status}`,
    typeof said.detail === "string" ? said.detail : "",
    typeof said.field === "string" ? said.field : null,
  );
}

const camera = (name: string): string => `/api/cameras/${encodeURIComponent(name)}`;

export const api = {
  health: () => ask<Health>("GET", "/api/health", undefined, 5_000),
  cameras: () => ask<Schemas["CameraList"]>("GET", "/api/cameras"),
  connect: (name: string) => ask<unknown>("POST", `${camera(name)}/connect`),
  disconnect: (name: string) => ask<unknown>("POST", `${camera(name)}/disconnect`),
  start: (name: string, request: StartRequest) => ask<unknown>("POST", `${camera(name)}/start`, request),
  stop: (name: string) => ask<unknown>("POST", `${camera(name)}/stop`),
  /** A snap answers when its exposure is over, which can take long. */
  snap: (name: string, exposureS: number | null) =>
    ask<unknown>("POST", `${camera(name)}/snap`, { exposure_s: exposureS }, ANSWER_MS + 2000 * (exposureS ?? 600)),
  settings: (name: string, request: SettingsRequest) =>
    ask<SettingsAccepted>("PATCH", `${camera(name)}/settings`, request),
  captures: (name: string, after: string | null) =>
    ask<CapturePage>("GET", `/api/captures?${new URLSearchParams({ camera: name, limit: "24", ...(after ? { after } : {}) })}`),
  capture: (id: number) => ask<Capture>("GET", `/api/captures/${id}`),
};

export const captureUrl = (id: number, what: "thumb" | "image" | "raw"): string => `/api/captures/${id}/${what}`;
