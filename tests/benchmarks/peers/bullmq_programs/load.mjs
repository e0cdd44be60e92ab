import { Queue } from "bullmq";

const queue = new Queue("mail", { connection: { host: "127.0.0.1", port: Number(process.env.BENCH_REDIS_PORT) } });
const mails = Number(process.argv[2]);
for (let start = 0; start < mails; start += 1000) {
  const jobs = [];
  for (let i = start; i < Math.min(mails, start + 1000); i++) {
    jobs.push({ name: "deliver", data: { to: `user${i}@y${i % 50}.test` }, opts: { removeOnComplete: true } });
  }
  await queue.addBulk(jobs);
}
await queue.close();
