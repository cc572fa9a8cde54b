// Runs the newest of many jobs: waits for a pause, keeps one in flight, drops what is stale.

const PAUSE_MS = 60;

export class Latest {
  #timer = 0;
  #job = null;
  #running = false;
  #generation = 0;

  ask(job) {
    this.#job = job;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#run(), PAUSE_MS);
  }

  // Forgets what waits, and lets what is in flight arrive unseen.
  drop() {
    this.#generation += 1;
    this.#job = null;
    clearTimeout(this.#timer);
  }

  async #run() {
    if (this.#running || !this.#job) return;
    const [job, generation] = [this.#job, this.#generation];
    this.#job = null;
    this.#running = true;
    try {
      await job(() => generation === this.#generation);
    } finally {
      this.#running = false;
      this.#run();
    }
  }
}
