// The same as the integration test, at length.
process.env.STEEP_ROUNDS ??= "80";
await import("../integration/jobs/planner-answers.test.ts");

export {};
