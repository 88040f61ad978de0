-- SSH keys, by name in each organization. They have no ids, so that an operation may be about nothing that has one.

CREATE TABLE ssh_keys (
    organization BLOB NOT NULL,
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    PRIMARY KEY (organization, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE operations_of_all (
    id BLOB PRIMARY KEY,
    kind TEXT NOT NULL,
    network BLOB,
    instance BLOB,
    created_at_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    wait_network BLOB,
    wait_generation INTEGER,
    wait_host BLOB,
    wait_mac INTEGER,
    deadline_ms INTEGER,
    reason TEXT,
    message TEXT,
    organization BLOB NOT NULL,
    CHECK (network IS NULL OR instance IS NULL)
) STRICT, WITHOUT ROWID;

INSERT INTO operations_of_all
SELECT id, kind, network, instance, created_at_ms, state,
    wait_network, wait_generation, wait_host, wait_mac, deadline_ms, reason, message, organization
FROM operations;

DROP TABLE operations;

ALTER TABLE operations_of_all RENAME TO operations;
