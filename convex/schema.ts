// The schema of the deployment. Tables of your own go beside those of the ledger.
import { defineSchema } from "convex/server";
import { callfareTables } from "./callfare/tables";

export default defineSchema(callfareTables);
