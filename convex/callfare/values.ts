// What a row is made of on the wire and in a document, and how the one becomes the other.
import { ConvexError, v } from "convex/values";
import type { Doc } from "../_generated/dataModel";
import { TABLES, type TableName } from "./tables";

export type Value = string | bigint | null;
export type Key = (string | bigint)[];
// Code that serves every table knows a document by the names of its fields.
export type AnyDoc = Doc<TableName> & Record<string, Value | number>;

export const value = v.union(v.int64(), v.string(), v.null());
export const key = v.array(v.union(v.int64(), v.string()));

// `found` goes as text: what is thrown by a function that another one calls is read twice on its way.
export function fail(code: string, message: string, found: bigint | null = null): never {
  throw new ConvexError({ code, message, found: found === null ? null : found.toString() });
}

export function tableNamed(name: string): TableName {
  if (!Object.hasOwn(TABLES, name)) fail("misused", `there is no table ${name}`);
  return name as TableName;
}

// The values of the row in the order of its fields, then its seal.
export function valuesOf(table: TableName, doc: AnyDoc): Value[] {
  const values: Value[] = TABLES[table].fields.map((field) => doc[field] as Value);
  values.push(doc.seal);
  return values;
}

export function keyOf(table: TableName, values: Value[]): Key {
  return values.slice(0, TABLES[table].keySize) as Key;
}

export function fieldsOf(table: TableName, values: Value[]): Record<string, Value> {
  const { fields } = TABLES[table];
  if (values.length !== fields.length + 1) fail("misused", `a row of ${table} has ${fields.length} values and a seal`);
  const doc: Record<string, Value> = {};
  fields.forEach((field, place) => {
    doc[field] = values[place];
  });
  doc.seal = values[fields.length];
  return doc;
}

// A text that two keys share only when they are the same.
export function textOf(table: TableName, values: Value[]): string {
  return JSON.stringify([table, ...values.map((part) => (typeof part === "bigint" ? [part.toString()] : part))]);
}

// A decimal number from units of which `digits` make one.
export function decimal(units: bigint, digits: number): string {
  const sign = units < 0n ? "-" : "";
  const text = (units < 0n ? -units : units).toString().padStart(digits + 1, "0");
  return `${sign}${text.slice(0, -digits)}.${text.slice(-digits)}`;
}

export function nowUs(): bigint {
  return BigInt(Date.now()) * 1000n;
}
