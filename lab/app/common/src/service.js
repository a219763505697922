// SPDX-License-Identifier: GPL-3.0-or-later
// All companies of this process.
import { Company } from "./company.js";
import { log } from "./log.js";

const RETRY_MS = 500;

export class Service {
  /** @param {any} store @param {{companies: string[] | null, url: string, label: string}} options */
  constructor(store, { companies, url, label }) {
    this.store = store;
    this.url = url;
    this.label = label;
    this.wanted = companies;
    /** @type {Map<string, Company>} */
    this.companies = new Map();
    /** @type {string | null} */
    this.lastError = null;
    this.stopped = false;
  }

  /** Starts every company; asks the store for the list until it answers, unless the list is given. */
  async start() {
    for (const id of this.wanted ?? (await this.listCompanies())) this.add(id);
    await Promise.all([...this.companies.values()].map((company) => company.start()));
  }

  /** @param {string} id */
  add(id) {
    this.companies.set(id, new Company(id, this.store, this.url, this.label));
  }

  /** @returns {Promise<string[]>} */
  async listCompanies() {
    while (!this.stopped) {
      try {
        const ids = await this.store.companies();
        this.lastError = null;
        return ids;
      } catch (error) {
        if (error.message !== this.lastError) log(`cannot list the companies: ${error.message}`);
        this.lastError = error.message;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
    return [];
  }

  /** @param {string | null} id */
  company(id) {
    const company = id === null ? undefined : this.companies.get(id);
    if (!company) throw Object.assign(new Error(`no company ${id}`), { status: 404 });
    return company;
  }

  health() {
    const companies = [...this.companies.values()].map((company) => company.health());
    const open = companies.length > 0 && companies.every(({ connection }) => connection === "open");
    const lastError = this.lastError ?? this.store.lastError;
    return {
      status: open && !lastError ? "ok" : "degraded",
      store: this.store.name,
      pid: process.pid,
      last_error: lastError,
      companies,
    };
  }

  async stop() {
    this.stopped = true;
    await Promise.allSettled([...this.companies.values()].map((company) => company.stop()));
    await this.store.close();
  }
}
