/** The one timer: whom it calls when, and how long it sleeps. */
import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { SLEEP_MS, type Timed, Timer } from "../../../lib/io/runtime/clock.ts";
import { holds } from "../../support/property.ts";

/** Time that passes when a test says so. */
class VirtualTime {
  nowMs = 0;
  sleeps: number[] = [];
  #wakeMs = Infinity;
  #wake: () => void = () => {};

  readonly runtime = {
    now: () => this.nowMs,
    sleep: (ms: number, wake: () => void) => {
      assertEquals(this.#wakeMs, Infinity, "there are two timers");
      this.sleeps.push(ms);
      this.#wakeMs = this.nowMs + ms;
      this.#wake = wake;
      return () => {
        this.#wakeMs = Infinity;
      };
    },
  };

  get isAsleep(): boolean {
    return this.#wakeMs !== Infinity;
  }

  /** Lets time pass up to a moment, or a little later where a timer is late. */
  pass(untilMs: number, lateMs = 0): void {
    while (this.#wakeMs <= untilMs) {
      this.nowMs = Math.max(this.nowMs, this.#wakeMs + lateMs);
      this.#wakeMs = Infinity;
      this.#wake();
    }
    this.nowMs = Math.max(this.nowMs, untilMs);
  }
}

/** Something that has deadlines. */
class Part implements Timed {
  /** When it was called. */
  readonly calls: number[] = [];
  nextDeadlineMs = Infinity;
  /** Its next deadlines. */
  #later: number[];

  constructor(...deadlinesMs: number[]) {
    this.#later = deadlinesMs;
    this.#next();
  }

  handleTimeout(nowMs: number): void {
    assert(nowMs >= this.nextDeadlineMs, `called at ${nowMs}, before ${this.nextDeadlineMs}`);
    this.calls.push(nowMs);
    this.#next();
  }

  #next(): void {
    this.nextDeadlineMs = this.#later.shift() ?? Infinity;
  }
}

Deno.test("Timer calls each part when its time has come, when they have different ones", () => {
  const time = new VirtualTime();
  const parts = [new Part(100, 5_000), new Part(3_000, 3_100), new Part()];
  new Timer(parts, time.runtime);
  time.pass(10_000);
  assertEquals(parts.map(({ calls }) => calls), [[100, 5_000], [3_000, 3_100], []]);
});

Deno.test("Timer calls at once what is due already, and handles together what is due soon", () => {
  const time = new VirtualTime();
  const { least } = SLEEP_MS;
  const part = new Part(-Infinity, least + 1, least + 2, 2 * least, 3 * least + 1);
  new Timer([part], time.runtime);
  time.pass(1_000);
  assertEquals(part.calls, [least, 2 * least, 3 * least, 4 * least, 5 * least]);
});

Deno.test("Timer notices without being told, when a deadline comes up meanwhile", () => {
  const time = new VirtualTime();
  const part = new Part();
  new Timer([part], time.runtime);
  time.pass(60_000);
  assert(time.sleeps.slice(1).every((ms) => ms === SLEEP_MS.most), "it sleeps shorter than it may");
  part.nextDeadlineMs = time.nowMs + SLEEP_MS.most;
  const dueMs = part.nextDeadlineMs;
  time.pass(120_000);
  assertEquals(part.calls, [dueMs]);
  // What is due sooner than it promises to look is late by no more than a sleep.
  part.nextDeadlineMs = time.nowMs + 1;
  time.pass(180_000);
  assert(part.calls[1]! - 120_001 <= SLEEP_MS.most);
});

Deno.test("Timer goes on calling the others, when one is at work", () => {
  const time = new VirtualTime();
  let calls = 0;
  const busy: Timed = {
    get nextDeadlineMs() {
      return calls === 0 ? 0 : Infinity;
    },
    handleTimeout: () => {
      calls++;
      return new Promise(() => {});
    },
  };
  const part = new Part(500, 1_000);
  new Timer([busy, part], time.runtime);
  time.pass(2_000);
  assertEquals([calls, part.calls], [1, [500, 1_000]]);
});

Deno.test("Timer.stop() lets nobody be called any more, when something is still due", () => {
  const time = new VirtualTime();
  const part = new Part(100);
  const timer = new Timer([part], time.runtime);
  time.pass(50);
  timer.stop();
  assert(!time.isAsleep);
  time.pass(10_000);
  assertEquals(part.calls, []);
});

Deno.test("Timer is late by a sleep at the most and never early, when deadlines are as they like", () => {
  const deadlines = fc.array(fc.nat(5_000), { maxLength: 20 })
    .map((all) => all.sort((a, b) => a - b));
  holds(
    "Timer",
    fc.property(fc.array(deadlines, { maxLength: 4 }), fc.nat(30), (all, lateMs) => {
      const time = new VirtualTime();
      const parts = all.map((each) => new Part(...each));
      new Timer(parts, time.runtime);
      time.pass(10_000, lateMs);
      for (const [i, { calls }] of parts.entries()) {
        assertEquals(calls.length, all[i]?.length);
        let previousMs = 0;
        for (const [n, callMs] of calls.entries()) {
          // A part is called for one deadline at a time here, so the next may have to wait for a turn.
          const dueMs = Math.max(all[i]![n]!, previousMs);
          assert(callMs - dueMs <= SLEEP_MS.least + lateMs, `${callMs} for ${dueMs}`);
          previousMs = callMs;
        }
      }
    }),
  );
});
