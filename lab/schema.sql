-- SPDX-License-Identifier: GPL-3.0-or-later
-- The two tables of the lab's application. `created_at` and `expires_at` stand for the extra columns that people have.
CREATE TABLE IF NOT EXISTS whatsapp_auth (
    company_id text PRIMARY KEY,
    creds jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE IF NOT EXISTS whatsapp_keys (
    company_id text NOT NULL,
    key_type text NOT NULL,
    key_id text NOT NULL,
    value jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    PRIMARY KEY (company_id, key_type, key_id)
);

CREATE INDEX IF NOT EXISTS whatsapp_keys_company_id ON whatsapp_keys (company_id);
