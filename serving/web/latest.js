// Runs the newest of many jobs: keeps one in flight, so that the picture follows a drag, and drops what is stale.

export class Latest {
  #job = null;
  #running = null;

  // `job` takes an AbortSignal and may wait.
  ask(job) {
    this.#job = job;
    this.#run();
  }

  // Forgets what waits and stops what is in flight.
  drop() {
    this.#job = null;
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
