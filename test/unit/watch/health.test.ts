import { expect, test } from "vitest";
import { assessHealth, type HealthFacts } from "../../../plv8/watch/health.ts";

const fine: HealthFacts = {
  extension_version: "1.2.3",
  library_version: "1.2.3",
  pg_version: "18.6",
  in_recovery: false,
  preloaded: true,
  launcher_alive: true,
  active: "1",
  pending: "2",
  last_error: null,
  waiting_reason: null,
  covering_publications: null,
  replication: {
    subscriptions: [],
    slots: [],
    limits: { lag_bytes: null, lag_seconds: null, retained_bytes: null },
  },
};

test("a node without a fault is healthy and gives no reasons", () => {
  expect(assessHealth(fine, "pljs")).toEqual({
    status: "healthy",
    extension_version: "1.2.3",
    pg_version: "18.6",
    js_engine: "pljs",
    background_worker_running: true,
    shared_memory_available: true,
    active_operations: "1",
    pending_operations: "2",
    last_error: null,
    reasons: [],
    library_version: "1.2.3",
  });
});

test.each<[string, Partial<HealthFacts>, string]>([
  [
    "no preload",
    { preloaded: false, launcher_alive: false },
    "shared_preload_libraries = 'steep_repl'",
  ],
  ["no launcher", { launcher_alive: false }, "the launcher is not running"],
  ["a standby", { launcher_alive: false, in_recovery: true }, "starts after promotion"],
  ["an old library", { library_version: "1.2.2" }, "restart the server"],
  [
    "a publication of our tables",
    { covering_publications: '"All", other' },
    'published by "All", other',
  ],
  ["jobs that cannot start", { waiting_reason: "waiting for a slot" }, "2 jobs are waiting"],
])("%s is one reason and degrades", (_, fault, reason) => {
  const row = assessHealth({ ...fine, ...fault }, "plv8");
  expect(row.status).toBe("degraded");
  expect(row.reasons).toEqual([expect.stringContaining(reason)]);
});

test("a standby whose launcher lives has nothing to say about promotion", () => {
  expect(assessHealth({ ...fine, in_recovery: true }, "plv8").status).toBe("healthy");
});

test("all faults are told at once", () => {
  const row = assessHealth(
    {
      ...fine,
      launcher_alive: false,
      library_version: "1.2.2",
      covering_publications: "p",
      waiting_reason: "waiting",
    },
    "pljs",
  );
  expect(row.reasons).toHaveLength(4);
});

test("the last job's error is shown but does not degrade the node", () => {
  expect(assessHealth({ ...fine, last_error: "disk full" }, "pljs")).toMatchObject({
    status: "healthy",
    last_error: "disk full",
  });
});

test("facts that cannot be had make it unhealthy, with the reason and the engine", () => {
  expect(assessHealth({ failure: "relation does not exist" }, "pljs")).toEqual({
    status: "unhealthy",
    js_engine: "pljs",
    reasons: ["relation does not exist"],
  });
});

test("counts stay text, so that none beyond 2^53 changes", () => {
  expect(assessHealth({ ...fine, pending: "9223372036854775807" }, "pljs")).toMatchObject({
    pending_operations: "9223372036854775807",
  });
});
