// Copyright: (c) 2026, baileys.resilience contributors
// SPDX-License-Identifier: GPL-3.0-or-later
// What the monitor answers (docs/monitor.md), for the checker alone.

export type Status = "ok" | "warning" | "unknown" | "critical";

export interface Concern {
  subject: string;
  concern: string;
  status: Status;
  state: string;
  cause: string;
  title: string;
  evidence: string;
  command: string;
  note: string;
  seconds: number;
  told: boolean;
}

export interface Pool {
  active: number;
  idle: number;
  waiting: number;
  max: number;
}

export interface KeyType {
  count: number;
  older: number;
  removable: number;
  ages: Record<string, number>;
}

export interface Figures {
  database?: {
    milliseconds: Record<string, number>;
    error: string;
    connections: { used: number; free: number; used_percent: number } | null;
    replicas: { name: string | null; behind_bytes: number; connected: boolean }[];
  };
  keys?: {
    companies: number;
    count: number;
    older: number;
    removable: number;
    bytes: number;
    snapshot_at: string;
    ages: Record<string, number>;
    by_type: Record<string, KeyType>;
  };
  mirror?: { age_seconds: number | null; unusable: string; aside: boolean };
  backup?: { age_seconds: number | null };
  disk?: { path: string; used_percent: number; free_bytes: number };
  [client: `client ${string}`]: { client: string; answers: boolean; pool: Pool | null; cached_companies: number | null };
}

export interface Answer {
  version: string;
  name: string;
  at: string;
  status: Status;
  looks: number;
  subjects: Record<string, { status: Status; concerns: Record<string, Concern> }>;
  figures: Figures;
  degraded: string[];
  silences: { subject: string; seconds: number }[];
  services: { service: string; queued?: number; refused?: boolean }[];
}

export type Column = (number | null)[];

export interface History {
  range: string;
  start: number;
  end: number;
  step: number;
  at: number[];
  times: {
    subject: string;
    operation: string;
    p50_ms: Column;
    p95_ms: Column;
    p99_ms: Column;
    total: { samples: number; p50_ms: number | null; p95_ms: number | null; p99_ms: number | null; max_ms: number | null };
  }[];
  figures: { subject: string; name: string; mean: Column; least: Column; most: Column; last: number | null }[];
  events: HistoryEvent[];
  left_off: number;
  problem?: string;
}

export interface HistoryEvent {
  at: string;
  kind: string;
  subject: string;
  cause: string;
  severity: string;
  title: string;
  text: string;
  duration_seconds: number;
}

export interface Company {
  company: string;
  store: string | null;
  has_creds: boolean | null;
  count: number | null;
  older: number | null;
  removable: number | null;
  without_database_seconds: number | null;
  ages: Record<string, number>;
}

export interface Companies {
  counted_at: string;
  total: number;
  companies: Company[];
  left_off: number;
}
