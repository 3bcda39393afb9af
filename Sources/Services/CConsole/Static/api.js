// The public API at this same address; nothing else is ever asked.

const ROOT = "../";
/** What a request may take before the console calls it lost. */
const PATIENCE = 8000;

/** What the node, or the way to it, says of a request that failed. */
export class Refusal extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `status ${status}`);
    this.status = status;
    this.reason = problem.reason ?? problem.code ?? "";
    this.requestID = problem.request_id ?? "";
  }
}

async function ask(path, options = {}, patience = PATIENCE) {
  const end = AbortSignal.timeout(patience);
  const signal = options.signal ? AbortSignal.any([options.signal, end]) : end;
  let response;
  try {
    response = await fetch(ROOT + path, { cache: "no-store", ...options, signal });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refusal(0, { detail: end.aborted ? `no answer within ${patience / 1000} s` : "the node cannot be reached" });
  }
  return response;
}

async function json(response) {
  const text = await response.text();
  let value;
  try { value = JSON.parse(text); } catch { value = null; }
  if (!response.ok) throw new Refusal(response.status, value ?? { detail: `status ${response.status}` });
  if (value === null) throw new Refusal(response.status, { detail: "the answer is no JSON" });
  return value;
}

export async function get(path, options) { return json(await ask(path, options)); }

export async function post(path, body, options, patience) {
  const headers = { "content-type": "application/json", ...(options?.requestID ? { "x-request-id": options.requestID } : {}) };
  return json(await ask(path, { method: "POST", headers, body: JSON.stringify(body), signal: options?.signal }, patience));
}

/** An id for a read, under which the log of reads knows it. */
export function newRequestID() {
  return "console-" + [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Of a node that is starting too: its answer is then 503 with the same document. */
export async function readiness() {
  const response = await ask("readyz");
  return response.json();
}

export async function metricsPage() {
  const response = await ask("metrics", { headers: { accept: "text/plain" } });
  if (!response.ok) throw new Refusal(response.status, { detail: "no metrics" });
  return response.text();
}

function collectionPath(tenant, name) {
  const root = tenant && tenant !== "default" ? `v1/tenants/${encodeURIComponent(tenant)}` : "v1";
  return `${root}/collections${name === undefined ? "" : "/" + encodeURIComponent(name)}`;
}

export const cluster = () => get("v1/cluster");
export const collections = (tenant) => get(collectionPath(tenant));
export const search = (at, body, options) => post(collectionPath(at.tenant, at.name) + "/points:search", body, options);
export const scroll = (at, body, options) => post(collectionPath(at.tenant, at.name) + "/points:scroll", body, options, 30_000);
export const count = (at, body, options) => post(collectionPath(at.tenant, at.name) + "/points:count", body, options);
export const points = (at, body, options) => post(collectionPath(at.tenant, at.name) + "/points", body, options);
export const recordLineage = (at, id) => get(`${collectionPath(at.tenant, at.name)}/points/${encodeURIComponent(id)}/lineage?limit=100`);
export const requestLineage = (id) => get(`v1/lineage/requests/${encodeURIComponent(id)}?limit=100`);
export const readLineage = (id) => get(`v1/lineage/reads/${encodeURIComponent(id)}`);
export const traceLineage = (id) => get(`v1/lineage/traces/${encodeURIComponent(id)}?limit=100`);
