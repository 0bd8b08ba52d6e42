export type Settings = readonly (readonly [name: string, value: string])[];

/**
 * For statements that read or write rows by their keys, or by ranges of a key that are narrow. Of what a batch of 5,000
 * costs the planner knows too little: for a table of 300,000 rows it takes reading all of them for cheaper than 5,000
 * visits to an index. Where no index fits, it still reads the table, once, and joins by a hash.
 */
export const keySettings: Settings = [
  ["enable_seqscan", "off"],
  ["enable_mergejoin", "off"],
  // all of an index is no less than all of a table: it pays where the table has hardly more rows than are looked for
  ["enable_indexonlyscan", "off"],
  ["cpu_index_tuple_cost", "1"],
  ["enable_sort", "on"],
  ["random_page_cost", "0.1"],
];

/** What stands before such a statement for the peer; it holds until the transaction ends. */
export const setLocalKeys = keySettings
  .map(([name, value]) => `set local ${name} = '${value}'; `)
  .join("");
