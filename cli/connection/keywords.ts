/** Keywords of libpq's connection strings, and the environment variable that stands in for each. */
export const keywords = {
  host: "PGHOST",
  hostaddr: "PGHOSTADDR",
  port: "PGPORT",
  dbname: "PGDATABASE",
  user: "PGUSER",
  password: "PGPASSWORD",
  passfile: "PGPASSFILE",
  service: "PGSERVICE",
  servicefile: "PGSERVICEFILE",
  options: "PGOPTIONS",
  application_name: "PGAPPNAME",
  fallback_application_name: undefined,
  connect_timeout: "PGCONNECT_TIMEOUT",
  target_session_attrs: "PGTARGETSESSIONATTRS",
  load_balance_hosts: "PGLOADBALANCEHOSTS",
  sslmode: "PGSSLMODE",
  sslnegotiation: "PGSSLNEGOTIATION",
  sslcert: "PGSSLCERT",
  sslkey: "PGSSLKEY",
  sslpassword: undefined,
  sslrootcert: "PGSSLROOTCERT",
  sslcrl: "PGSSLCRL",
  sslsni: "PGSSLSNI",
  ssl_min_protocol_version: "PGSSLMINPROTOCOLVERSION",
  ssl_max_protocol_version: "PGSSLMAXPROTOCOLVERSION",
  channel_binding: "PGCHANNELBINDING",
  gssencmode: "PGGSSENCMODE",
  require_auth: "PGREQUIREAUTH",
  requirepeer: "PGREQUIREPEER",
  sslcertmode: "PGSSLCERTMODE",
  sslcrldir: "PGSSLCRLDIR",
  // without effect here: how node-postgres talks does not depend on them
  client_encoding: undefined,
  keepalives: undefined,
  keepalives_idle: undefined,
  keepalives_interval: undefined,
  keepalives_count: undefined,
  tcp_user_timeout: undefined,
  sslcompression: undefined,
  sslkeylogfile: undefined,
  krbsrvname: "PGKRBSRVNAME",
  gsslib: "PGGSSLIB",
  gssdelegation: "PGGSSDELEGATION",
  min_protocol_version: undefined,
  max_protocol_version: undefined,
} as const satisfies Readonly<Record<string, string | undefined>>;

export type Keyword = keyof typeof keywords;

/** Values by keyword; one that is absent may come from elsewhere, an empty one may not. */
export type Conninfo = { [keyword in Keyword]?: string };

export function isKeyword(name: string): name is Keyword {
  return Object.hasOwn(keywords, name);
}
