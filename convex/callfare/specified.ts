// Fields of the specification's tables that follow from rows: for front ends and people, beside the ledger's own.
// Nothing of the ledger is read from them. They are optional, so that a deployment takes them on when it has rows already.
import type { Doc } from "../_generated/dataModel";
import { decimal, type Value } from "./values";

type Row = Record<string, Value>;

const PICOUSD_PER_CENT = 10_000_000_000n;
const INT64_DIGITS = 18;

export function ofRun(row: Row) {
  return { totalCostCents: decimal(row.costPicousd as bigint, 10) };
}

// Tokens, duration and cost of a call. `usage` is JSON text of meters, each a decimal number as text.
export function ofUsage(row: Row) {
  const usage: Record<string, unknown> = JSON.parse(row.usage as string);
  const seconds = usage.audio_seconds ?? usage.video_seconds ?? null;
  return {
    inputTokens: wholeOf(usage.input_tokens),
    outputTokens: wholeOf(usage.output_tokens),
    durationSeconds: seconds === null ? null : String(seconds),
    costCents: decimal(row.picousd as bigint, 10),
  };
}

// `paidPicousd`: what was paid for the lot that a transfer made, null where it made none or nothing was paid.
export function ofTransfer(row: Row, paidPicousd: bigint | null) {
  return {
    credits: decimal(row.amountNanocredits as bigint, 9),
    amountCents: paidPicousd === null ? null : paidPicousd / PICOUSD_PER_CENT,
  };
}

// The plan that a user has: one that has not ended before one that has, then the latest.
export function ofPlans(plans: Doc<"subscriptions">[]) {
  const [plan] = [...plans].sort(
    (one, other) =>
      Number(one.endedAtUs !== null) - Number(other.endedAtUs !== null) ||
      Number(other.createdAtUs - one.createdAtUs) ||
      (one.subscription < other.subscription ? -1 : 1),
  );
  if (plan === undefined) return {};
  return {
    subscriptionId: plan.subscription,
    subscriptionPlan: plan.product,
    subscriptionStatus: plan.status,
    subscriptionPeriodEnd: plan.periodEndUs === null ? null : plan.periodEndUs / 1000n,
  };
}

function wholeOf(told: unknown): bigint | null {
  const text = String(told ?? "");
  return /^[0-9]+$/.test(text) && text.length <= INT64_DIGITS ? BigInt(text) : null;
}
