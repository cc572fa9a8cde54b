// Runs the newest of many jobs: waits for a pause, keeps one in flight, drops what is stale.

const PAUSE_MS = 60;

export class Latest {
  #timer = 0;
  #job = null;
  #running = null;

  // `job` takes an AbortSignal and may wait.
  ask(job) {
    this.#job = job;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), PAUSE_MS);
  }

  // Forgets what waits and stops what is in flight.
  drop() {
    this.#job = null;
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#running = null;
  }

  async #run() {
    if (this.#running || !this.#job) return;
    const job = this.#job;
    const running = new AbortController();
    this.#job = null;
    this.#running = running;
    try {
      await job(running.signal);
    } finally {
      if (this.#running === running) {
        this.#running = null;
        this.#run();
      }
    }
  }
}
