-- Machines are invited, and prove by certificates which host they are. Hosts that are there have none: their agents
-- use the server's socket.

ALTER TABLE hosts ADD COLUMN certificate BLOB;
ALTER TABLE hosts ADD COLUMN certificate_expires_at_ms INTEGER;
ALTER TABLE hosts ADD COLUMN next_certificate BLOB;
ALTER TABLE hosts ADD COLUMN next_certificate_expires_at_ms INTEGER;

CREATE TABLE invitations (
    id BLOB PRIMARY KEY,
    host TEXT NOT NULL,
    token BLOB NOT NULL UNIQUE,
    is_rejoin INTEGER NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    used_by BLOB
) STRICT, WITHOUT ROWID;
