// The same as the integration test, at length.
process.env.STEEP_ROUNDS ??= "80";
await import("../integration/planner-answers.test.ts");

export {};
