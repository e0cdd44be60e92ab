import { readFileSync } from "node:fs";
import { Worker } from "bullmq";
import nodemailer from "nodemailer";

const connections = Number(process.env.BENCH_CONNECTIONS);
const raw = readFileSync("mail.eml");
const transport = nodemailer.createTransport({
  host: "127.0.0.1", port: Number(process.env.BENCH_PORT), pool: true, ignoreTLS: true,
  maxConnections: connections, maxMessages: Infinity,
});
new Worker(
  "mail",
  async (job) => transport.sendMail({ envelope: { from: process.env.BENCH_SENDER, to: [job.data.to] }, raw }),
  { connection: { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT) }, concurrency: 2 * connections },
);
