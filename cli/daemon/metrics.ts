import { healthMs } from "./health.ts";
import type { Sessions } from "./sessions.ts";

/** A gauge of Prometheus: what it is, and its values by their labels. */
interface Gauge {
  readonly help: string;
  readonly values: readonly (readonly [labels: Readonly<Record<string, string>>, value: number])[];
}

const query = `
  select 'jobs' as name, s.status as label, count(w.id) as value
  from unnest('{pending,running}'::text[]) s(status) left join steep_repl.work_queue w using (status) group by s.status
  union all
  select 'nodes', n.status, count(*) from steep_repl.node_status() n group by n.status
  union all
  select 'conflicts', 'open', count(*) from steep_repl.merge_conflicts c where c.status = 'open'
  union all
  select 'health', s.status, (s.status = h.status)::int
  from unnest('{healthy,degraded,unhealthy}'::text[]) s(status) cross join steep_repl.health() h
  order by 1, 2`;

const helps: Readonly<Record<string, string>> = {
  conflicts: "Conflicts that somebody is to resolve",
  health: "Which status health() has: 1",
  jobs: "Jobs in the queue that the daemon's role may see",
  nodes: "Registered nodes by their status",
};

const escaped = (value: string) =>
  value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));

function print(name: string, { help, values }: Gauge): string {
  const lines = values.map(([labels, value]) => {
    const parts = Object.entries(labels).map(([label, text]) => `${label}="${escaped(text)}"`);
    return `steep_repl_${name}${parts.length > 0 ? `{${parts.join(",")}}` : ""} ${value}`;
  });
  return [`# HELP steep_repl_${name} ${help}`, `# TYPE steep_repl_${name} gauge`, ...lines].join(
    "\n",
  );
}

/** What Prometheus scrapes; without a connection to PostgreSQL, that there is none. */
export async function metrics(sessions: Sessions): Promise<string> {
  const gauges: [string, Gauge][] = [];
  const add = (name: string, help: string, value: number) =>
    gauges.push([name, { help, values: [[{}, value]] }]);
  try {
    const { rows } = await sessions.use((session) => session.query(query), healthMs);
    add("postgresql_up", "Whether the daemon reaches PostgreSQL", 1);
    for (const name of Object.keys(helps))
      gauges.push([
        name,
        {
          help: helps[name] ?? "",
          values: rows
            .filter(({ values }) => values.name === name)
            .map(({ values }) => [{ status: values.label ?? "" }, Number(values.value)]),
        },
      ]);
  } catch {
    add("postgresql_up", "Whether the daemon reaches PostgreSQL", 0);
  }
  add("daemon_sessions", "Sessions of the daemon with PostgreSQL", sessions.count);
  add("daemon_resident_memory_bytes", "Resident memory of the daemon", process.memoryUsage.rss());
  return `${gauges.map(([name, gauge]) => print(name, gauge)).join("\n")}\n`;
}
