-- SPDX-License-Identifier: GPL-3.0-or-later
-- Tables as somebody else made them, filled from the lab's.
CREATE SCHEMA gateway;
CREATE TABLE gateway.tenants (
    tenant text PRIMARY KEY,
    display_name text NOT NULL,
    login json,
    paid_until date
);
CREATE TABLE gateway.secrets (
    tenant text NOT NULL REFERENCES gateway.tenants,
    category text NOT NULL,
    item text NOT NULL,
    payload jsonb NOT NULL,
    changed timestamptz NOT NULL DEFAULT now(),
    remark text,
    PRIMARY KEY (tenant, category, item)
);
INSERT INTO gateway.tenants (tenant, display_name, login, paid_until)
SELECT company_id, 'Tenant ' || company_id, creds, '2030-01-01' FROM whatsapp_auth;
INSERT INTO gateway.secrets (tenant, category, item, payload, changed, remark)
SELECT company_id, key_type, key_id, value, updated_at, 'moved' FROM whatsapp_keys;
DROP TABLE whatsapp_keys, whatsapp_auth;
