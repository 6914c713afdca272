import { assertEquals, assertRejects } from "@std/assert";
import { eventually, within } from "./waiting.ts";

/** Nothing comes within this, as nothing ever does. */
const LIMIT_MS = 30;

Deno.test("within() returns what a promise brings, when it comes in time", async () => {
  assertEquals(await within("a number", Promise.resolve(7)), 7);
});

Deno.test("within() passes a failure on, when the promise fails", async () => {
  await assertRejects(() => within("a number", Promise.reject(new TypeError("bad"))), TypeError);
});

Deno.test("within() says what it waited for, when that does not come", async () => {
  const never = new Promise(() => {});
  const said = "Waited in vain for a reply, 0.03 s";
  await assertRejects(() => within("a reply", never, LIMIT_MS), Error, said);
});

Deno.test("eventually() looks until what it sees will do, and returns that", async () => {
  let looks = 0;
  assertEquals(await eventually("three looks", () => ++looks, (seen) => seen === 3), 3);
  assertEquals(looks, 3);
});

Deno.test("eventually() says what it saw last, when that never does", async () => {
  const look = () => eventually("two", () => Promise.resolve(1), (seen) => seen === 2, LIMIT_MS);
  await assertRejects(look, Error, "Waited in vain for two, 0.03 s; seen last: 1");
});

Deno.test("eventually() ends, when a look itself never does", async () => {
  const look = () => eventually("a look", () => new Promise(() => {}), () => true, LIMIT_MS);
  await assertRejects(look, Error, "Waited in vain for a look");
});
