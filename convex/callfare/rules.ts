// What must hold of a row whoever writes it: the second of the two paths on which the ledger's rules are kept.
import type { TableName } from "./tables";
import { fail, type Value } from "./values";

type Row = Record<string, Value>;

export function checkRow(table: TableName, row: Row): void {
  for (const [rule, isKept] of RULES[table] ?? []) {
    if (!isKept(row)) fail("rule", `${table}: ${rule}`);
  }
}

// The entries of each transfer that is added sum to zero, and are as many as it says.
export function checkTransfers(transfers: Row[], entries: Row[]): void {
  const found = new Map<string, { count: bigint; sum: bigint }>();
  const nameOf = (row: Row) => `${row.accountId}/${row.seq}`;
  for (const entry of entries) {
    const { count, sum } = found.get(nameOf(entry)) ?? { count: 0n, sum: 0n };
    found.set(nameOf(entry), { count: count + 1n, sum: sum + (entry.amountNanocredits as bigint) });
  }
  for (const transfer of transfers) {
    const { count, sum } = found.get(nameOf(transfer)) ?? { count: 0n, sum: 0n };
    if (count !== transfer.entryCount || sum !== 0n) fail("rule", `transactions: ${nameOf(transfer)} does not balance`);
    found.delete(nameOf(transfer));
  }
  if (found.size) fail("rule", "entries: some stand under no transfer");
}

function int(row: Row, field: string): bigint {
  return row[field] as bigint;
}

function isWithin(row: Row, low: bigint, field: string, high: bigint): boolean {
  return low <= int(row, field) && int(row, field) <= high;
}

function isOneOf(row: Row, field: string, ...words: string[]): boolean {
  return words.includes(row[field] as string);
}

type Rule = [string, (row: Row) => boolean];

const RULES: Partial<Record<TableName, Rule[]>> = {
  accounts: [
    ["held lies between 0 and posted", (row) => isWithin(row, 0n, "heldNanocredits", int(row, "postedNanocredits"))],
    ["debt is not below 0", (row) => int(row, "debtNanocredits") >= 0n],
    ["transfers count up", (row) => int(row, "lastSeq") >= 0n],
  ],
  grants: [
    ["the source is known", (row) => isOneOf(row, "source", "purchase", "promo", "plan", "adjustment")],
    ["what remains is a part of it", (row) => isWithin(row, 0n, "remainingNanocredits", int(row, "amountNanocredits"))],
    ["what is held is a part of what remains", (row) => isWithin(row, 0n, "heldNanocredits", int(row, "remainingNanocredits"))],
    ["what was refunded is a part of it", (row) => isWithin(row, 0n, "refundedNanocredits", int(row, "amountNanocredits"))],
  ],
  workflowRuns: [
    ["the status is known", (row) => isOneOf(row, "status", "open", "completed", "failed", "cancelled", "expired")],
    ["nothing is below 0", (row) => ["askedNanocredits", "heldNanocredits", "usedNanocredits", "debtNanocredits", "calls"].every((field) => int(row, field) >= 0n)],
    ["an open run has used no more than it holds", (row) => row.status !== "open" || int(row, "usedNanocredits") <= int(row, "heldNanocredits")],
  ],
  holds: [["a hold is above 0", (row) => int(row, "amountNanocredits") > 0n]],
  jobs: [
    ["the status is known", (row) => isOneOf(row, "status", "pending", "completed", "failed", "expired")],
    ["held is not below 0", (row) => int(row, "heldNanocredits") >= 0n],
  ],
  transactions: [["the amount is not below 0", (row) => int(row, "amountNanocredits") >= 0n]],
  entries: [
    ["the amount is not 0", (row) => int(row, "amountNanocredits") !== 0n],
    ["the customer's entries name their lot, and no others do", (row) => (row.accountKind === "customer") === (row.grantId !== null)],
  ],
  usageEvents: [
    ["the kind is known", (row) => isOneOf(row, "kind", "usage", "correction", "reprice", "waiver")],
    ["the status is known", (row) => isOneOf(row, "status", "priced", "unpriced")],
    ["debt is not below 0", (row) => int(row, "debtNanocredits") >= 0n],
  ],
  orders: [
    ["the kind is known", (row) => isOneOf(row, "kind", "package", "plan")],
    ["the state is known", (row) => isOneOf(row, "state", "created", "open", "awaiting_payment", "paid", "failed", "expired", "quarantined")],
    ["it is for something", (row) => int(row, "nanocredits") > 0n && int(row, "subtotal") >= 0n],
  ],
  sales: [
    ["no more is reversed than was captured", (row) => isWithin(row, 0n, "reversed", int(row, "captured"))],
    ["no more is taken back than was granted", (row) => isWithin(row, 0n, "takenBackNanocredits", int(row, "nanocredits"))],
    ["no more is withheld than was granted", (row) => isWithin(row, 0n, "withheldNanocredits", int(row, "nanocredits"))],
    ["what was granted has a lot", (row) => (row.grantId === null) === (int(row, "nanocredits") === 0n)],
  ],
  inbox: [["the state is known", (row) => isOneOf(row, "state", "waiting", "done", "ignored")]],
  quarantine: [["whoever claimed it did so at a time", (row) => (row.claimedAtUs === null) === (row.claimedBy === null)]],
  keyDays: [["what was granted is not below 0", (row) => int(row, "grantedNanocredits") >= 0n]],
  retention: [["it is noted after the time it is about", (row) => int(row, "beforeUs") <= int(row, "setAtUs")]],
};
