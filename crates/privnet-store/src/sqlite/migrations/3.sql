-- What there is belongs to organizations. What was there before belongs to one that may have as much as it
-- has: a quota of NULL is none.

CREATE TABLE organizations (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    networks_max INTEGER,
    ports_per_network_max INTEGER,
    instances_max INTEGER,
    created_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    organization BLOB REFERENCES organizations DEFERRABLE INITIALLY DEFERRED,
    role TEXT NOT NULL,
    sealed_secret BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    CHECK ((organization IS NULL) = (role = 'operator'))
) STRICT, WITHOUT ROWID;

INSERT INTO organizations
SELECT X'707269766e65400080000000000000c9', 'default', NULL, NULL, NULL, unixepoch() * 1000
WHERE EXISTS (SELECT 1 FROM networks) OR EXISTS (SELECT 1 FROM instances);

ALTER TABLE networks ADD COLUMN organization BLOB NOT NULL DEFAULT X'707269766e65400080000000000000c9'
    REFERENCES organizations DEFERRABLE INITIALLY DEFERRED;

ALTER TABLE instances ADD COLUMN organization BLOB NOT NULL DEFAULT X'707269766e65400080000000000000c9'
    REFERENCES organizations DEFERRABLE INITIALLY DEFERRED;

-- An operation outlives the organization, as it does what it is about.

ALTER TABLE operations ADD COLUMN organization BLOB NOT NULL DEFAULT X'707269766e65400080000000000000c9';
