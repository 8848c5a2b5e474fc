// Putting rows into documents, with the fields of the specification that follow from them.
import type { Doc, Id } from "../_generated/dataModel";
import type { MutationCtx } from "../_generated/server";
import { ofPlans, ofRun, ofTransfer, ofUsage } from "./specified";
import { TABLES, type TableName } from "./tables";
import { type AnyDoc, decimal, fail, fieldsOf, type Key, keyOf, nowUs, textOf, type Value, valuesOf } from "./values";

// A reading is refused once its time is over; writes keep rows for it a little longer.
const GRACE_US = 30_000_000n;
// More plans than anybody has had at once.
const PLANS_MAX = 100;

// The documents that one transaction is about, so that nothing is looked up twice.
export class Desk {
  private readonly docs = new Map<string, AnyDoc>();
  private readonly owners = new Map<bigint, Doc<"users"> | null>();
  private readonly paid = new Map<string, bigint | null>();
  private readings: Doc<"readings">[] | null = null;

  // `isFilling`: rows come in the order of their tables, so that a lot may have come in an earlier transaction.
  constructor(
    private readonly ctx: MutationCtx,
    private readonly isFilling = false,
  ) {}

  know(table: TableName, doc: AnyDoc): void {
    this.docs.set(textOf(table, keyOf(table, valuesOf(table, doc))), doc);
  }

  // The document of a row, null where there is none.
  async find(table: TableName, values: Value[]): Promise<AnyDoc | null> {
    const key = keyOf(table, values);
    return this.docs.get(textOf(table, key)) ?? (await docUnder(this.ctx, table, key));
  }

  async insert(table: TableName, values: Value[]): Promise<void> {
    await this.keepEarlier(table, values, null);
    const derived = await this.derived(table, fieldsOf(table, values), null);
    await this.ctx.db.insert(table, { ...fieldsOf(table, values), ...derived } as never);
  }

  async replace(table: TableName, values: Value[], doc: AnyDoc): Promise<void> {
    await this.keepEarlier(table, values, doc);
    const derived = await this.derived(table, fieldsOf(table, values), doc);
    await this.ctx.db.replace(doc._id, { ...fieldsOf(table, values), ...derived } as never);
  }

  async remove(table: TableName, doc: AnyDoc): Promise<void> {
    await this.keepEarlier(table, valuesOf(table, doc), doc);
    await this.ctx.db.delete(doc._id);
  }

  // What was paid for a lot, for the transfer that makes it.
  lotIsMade(grant: Record<string, Value>): void {
    this.paid.set(`${grant.accountId}/${grant.grantId}`, grant.paidPicousd as bigint | null);
  }

  // What follows for users from rows that were written for them.
  async show(rows: (table: TableName) => Record<string, Value>[]): Promise<void> {
    for (const account of rows("accounts")) await this.showBalance(account);
    for (const accountId of new Set(rows("subscriptions").map((plan) => plan.accountId))) {
      await this.showPlan(accountId as bigint);
    }
  }

  // What is available, as the account was left: the specification's balance stands with the user.
  private async showBalance(account: Record<string, Value>): Promise<void> {
    const user = await this.userOf(account.accountId as bigint);
    if (user === null) return;
    const available = (account.postedNanocredits as bigint) - (account.heldNanocredits as bigint);
    await this.ctx.db.patch(user._id, { creditsBalance: decimal(available, 9) });
  }

  private async showPlan(accountId: bigint): Promise<void> {
    const user = await this.userOf(accountId);
    if (user === null) return;
    const plans = await this.ctx.db
      .query("subscriptions")
      .withIndex("byCreation", (bound) => bound.eq("accountId", accountId))
      .order("desc")
      .take(PLANS_MAX);
    await this.ctx.db.patch(user._id, ofPlans(plans));
  }

  private async derived(table: TableName, row: Record<string, Value>, before: AnyDoc | null): Promise<object> {
    switch (table) {
      case "users":
        return { creditsBalance: decimal(0n, 9), ...(before === null ? {} : shownOf(before)) };
      case "workflowRuns":
        return { ...(await this.owner(row, before)), ...ofRun(row) };
      case "usageEvents":
        return { ...(await this.owner(row, before)), ...ofUsage(row) };
      case "transactions":
        return { ...(await this.owner(row, before)), ...ofTransfer(row, await this.paidFor(row)) };
      default:
        return {};
    }
  }

  private async paidFor(transfer: Record<string, Value>): Promise<bigint | null> {
    const paid = this.paid.get(`${transfer.accountId}/${transfer.seq}`);
    if (paid !== undefined || !this.isFilling) return paid ?? null;
    const grant = await docUnder(this.ctx, "grants", [transfer.accountId as bigint, transfer.seq as bigint]);
    return (grant?.paidPicousd as bigint | null | undefined) ?? null;
  }

  private async owner(row: Record<string, Value>, before: AnyDoc | null): Promise<{ userId: Id<"users"> }> {
    if (before !== null) return { userId: before.userId as Id<"users"> };
    // Usage takes it from its run, so that it need not read what other writes change.
    const run = this.docs.get(textOf("workflowRuns", [row.accountId, row.runId]));
    if (run !== undefined) return { userId: run.userId as unknown as Id<"users"> };
    const user = await this.userOf(row.accountId as bigint);
    return user === null ? fail("rule", `account ${row.accountId} belongs to nobody`) : { userId: user._id };
  }

  private async userOf(accountId: bigint): Promise<Doc<"users"> | null> {
    let user = this.owners.get(accountId);
    if (user === undefined) {
      user = await this.ctx.db
        .query("users")
        .withIndex("byAccount", (bound) => bound.eq("accountId", accountId))
        .first();
      this.owners.set(accountId, user);
    }
    return user;
  }

  // Leave a row as it stands for whoever reads everything at one instant.
  private async keepEarlier(table: TableName, values: Value[], doc: AnyDoc | null): Promise<void> {
    const now = nowUs();
    this.readings ??= await this.ctx.db.query("readings").collect();
    const key = keyOf(table, values);
    for (const { name, endsAtUs } of this.readings) {
      if (endsAtUs + GRACE_US < now) continue;
      const kept = await this.ctx.db
        .query("earlierRows")
        .withIndex("byKey", (bound) => bound.eq("reading", name).eq("table", table).eq("key", key))
        .first();
      if (kept !== null) continue;
      const earlier = doc === null ? null : valuesOf(table, doc);
      await this.ctx.db.insert("earlierRows", { reading: name, table, key, values: earlier });
    }
  }
}

// What stands with a user besides the row, which it outlives.
function shownOf(user: AnyDoc): object {
  const fields: readonly string[] = TABLES.users.fields;
  return Object.fromEntries(
    Object.entries(user).filter(([name]) => !name.startsWith("_") && name !== "seal" && !fields.includes(name)),
  );
}

export async function docUnder(ctx: MutationCtx, table: TableName, key: Key): Promise<AnyDoc | null> {
  const { fields } = TABLES[table];
  // Which table it is shows when this runs, so its types are of no help here.
  const query: any = ctx.db.query(table);
  return await query
    .withIndex("byKey", (bound: any) => key.reduce((so, part, place) => so.eq(fields[place], part), bound))
    .unique();
}
