-- SSH keys are those of an organization that is there.

CREATE TABLE ssh_keys_of_organizations (
    organization BLOB NOT NULL REFERENCES organizations DEFERRABLE INITIALLY DEFERRED,
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (organization, name)
) STRICT, WITHOUT ROWID;

INSERT INTO ssh_keys_of_organizations
SELECT organization, name, public_key, created_at_ms FROM ssh_keys WHERE organization IN (SELECT id FROM organizations);

DROP TABLE ssh_keys;

ALTER TABLE ssh_keys_of_organizations RENAME TO ssh_keys;
