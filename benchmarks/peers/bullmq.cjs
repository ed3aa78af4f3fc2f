// BullMQ: a list, a stream of events, and a hash per job that is kept when it is done.
// The command line is that of program.py; the record is that of begin_log.py.

const fs = require("node:fs");
const { Queue, Worker } = require("bullmq");

const AT_ONCE = 32;
const CONCURRENCY = 100; // its default of 1 would wait for each job's round trips
const HOLD_MS = 600_000;

const url = new URL(process.env.BENCH_REDIS);
const connection = {
  host: url.hostname,
  port: Number(url.port),
  db: Number(url.pathname.slice(1)),
  maxRetriesPerRequest: null,
};
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const now = () => process.hrtime.bigint();

async function send(job, count, rate) {
  const queue = new Queue("bench", { connection });
  await queue.waitUntilReady();
  const begun = now();
  const one = () => queue.add(job, { sent: String(now()) });
  if (rate) {
    const sent = [];
    for (let number = 0; number < count; number += 1) {
      await sleep(Math.max(0, (number / rate) * 1000 - Number(now() - begun) / 1e6));
      sent.push(one());
    }
    await Promise.all(sent);
  } else {
    let left = count;
    const sender = async () => {
      while (left-- > 0) await one();
    };
    await Promise.all(Array.from({ length: AT_ONCE }, sender));
  }
  console.log(Number(now() - begun) / 1e9);
  await queue.close();
}

function work() {
  const file = fs.openSync(process.env.BENCH_BEGIN_LOG, "a");
  const carryOut = async (job) => {
    const record = Buffer.alloc(24);
    record.writeBigUInt64LE(BigInt(job.data.sent), 0);
    record.writeBigUInt64LE(now(), 8);
    record.writeBigUInt64LE(BigInt(process.pid), 16);
    fs.writeSync(file, record);
    if (job.name === "hold") await sleep(HOLD_MS);
  };
  new Worker("bench", carryOut, { connection, concurrency: CONCURRENCY });
}

const [what, job, count, rate] = process.argv.slice(2);
if (what === "work") work();
else send(job, Number(count), Number(rate));
